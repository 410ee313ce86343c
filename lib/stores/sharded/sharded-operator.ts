import type { Act, ActAnswer, AuditEntry, ListedRecord, ListPage, ListQuery } from '../act.js';
import { cursorOf, partsOf } from '../list-cursor.js';
import type { ResultStore } from '../result-store.js';
import type { Homes } from './homes.js';

/** What operators ask of several stores. */
export class ShardedOperator {
  constructor(private readonly homes: Homes) {}

  /** The leading place decides, unless it knows of nothing to decide; the other one follows. */
  async act(act: Act): Promise<ActAnswer> {
    const { places, lead } = this.homes.of(act.id);
    const answer = await lead.act(act);
    const other = places.find((place) => place !== lead);
    if (!other) return answer;
    if (answer.done) {
      await other.act({ ...act, evenLive: true });
      return answer;
    }
    const { record } = answer;
    const isOpen = record === null || (record.state === 'running' && record.token === null);
    return isOpen ? other.act(act) : answer;
  }

  async audit(id: string): Promise<AuditEntry[]> {
    const { places } = this.homes.of(id);
    const entries = (await Promise.all(places.map((place) => place.audit(id)))).flat();
    const once = new Map(entries.toReversed().map((entry) => [entry.actId, entry]));
    return [...once.values()].toSorted((a, b) => a.at - b.at);
  }

  /** The first place that has it uncertain decides, whoever asks. */
  async reserve(id: string, token: string, ms: number): Promise<boolean> {
    const { places } = this.homes.of(id);
    if (places.length === 1) return places[0].reserve(id, token, ms);
    for (const place of places) {
      if (await place.reserve(id, token, ms)) return true;
      const record = await place.find(id);
      if (record?.state === 'uncertain' && record.token === token) return false;
    }
    return false;
  }

  /** Shard after shard. A page ends with its shard. */
  async list({ cursor, ...query }: ListQuery): Promise<ListPage> {
    const { shards } = this.homes;
    const [name, inner] = cursor === undefined ? ['', ''] : partsOf(cursor, ['string', 'string']);
    const at = cursor === undefined ? 0 : shards.findIndex((shard) => shard.name === name);
    const shard = shards[at];
    if (!shard) {
      throw new TypeError(
        `list({ cursor }): it is of shard ${JSON.stringify(name)}, which is not there any more`,
      );
    }
    const page = await shard.store.list({ ...query, ...(inner && { cursor: inner }) });
    const isShown = await Promise.all(page.records.map((record) => this.#isShown(record, shard.store)));
    const records = page.records.filter((_, index) => isShown[index]);
    if (page.cursor !== null) return { records, cursor: cursorOf(shard.name, page.cursor) };
    const next = shards[at + 1];
    return { records, cursor: next ? cursorOf(next.name, '') : null };
  }

  /** A record in two places is shown where it leads. What no id leads to any more is of another configuration. */
  async #isShown({ id }: ListedRecord, store: ResultStore): Promise<boolean> {
    const { places, lead } = this.homes.of(id);
    if (store === lead) return true;
    return places.includes(store) && (await lead.find(id)) === null;
  }
}
