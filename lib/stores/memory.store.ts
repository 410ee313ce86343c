import { systemClock, type Clock } from '../engine/clock.js';
import {
  type Act,
  type ActAnswer,
  type AuditEntry,
  isActable,
  type ListedRecord,
  type ListPage,
  type ListQuery,
} from './act.js';
import { cursorOf, partsOf } from './list-cursor.js';
import {
  type ClaimAnswer,
  type ClaimRef,
  type ClaimRequest,
  ResultStore,
  type StoredRecord,
  type StoredResponse,
} from './result-store.js';
import type { StepRecord, StepStore, StoredStep } from './step-store.js';

interface Row {
  scope: string;
  key: string;
  fingerprint: string;
  state: StoredRecord['state'];
  attempt: number;
  token: string | null;
  fence: bigint;
  leaseUntil: number;
  response: StoredResponse | null;
  createdAt: number;
  completedAt: number | null;
  expiresAt: number | null;
  steps: Map<string, StoredStep> | undefined;
  /** Of an uncertain row. */
  reservedUntil: number;
}

/** Acts of operators that are remembered, at most. */
const MOST_ACTS = 10_000;

/**
 * Results inside one process; they are gone when it ends. For development, tests, and the demo.
 * Times are the wall clock of the process, which is the server here.
 */
export class MemoryStore extends ResultStore {
  readonly name = 'memory';
  private readonly rows = new Map<string, Row>();
  private readonly watchers = new Map<string, Set<() => void>>();
  private sweepCursor = this.rows.entries();
  private lastFence = 0n;
  private readonly acts: AuditEntry[] = [];

  constructor(private readonly clock: Clock = systemClock) {
    super();
  }

  async claim(request: ClaimRequest): Promise<ClaimAnswer> {
    const now = this.clock.wall();
    const row = this.rows.get(request.id);
    if (row && row.token === request.token && row.state === 'running') {
      row.leaseUntil = now + request.leaseMs;
      return { claimed: true, attempt: row.attempt, fence: row.fence };
    }
    if (row && !this.isExpired(row, now) && !this.mayTake(row, request, now)) {
      return { claimed: false, record: this.view(request.id, row, now) };
    }
    const fresh = !row || this.isExpired(row, now);
    const attempt = fresh ? 1 : row.attempt + 1;
    const fence = this.nextFence(now);
    this.rows.set(request.id, {
      scope: request.scope,
      key: request.key,
      fingerprint: request.fingerprint,
      state: 'running',
      attempt,
      token: request.token,
      fence,
      leaseUntil: now + request.leaseMs,
      response: null,
      createdAt: fresh ? now : row.createdAt,
      completedAt: null,
      expiresAt: null,
      steps: fresh ? undefined : row.steps,
      reservedUntil: 0,
    });
    return { claimed: true, attempt, fence };
  }

  async find(id: string): Promise<StoredRecord | null> {
    const now = this.clock.wall();
    const row = this.rows.get(id);
    return row && !this.isExpired(row, now) ? this.view(id, row, now) : null;
  }

  async complete(id: string, token: string, response: StoredResponse, retentionMs: number): Promise<boolean> {
    const row = this.rows.get(id);
    if (row?.token !== token) return false;
    const now = this.clock.wall();
    Object.assign(row, { state: 'completed', response, completedAt: now, expiresAt: now + retentionMs });
    this.wake(id);
    return true;
  }

  async renew(claims: readonly ClaimRef[], leaseMs: number): Promise<boolean[]> {
    const until = this.clock.wall() + leaseMs;
    return claims.map(({ id, token }) => {
      const row = this.rows.get(id);
      if (row?.token !== token || row.state !== 'running') return false;
      row.leaseUntil = until;
      return true;
    });
  }

  async release(id: string, token: string, mode: 'forget' | 'keep', retentionMs: number): Promise<boolean> {
    const row = this.rows.get(id);
    if (row?.token !== token || row.state !== 'running') return false;
    if (mode === 'forget' && row.attempt === 1) this.rows.delete(id);
    else Object.assign(row, { token: null, leaseUntil: 0, expiresAt: this.clock.wall() + retentionMs });
    this.wake(id);
    return true;
  }

  async markUncertain(id: string, token: string, orphanOnly = false): Promise<boolean> {
    const row = this.rows.get(id);
    if (row?.token !== token || row.state !== 'running') return false;
    if (orphanOnly && row.leaseUntil > this.clock.wall()) return false;
    Object.assign(row, { state: 'uncertain', leaseUntil: 0, reservedUntil: 0 });
    this.wake(id);
    return true;
  }

  /** Goes on where the last sweep stopped, so no sweep walks the whole map. */
  async sweep(limit: number): Promise<number> {
    const now = this.clock.wall();
    let removed = 0;
    // One look more than there are rows: starting over at the end takes one.
    for (let looked = 0; looked <= this.rows.size + removed && removed < limit; looked++) {
      const { done, value } = this.sweepCursor.next();
      if (done) this.sweepCursor = this.rows.entries();
      else if (this.isExpired(value[1], now) && this.rows.delete(value[0])) removed++;
    }
    return removed;
  }

