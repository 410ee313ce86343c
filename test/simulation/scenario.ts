import fc from 'fast-check';
import { History } from './history.js';
import { SimulatedClient } from './simulated-client.js';
import type { NetworkTraits } from './simulated-link.js';
import { SimulatedNode } from './simulated-node.js';
import { Simulator } from './simulator.js';

export interface Scenario {
  readonly seed: number;
  readonly nodes: number;
  readonly clients: number;
  readonly network: NetworkTraits;
  readonly nodeTimeoutMs: number | undefined;
  /** Of the clocks of nodes and clients, in turn. */
  readonly rates: readonly number[];
  /** By how much the wall clocks of the nodes differ, in milliseconds. */
  readonly skewMs: number;
  readonly followsWishes: boolean;
  /** One token for all attempts until one is granted. */
  readonly reusesTokens: boolean;
  readonly faults: readonly Fault[];
}

export interface Fault {
  readonly kind: 'crash' | 'amnesia' | 'slow' | 'cut' | 'node pause' | 'pause' | 'step' | 'death';
  readonly atMs: number;
  readonly ms: number;
  readonly node: number;
  readonly client: number;
}

/** What holds for all scenarios of a property. Those of production, unless a rule is broken on purpose. */
export interface Rules {
  readonly driftFactor?: number;
  readonly maxTtlMs?: number;
  readonly hasQuarantine?: boolean;
  readonly raisesFences?: boolean;
  readonly checksDeadlines?: boolean;
}

export const TTL_MS = 3_000;
const DURATION_MS = 40_000;

export async function simulate(
  scenario: Scenario,
  rules: Rules = {},
): Promise<{ history: History; simulator: Simulator }> {
  const { driftFactor = 0.01, maxTtlMs = TTL_MS } = rules;
  const { hasQuarantine = true, raisesFences = true, checksDeadlines = true } = rules;
  const { seed, nodeTimeoutMs, network, rates, followsWishes } = scenario;
  const simulator = new Simulator(seed);
  const history = new History(simulator);
  const nodes = Array.from({ length: scenario.nodes }, (_, i) => {
    const aheadMs = 1_000_000 + (simulator.random() - 0.5) * scenario.skewMs;
    return new SimulatedNode(`n${i}`, simulator, { rate: rates[i]!, aheadMs, followsWishes, raisesFences });
  });
  const clients = Array.from({ length: scenario.clients }, (_, i) => {
    const rate = rates[scenario.nodes + i]!;
    const traits = {
      ...{ rate, ttlMs: TTL_MS, nodeTimeoutMs, driftFactor, checksDeadlines },
      maxTtlMs: hasQuarantine ? maxTtlMs : undefined,
      // A release that is executed twice could hit the next attempt; no connection does that.
      reusesTokens: scenario.reusesTokens && network.duplication === 0,
    };
    return new SimulatedClient(`c${i}`, simulator, history, nodes, network, traits);
  });
  for (const fault of scenario.faults) {
    const node = nodes[fault.node % nodes.length]!;
    const client = clients[fault.client % clients.length]!;
    const link = client.links[fault.node % nodes.length]!;
    simulator.after(fault.atMs, () => {
      switch (fault.kind) {
        case 'crash':
        case 'amnesia':
          return node.crash(fault.kind === 'crash', fault.ms);
        case 'slow':
          link.slowMs = fault.ms;
          return simulator.after(2 * fault.ms, () => (link.slowMs = 0));
        case 'cut':
          link.isCut = true;
          return simulator.after(fault.ms, () => (link.isCut = false));
        case 'node pause':
          return node.pause(fault.ms);
        case 'pause':
          return client.pause(fault.ms);
        case 'step':
          return client.stepWall(fault.ms % 2 === 0 ? fault.ms : -fault.ms);
        case 'death':
          // One has to be left.
          return client === clients[0] ? undefined : client.die();
      }
    });
  }
  await simulator.run(DURATION_MS);
  return { history, simulator };
}

export interface ScenarioRange {
  readonly nodes?: { readonly min: number; readonly max: number };
  readonly rate?: { readonly min: number; readonly max: number };
  readonly faults?: readonly Fault['kind'][];
  readonly mostFaults?: number;
  /** How long a fault takes at most. */
  readonly mostMs?: number;
  readonly skewMs?: number;
}

const ALL: readonly Fault['kind'][] = [
  'crash',
  'amnesia',
  'slow',
  'cut',
  'node pause',
  'pause',
  'step',
  'death',
];

export function scenarios({
  nodes,
  rate,
  faults = ALL,
  mostFaults = 12,
  mostMs = 2 * TTL_MS,
  skewMs = 200,
}: ScenarioRange = {}): fc.Arbitrary<Scenario> {
  const ms = fc.integer({ min: 10, max: mostMs });
  const least = rate?.min ?? 0.9955;
  const most = rate?.max ?? 1.0045;
  return fc.record({
    seed: fc.integer(),
    nodes: fc.integer(nodes ?? { min: 1, max: 5 }),
    clients: fc.integer({ min: 2, max: 3 }),
    network: fc.record({
      delayMs: fc.integer({ min: 1, max: 200 }),
      loss: fc.constantFrom(0, 0.02, 0.2),
      duplication: fc.constantFrom(0, 0.1),
      resends: fc.boolean(),
    }),
    nodeTimeoutMs: fc.constantFrom(undefined, 400, 2 * TTL_MS),
    rates: fc.array(fc.double({ min: least, max: most, noNaN: true }), { minLength: 8, maxLength: 8 }),
    skewMs: fc.constant(skewMs),
    followsWishes: fc.boolean(),
    reusesTokens: fc.boolean(),
    faults: fc.array(
      fc.record({
        kind: fc.constantFrom(...faults),
        atMs: fc.integer({ min: 0, max: DURATION_MS }),
        ms,
        node: fc.nat(4),
        client: fc.nat(2),
      }),
      { maxLength: mostFaults },
    ),
  });
}
