import type { ExperimentOptions } from './lab.types.js';
import type { Scenario, Stage } from './scenario.js';

const LIMITS = { duplicates: [1, 50], ttlMs: [200, 10_000], bankLatencyMs: [0, 20_000] } as const;

/** @throws RangeError that names the option, its value and the limits. */
export function checkExperiment(options: ExperimentOptions): void {
  for (const [name, [least, most]] of Object.entries(LIMITS)) {
    const value = options[name as keyof typeof LIMITS];
    if (!Number.isInteger(value) || value < least || value > most) {
      throw new RangeError(`${name} is ${String(value)}; it must be a whole number from ${least} to ${most}`);
    }
  }
}

/** As many duplicates as wanted, a bank as slow as wanted; killed is who the visitor kills. */
export class FreeExperiment {
  readonly scenario: Scenario;
  private stage: Stage | undefined;

  constructor({ duplicates, bankLatencyMs, ttlMs }: ExperimentOptions) {
    this.scenario = {
      id: 'experiment',
      name: 'Experiment',
      story: 'What the visitor wanted to see.',
      prefetch: 50,
      patienceMs: 6 * ttlMs + 2 * bankLatencyMs,
      play: async (stage) => {
        stage.bankTakes(bankLatencyMs);
        this.stage = stage;
        const sent = await Promise.all(
          Array.from({ length: duplicates }, () => stage.send({ whenBusy: 'retry' })),
        );
        await Promise.all(sent.map(({ answered }) => answered));
      },
    };
  }

  /** @returns who was killed; undefined when nobody was at work. */
  async kill(): Promise<string | undefined> {
    return this.stage?.killOneAtWork();
  }

  async sendOne(): Promise<void> {
    await this.stage?.send({ whenBusy: 'retry' });
  }
}
