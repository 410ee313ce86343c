import {
  Inject,
  Injectable,
  Logger,
  type OnApplicationBootstrap,
  type OnModuleDestroy,
} from '@nestjs/common';
import { within } from '../engine/backend.js';
import { IdempotencyEngine } from '../engine/engine.js';
import type { Ownership } from '../engine/ownership.js';
import { localCall } from '../idempotency.call.js';
import { IdempotencyError } from '../idempotency.errors.js';
import { type CompletableMethod, IdempotencyExplorer } from '../idempotency.explorer.js';
import { ReconcileHooks } from '../idempotency.reconcile.js';
import { ValueRunner } from '../idempotency.runner.js';
import { keptArguments } from '../idempotency.stored-call.js';
import type { ListedRecord } from '../stores/act.js';
import { ResultStore } from '../stores/result-store.js';

const PAGE = 100;
/** Pages of one look at a route, at most. */
const MOST_PAGES = 10;
/** Calls of one route that are completed at the same time. */
const AT_ONCE = 4;
const LONGEST_PAUSE_MS = 5 * 60_000;

/** What this process knows of a call it has found abandoned. */
interface Abandoned {
  readonly attempt: number;
  /** When it was found, by the monotonic clock. */
  readonly since: number;
  isGivenUp: boolean;
}

/**
 * Finishes what dead processes have left behind, for methods with `complete: true`: looks for claims that ran out about
 * once a lease, claims them like any call, and runs the method with the arguments kept. The claim decides which process
 * does it. One that fails is left claimed until that runs out, and waits twice as long before every next attempt.
 */
@Injectable()
export class IdempotencyCompleter implements OnApplicationBootstrap, OnModuleDestroy {
  private readonly logger = new Logger('Idempotency');
  private readonly timers = new Set<NodeJS.Timeout>();
  private readonly found = new Map<CompletableMethod, Map<string, Abandoned>>();
  private isStopped = false;

  constructor(
    @Inject(IdempotencyExplorer) private readonly explorer: IdempotencyExplorer,
    @Inject(IdempotencyEngine) private readonly engine: IdempotencyEngine,
    @Inject(ValueRunner) private readonly runner: ValueRunner,
    @Inject(ReconcileHooks) private readonly hooks: ReconcileHooks,
    @Inject(ResultStore) private readonly store: ResultStore,
  ) {}

  onApplicationBootstrap(): void {
    for (const method of this.explorer.completable) this.schedule(method);
  }

  /** What runs is waited for by the shutdown, as every call is. */
  onModuleDestroy(): void {
    this.isStopped = true;
    for (const timer of this.timers) clearTimeout(timer);
  }

  private schedule(method: CompletableMethod): void {
    if (this.isStopped) return;
    // Spread, so that processes started together do not look together.
    const delay = method.route.policy.leaseMs * (0.8 + 0.4 * Math.random());
    const timer = setTimeout(() => {
      this.timers.delete(timer);
      void this.look(method).finally(() => this.schedule(method));
    }, delay).unref();
    this.timers.add(timer);
  }

  private async look(method: CompletableMethod): Promise<void> {
    const { route } = method;
    try {
      const due = await this.due(method);
      // In another order in every process: they do not all want the same one first.
      due.sort(() => Math.random() - 0.5);
      while (due.length > 0 && !this.isStopped) {
        await Promise.all(due.splice(0, AT_ONCE).map((record) => this.complete(method, record)));
      }
    } catch (error) {
      this.logger.warn(`Abandoned calls of ${route.label} could not be looked for: ${reason(error)}`);
    }
  }

  /** Abandoned calls whose pause is over. What is not listed any more is forgotten. */
  private async due(method: CompletableMethod): Promise<ListedRecord[]> {
    const before = this.found.get(method);
    const found = new Map<string, Abandoned>();
    const now = performance.now();
    const due: ListedRecord[] = [];
    for (const record of await this.abandoned(method)) {
      const { id, attempt } = record;
      const known = before?.get(id);
      const abandoned = known?.attempt === attempt ? known : { attempt, since: now, isGivenUp: false };
      found.set(id, abandoned);
      if (abandoned.isGivenUp) continue;
      if (this.hasEnough(method, record)) this.giveUp(method, record, abandoned);
      else if (now - abandoned.since >= pauseOf(attempt, method.route.policy.leaseMs)) due.push(record);
    }
    this.found.set(method, found);
    return due;
  }

  private async abandoned({ route }: CompletableMethod): Promise<ListedRecord[]> {
    const { scope, policy } = route;
    const records: ListedRecord[] = [];
    // An uncertain one is only for who can find out about it.
    for (const state of policy.reconcile ? (['stuck', 'uncertain'] as const) : (['stuck'] as const)) {
      let cursor: string | null | undefined;
      for (let page = 0; page < MOST_PAGES && cursor !== null && !this.isStopped; page++) {
        const query = { state, scope, limit: PAGE, ...(cursor === undefined ? {} : { cursor }) };
        const listed = await this.ask(route.policy.backendTimeoutMs, () => this.store.list(query));
        records.push(...listed.records);
        cursor = listed.cursor;
      }
    }
    return records;
  }

  private hasEnough({ route }: CompletableMethod, { attempt, createdAt }: ListedRecord): boolean {
    const { attempts, deadlineMs } = route.policy.complete as { attempts: number; deadlineMs: number };
    return attempt >= attempts || Date.now() - createdAt > deadlineMs;
  }

  private giveUp({ route }: CompletableMethod, { id, attempt }: ListedRecord, abandoned: Abandoned): void {
    abandoned.isGivenUp = true;
    this.engine.counters.givenUp++;
    this.logger.error(
      `${route.label} (record ${id.slice(0, 12)}) is left unfinished after ${attempt} attempts: ` +
        'its next caller or an operator has to settle it',
    );
  }

  private async complete(
    { route, instance, method }: CompletableMethod,
    record: ListedRecord,
  ): Promise<void> {
    const { id, scope, key, fingerprint } = record;
    const where = `${route.label} (record ${id.slice(0, 12)})`;
    try {
      const { backendTimeoutMs } = route.policy;
      const args = await this.ask(backendTimeoutMs, () => keptArguments(this.store.steps!, id, route.label));
      if (!args || this.isStopped) return;
      const call = localCall({ transport: 'method', scope, args });
      const identity = { id, scope, key, fingerprint };
      // Never unprotected, and nobody waits for it.
      const policy = { ...route.policy, onConflict: 'reject', onUnavailable: 'reject' } as const;
      const decide = (error: unknown) => route.decide(error, call, (message) => this.logger.error(message));
      const findOut = this.hooks.of(identity, policy, call);
      const todo = { identity, policy, decide, findOut, prepare: keepClaim };
      const { replayed } = await this.runner.run(todo, method, () => method.apply(instance, args) as unknown);
      if (!replayed) this.engine.counters.completions++;
    } catch (error) {
      // Somebody else has it, or it is still not known.
      if (error instanceof IdempotencyError && error.code !== 'unavailable') return;
      this.logger.warn(`${where} was abandoned, and an attempt to finish it failed: ${reason(error)}`);
    }
  }

  private ask<T>(ms: number, operation: () => Promise<T>): Promise<T> {
    return within(ms, `Store ${this.store.name}`, operation);
  }
}

const keepClaim = (ownership: Ownership) => ownership.keepClaimOnRelease();

/** None for a call that was only begun by its caller, then ever twice as long. */
function pauseOf(attempt: number, leaseMs: number): number {
  return attempt === 1 ? 0 : Math.min(leaseMs * 2 ** (attempt - 2), LONGEST_PAUSE_MS);
}

function reason(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
