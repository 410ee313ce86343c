import fc from 'fast-check';
import { type Rules, type ScenarioRange, scenarios, simulate } from './scenario.js';

/** `SIMULATION_RUNS=5000 SIMULATION_SEED=7` looks at more and other histories than every run of the tests does. */
const RUNS = Number(process.env.SIMULATION_RUNS ?? 40);
const SEED = Number(process.env.SIMULATION_SEED ?? 1);
/** Histories looked at, at most, for a violation that has to be there. */
const MOST_RUNS = 400;
/** A restarted node is kept out for longer than this lock lives, as on servers where others live longer. */
const maxTtlMs = 10_000;

/** Every history in range goes well; one that does not is reduced to a small one and printed. */
async function expectNoViolation(range: ScenarioRange, rules: Rules): Promise<void> {
  let grants = 0;
  let extensions = 0;
  const property = fc.asyncProperty(scenarios(range), async (scenario) => {
    const { history, simulator } = await simulate(scenario, rules);
    grants += history.grants;
    extensions += history.extensions;
    if (history.violations.length > 0) throw new Error(simulator.trace.join('\n'));
  });
  await fc.assert(property, { seed: SEED, numRuns: RUNS });
  // Where nobody ever has the lock, nothing can go wrong.
  expect(grants).toBeGreaterThan(2 * RUNS);
  expect(extensions).toBeGreaterThan(2 * RUNS);
}

/** The first violation found. */
async function firstViolation(range: ScenarioRange, rules: Rules): Promise<string | undefined> {
  let violation: string | undefined;
  const property = fc.asyncProperty(scenarios(range), async (scenario) => {
    [violation] = (await simulate(scenario, rules)).history.violations;
    return violation === undefined;
  });
  await fc.check(property, { seed: SEED, numRuns: MOST_RUNS, endOnFailure: true });
  return violation;
}

const TWO_HOLDERS = /is granted what \w+ holds/;
const SMALLER_FENCE = /^fence \d+ after \d+/;

/**
 * The production driver with its decisions, on simulated nodes: messages that are slow, lost, doubled and out of
 * order, nodes that crash with and without their memory, processes that stand still, clocks that run unequally.
 */
describe('simulation of a quorum', () => {
  it('G60 G64 G66 never has two holders, and fences grow', async () => {
    await expectNoViolation({}, { maxTtlMs });
  });

  describe('G66 nodes that forget and are back at once', () => {
    const range: ScenarioRange = {
      nodes: { min: 3, max: 5 },
      faults: ['amnesia', 'cut'],
      mostFaults: 60,
      mostMs: 300,
    };

    it('do no harm when they have no vote for one life of the lock', async () => {
      await expectNoViolation(range, { maxTtlMs: 3_000 });
    });

    it('lead to two holders when they vote at once', async () => {
      expect(await firstViolation(range, { hasQuarantine: false })).toMatch(TWO_HOLDERS);
    });
  });

  it('G64 finds two holders where it does not matter how long the votes took', async () => {
    expect(await firstViolation({}, { maxTtlMs, checksDeadlines: false })).toMatch(TWO_HOLDERS);
  });

  describe('G14 fences grow whatever the clocks of the nodes say', () => {
    const range: ScenarioRange = { skewMs: 20_000, faults: ['crash', 'cut', 'slow', 'pause', 'node pause'] };

    it('as long as nodes do not forget', async () => {
      await expectNoViolation(range, { maxTtlMs });
    });

    it('but not where the majority is not told the greatest', async () => {
      expect(await firstViolation(range, { maxTtlMs, raisesFences: false })).toMatch(SMALLER_FENCE);
    });
  });

  describe('clocks that run from 10 % slow to 10 % fast', () => {
    const rate = { min: 0.9, max: 1.1 };

    it('need an allowance of a fifth of the life', async () => {
      await expectNoViolation({ rate }, { driftFactor: 0.19, maxTtlMs: 14_000 });
    });

    it('are too much for the allowance of 1 %, which is for half a percent either way', async () => {
      expect(await firstViolation({ rate }, { maxTtlMs })).toMatch(TWO_HOLDERS);
    });
  });
});
