import type { StepRecord, StepStore, StoredStep } from '../step-store.js';
import type { Homes } from './homes.js';

/** Recovery points beside their records. Where a record has two places, both are told and both are asked. */
export class ShardedSteps implements StepStore {
  constructor(private readonly homes: Homes) {}

  async list(id: string): Promise<StoredStep[]> {
    const { places } = this.homes.of(id);
    const lists = await Promise.all(places.map((place) => place.steps!.list(id)));
    const [first = [], second = []] = lists;
    const known = new Set(first.map(({ name }) => name));
    const steps = [...first, ...second.filter(({ name }) => !known.has(name))];
    return steps.toSorted((a, b) => a.position - b.position);
  }

  async record(id: string, token: string, step: StepRecord): Promise<boolean> {
    const { places, lead } = this.homes.of(id);
    if (!(await lead.steps!.record(id, token, step))) return false;
    for (const place of places) if (place !== lead) await place.steps!.record(id, token, step);
    return true;
  }
}
