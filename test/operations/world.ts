import type { DataSource } from 'typeorm';
import type { Clock } from '../../lib/engine/clock.js';
import type { Begun } from '../../lib/engine/engine.js';
import type { Ownership } from '../../lib/engine/ownership.js';
import { ActRefusedError, IdempotencyError } from '../../lib/idempotency.errors.js';
import { MemoryLock } from '../../lib/locks/memory.lock.js';
import { Operator } from '../../lib/operations/operator.js';
import type { ResultStore, StoredResponse } from '../../lib/stores/result-store.js';
import { identityOf, TestNode } from '../support/fixtures/node.js';
import { wrapped } from '../support/fixtures/wrapped.js';

/** What may happen. Owners are counted off among those there are. */
export type Op =
  | { readonly type: 'begin'; readonly worker: number; readonly key: number }
  | { readonly type: 'ask'; readonly worker: number; readonly key: number; readonly finding: Found }
  | { readonly type: 'end'; readonly owner: number; readonly how: 'complete' | 'release' | 'uncertain' }
  | { readonly type: 'renew'; readonly owner: number }
  | { readonly type: 'operate'; readonly worker: number; readonly key: number; readonly how: How }
  | { readonly type: 'sweep' }
  | { readonly type: 'kill'; readonly worker: number }
  | { readonly type: 'pass'; readonly ms: number };

type Found = 'done' | 'retry' | 'unknown';
type How = 'release' | 'answer' | 'retry';

/** A call that is being run. */
interface Owner {
  readonly key: number;
  readonly worker: number;
  readonly ownership: Ownership;
  /** How often the key had been freed by an act when the call began. */
  readonly frees: number;
}

interface WorldOptions {
  readonly store: ResultStore;
  readonly dataSource: DataSource;
  /** Of the keys: worlds on one database are strangers. */
  readonly prefix: string;
  readonly workers: number;
  readonly withLock: boolean;
}

const LEASE_MS = 60_000;
/** However busy the machine is. */
const PATIENCE_MS = 20_000;
const REFUSALS = new Set(['in-progress', 'outcome-uncertain']);

/**
 * Workers and operators on one real store, and what must be true of it. Time passes for the workers by their clock and
 * for the database by moving the ends of its leases, so that nobody has to wait.
 */
export class World {
  readonly seen = { owners: 0, recorded: 0, replayed: 0, superseded: 0, operated: 0, reconciled: 0 };
  private now = 0;
  private readonly clock: Clock = { mono: () => this.now, wall: () => this.now };
  private readonly store: ResultStore;
  private readonly lock: MemoryLock | undefined;
  private readonly nodes: TestNode[];
  private owners: Owner[] = [];
  private newcomers: Owner[] = [];
  private readonly recorded = new Map<number, string>();
  private readonly replies: { readonly key: number; readonly text: string }[] = [];
  private readonly lastFence = new Map<number, bigint>();
  private readonly lastAttempt = new Map<number, number>();
  private readonly acts = new Map<number, number>();
  private readonly frees = new Map<number, number>();
  private answers = 0;

  constructor(private readonly options: WorldOptions) {
    this.lock = options.withLock ? new MemoryLock(this.clock) : undefined;
    this.store = wrapped(options.store, {
      complete: async (next, id, _token, response) => {
        const isMine = await next();
        if (isMine) this.record(this.keyOf(id), response);
        return isMine;
      },
      act: async (next, { id, response }) => {
        const answer = await next();
        const key = this.keyOf(id);
        if (answer.done) count(this.acts, key);
        if (answer.done && response) this.record(key, response);
        else if (answer.done) count(this.frees, key);
        return answer;
      },
    });
    this.nodes = Array.from({ length: options.workers }, () => this.newNode());
  }

  /** All of it at once, then deaths and time, and then a look. */
  async happen(batch: readonly Op[]): Promise<void> {
    const [first] = batch;
    const there = [...this.owners];
    const ofOwner = (at: number) => there.splice(at % (there.length || 1), 1)[0];
    await Promise.all(
      batch.map(async (op) => {
        if (op.type === 'begin') await this.begin(op.worker, op.key);
        if (op.type === 'ask') await this.begin(op.worker, op.key, op.finding);
        if (op.type === 'operate') await this.operate(op.worker, op.key, op.how);
        if (op.type === 'sweep') await this.store.sweep(100);
        if (op.type !== 'end' && op.type !== 'renew') return;
        const owner = ofOwner(op.owner);
        if (owner && op.type === 'end') await this.settle(owner, op.how);
        else if (owner) await this.store.renew([this.claimOf(owner)], LEASE_MS);
      }),
    );
    for (const op of batch) {
      if (op.type === 'kill') this.kill(op.worker);
      if (op.type === 'pass') await this.pass(op.ms);
    }
    if (first) await this.look();
  }

  /** Everybody comes to an end, and the store has what was recorded and what was done. */
  async end(): Promise<void> {
    for (const owner of [...this.owners]) await this.settle(owner, 'complete');
    await this.look();
    for (const [key, text] of this.recorded) {
      const record = await this.store.find(this.idOf(key));
      const isThere = record?.response && textOf(record.response) === text;
      if (!isThere) throw new Error(`key ${key}: ${text} was recorded, the store has ${record?.state}`);
    }
    for (const [key, acts] of this.acts) {
      const audit = await this.store.audit(this.idOf(key));
      if (audit.length !== acts) throw new Error(`key ${key}: ${acts} acts, ${audit.length} in the audit`);
    }
  }