  async act(act: Act): Promise<ActAnswer> {
    const { id, actId, response, retentionMs, by, reason } = act;
    const now = this.clock.wall();
    const row = this.rows.get(id);
    const record = row && !this.isExpired(row, now) ? this.view(id, row, now) : null;
    if (!row || !record || !isActable(record, act)) return { done: false, record };
    const { scope, key, state, attempt } = row as Row & Pick<AuditEntry, 'state'>;
    const kind = response ? 'answer' : 'free';
    this.acts.push({ actId, id, scope, key, act: kind, by, reason, state, attempt, at: now });
    if (this.acts.length > MOST_ACTS) this.acts.shift();
    Object.assign(row, { leaseUntil: 0, expiresAt: now + retentionMs });
    if (response) Object.assign(row, { state: 'completed', token: actId, response, completedAt: now });
    else Object.assign(row, { state: 'running', token: null });
    this.wake(id);
    return { done: true };
  }

  async audit(id: string): Promise<AuditEntry[]> {
    return this.acts.filter((entry) => entry.id === id);
  }

  async list({ state, olderThanMs = 0, scope, limit, cursor }: ListQuery): Promise<ListPage> {
    const now = this.clock.wall();
    const [lastAt, lastId] = cursor === undefined ? [-1, ''] : partsOf(cursor, ['number', 'string']);
    const isAfter = ({ createdAt, id }: ListedRecord) =>
      createdAt > lastAt || (createdAt === lastAt && id > lastId);
    const found = [...this.rows]
      .filter(([, row]) => !this.isExpired(row, now) && row.createdAt <= now - olderThanMs)
      .map(([id, row]) => this.listed(id, row, now))
      .filter((record) => (scope === undefined || record.scope === scope) && isAfter(record))
      .filter((record) => (state === 'stuck' ? isStuck(record) : !state || record.state === state))
      .sort((a, b) => a.createdAt - b.createdAt || (a.id < b.id ? -1 : 1));
    const records = found.slice(0, limit);
    const last = records.at(-1);
    return { records, cursor: found.length > limit && last ? cursorOf(last.createdAt, last.id) : null };
  }

  async reserve(id: string, token: string, ms: number): Promise<boolean> {
    const row = this.rows.get(id);
    const now = this.clock.wall();
    if (row?.token !== token || row.state !== 'uncertain' || row.reservedUntil > now) return false;
    row.reservedUntil = now + ms;
    return true;
  }

  override async watch(id: string, wake: () => void): Promise<() => void> {
    const watchers = this.watchers.get(id) ?? new Set();
    this.watchers.set(id, watchers.add(wake));
    return () => {
      watchers.delete(wake);
      if (watchers.size === 0 && this.watchers.get(id) === watchers) this.watchers.delete(id);
    };
  }

  override readonly steps: StepStore = {
    list: async (id) => {
      const row = this.rows.get(id);
      const isThere = row && !this.isExpired(row, this.clock.wall());
      return [...((isThere && row.steps?.values()) || [])].sort((a, b) => a.position - b.position);
    },
    record: async (id, token, { name, position, result }: StepRecord) => {
      const row = this.rows.get(id);
      if (row?.token !== token || row.state !== 'running') return false;
      const step = { name, position, result, attempt: row.attempt, completedAt: this.clock.wall() };
      row.steps = (row.steps ?? new Map()).set(name, step);
      return true;
    },
  };

  private wake(id: string): void {
    for (const wake of this.watchers.get(id) ?? []) wake();
  }

  private isExpired(row: Row, now: number): boolean {
    return row.expiresAt !== null && row.expiresAt <= now;
  }

  /** Released, or an orphan that may be taken: by the same payload only. */
  private mayTake(row: Row, request: ClaimRequest, now: number): boolean {
    if (row.state !== 'running' || row.fingerprint !== request.fingerprint) return false;
    return row.token === null || (request.takeOrphan && row.leaseUntil <= now);
  }

  private nextFence(now: number): bigint {
    const micros = BigInt(Math.trunc(now)) * 1000n;
    this.lastFence = micros > this.lastFence ? micros : this.lastFence + 1n;
    return this.lastFence;
  }

  private view(id: string, row: Row, now: number): StoredRecord {
    return { ...this.listed(id, row, now), response: row.response };
  }

  private listed(id: string, row: Row, now: number): ListedRecord {
    const { scope, key, fingerprint, state, attempt, token, createdAt, completedAt, expiresAt } = row;
    const leaseRemainingMs = state === 'running' && token ? Math.max(0, row.leaseUntil - now) : 0;
    return {
      id,
      scope,
      key,
      fingerprint,
      state,
      attempt,
      token,
      leaseRemainingMs,
      createdAt,
      completedAt,
      expiresAt,
    };
  }
}

function isStuck({ state, token, leaseRemainingMs }: ListedRecord): boolean {
  return state === 'running' && token !== null && leaseRemainingMs === 0;
}

/** Results inside this process only. */
export function memoryStore(): MemoryStore {
  return new MemoryStore();
}