  private async begin(worker: number, key: number, finding?: Found): Promise<void> {
    const frees = this.frees.get(key) ?? 0;
    const found = finding === 'done' ? this.newAnswer() : finding;
    const call = { key: this.nameOf(key), options: { onOrphan: key % 2 ? 'uncertain' : 'retry' } } as const;
    const node = this.nodes[worker]!;
    const before = node.engine.counters.reconciled;
    let begun: Begun;
    try {
      begun = await node.begin(call, found && (() => Promise.resolve(found)));
    } catch (error) {
      if (error instanceof IdempotencyError && REFUSALS.has(error.code)) return;
      throw error;
    } finally {
      this.seen.reconciled += node.engine.counters.reconciled - before;
    }
    if (begun.kind === 'replay') this.answer(key, begun.response);
    if (begun.kind !== 'run') return;
    this.seen.owners++;
    this.newcomers.push({ key, worker, ownership: begun.ownership, frees });
  }

  private async settle(owner: Owner, how: 'complete' | 'release' | 'uncertain'): Promise<void> {
    this.owners = this.owners.filter((other) => other !== owner);
    if (how === 'release') return owner.ownership.release('keep');
    if (how === 'uncertain') return owner.ownership.markUncertain();
    const settlement = await owner.ownership.complete(this.newAnswer());
    if (settlement.recorded) return;
    this.seen.superseded++;
    if (settlement.seen?.response) this.answer(owner.key, settlement.seen.response);
  }

  private async operate(worker: number, key: number, how: How): Promise<void> {
    const { store } = this;
    const options = { principal: 'none', store, backendTimeoutMs: PATIENCE_MS } as const;
    const operator = new Operator(options, this.nodes[worker]!.engine, store);
    const by = { by: `operator ${worker}`, reason: how };
    const body = textOf(this.newAnswer());
    const response = how === 'answer' ? { status: 200, body } : 'retry';
    try {
      await (how === 'release'
        ? operator.release(this.idOf(key), by)
        : operator.resolve(this.idOf(key), { ...by, response }));
      this.seen.operated++;
    } catch (error) {
      if (!(error instanceof ActRefusedError)) throw error;
    }
  }

  private kill(worker: number): void {
    this.nodes[worker] = this.newNode();
    const lives = (owner: Owner) => owner.worker !== worker;
    this.owners = this.owners.filter(lives);
    this.newcomers = this.newcomers.filter(lives);
  }

  private async pass(ms: number): Promise<void> {
    this.now += ms;
    const sql = `UPDATE idempotency_record SET lease_until = lease_until - ${ms} WHERE lease_until > 0`;
    await this.options.dataSource.query(sql);
  }

  /** What has to be true between two batches. */
  private async look(): Promise<void> {
    for (const { key, text } of this.replies.splice(0)) {
      const recorded = this.recorded.get(key);
      if (text !== recorded) throw new Error(`key ${key}: answered ${text}, recorded was ${recorded}`);
    }
    this.newcomers.sort((a, b) => (a.ownership.fence < b.ownership.fence ? -1 : 1));
    for (const { key, ownership } of this.newcomers) {
      const { fence, attempt } = ownership;
      if (fence <= (this.lastFence.get(key) ?? 0n)) throw new Error(`key ${key}: fence ${fence} comes late`);
      if (attempt <= (this.lastAttempt.get(key) ?? 0))
        throw new Error(`key ${key}: attempt ${attempt} again`);
      this.lastFence.set(key, fence);
      this.lastAttempt.set(key, attempt);
    }
    this.owners.push(...this.newcomers.splice(0));
    for (const owner of this.owners) {
      const wasTaken = (this.frees.get(owner.key) ?? 0) > owner.frees;
      if (wasTaken || !owner.ownership.isHeld()) continue;
      // Who believes to own the key does: so there are never two.
      const record = await this.store.find(this.idOf(owner.key));
      const isOwner = record?.state === 'running' && record.token === this.claimOf(owner).token;
      if (!isOwner)
        throw new Error(`key ${owner.key}: attempt ${owner.ownership.attempt} believes to own it`);
    }
  }

  private record(key: number, response: StoredResponse): void {
    const before = this.recorded.get(key);
    const text = textOf(response);
    if (before !== undefined) throw new Error(`key ${key}: ${before} and ${text} were both recorded`);
    this.recorded.set(key, text);
    this.seen.recorded++;
  }

  private answer(key: number, response: StoredResponse): void {
    this.seen.replayed++;
    this.replies.push({ key, text: textOf(response) });
  }

  private newNode(): TestNode {
    const options = { leaseMs: LEASE_MS, maxHoldMs: LEASE_MS, backendTimeoutMs: PATIENCE_MS };
    return new TestNode({ store: this.store, lock: this.lock, clock: this.clock, options });
  }

  private newAnswer(): StoredResponse {
    return { status: 200, headers: {}, body: Buffer.from(`answer ${++this.answers}`) };
  }

  private claimOf({ key, ownership }: Owner): { id: string; token: string } {
    return { id: this.idOf(key), token: ownership.running.token! };
  }

  private nameOf(key: number): string {
    return `${this.options.prefix}:${key}`;
  }

  private idOf(key: number): string {
    return identityOf({ key: this.nameOf(key) }).id;
  }

  private keyOf(id: string): number {
    return [0, 1, 2, 3].find((key) => this.idOf(key) === id)!;
  }
}

function textOf({ body }: StoredResponse): string {
  return Buffer.from(body!).toString();
}

function count(counts: Map<number, number>, key: number): void {
  counts.set(key, (counts.get(key) ?? 0) + 1);
}
