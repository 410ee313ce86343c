import { randomUUID } from 'node:crypto';
import { Inject, Injectable } from '@nestjs/common';
import { IsIn, IsInt, IsOptional, IsString, Length, Max, Min } from 'class-validator';
import { within } from '../engine/backend.js';
import { IdempotencyEngine } from '../engine/engine.js';
import { type GivenAnswer, responseOf } from '../idempotency.answer.js';
import { IDEMPOTENCY_OPTIONS } from '../idempotency.constants.js';
import { ActRefusedError, IdempotencyOptionsError } from '../idempotency.errors.js';
import { type IdempotencyModuleOptions, resolveOptions } from '../idempotency.options.js';
import { check, must } from '../idempotency.options.checks.js';
import type { Act, AuditEntry, ListedRecord, ListPage, ListQuery } from '../stores/act.js';
import { ResultStore, type StoredResponse } from '../stores/result-store.js';
import type { StoredStep } from '../stores/step-store.js';

/** Who acts, and why: both are kept in the audit. */
export interface ActRequest {
  /** 1 to 255 characters. */
  readonly by: string;
  /** 1 to 2 000 characters. */
  readonly reason: string;
}

export interface ResolveRequest extends ActRequest {
  /** What duplicates get from now on, or `'retry'`: the next call with the same payload runs again, recorded steps are kept. */
  readonly response: GivenAnswer | 'retry';
}

export type ListRequest = Partial<ListQuery>;

const DEFAULT_LIMIT = 100;
const BY = must('a text of 1 to 255 characters that tells who acts');
const REASON = must('a text of 1 to 2000 characters that tells why');

class ActShape {
  @IsString(BY) @Length(1, 255, BY) by?: unknown;
  @IsString(REASON) @Length(1, 2_000, REASON) reason?: unknown;
}

const STATE = must("'running', 'completed', 'uncertain' or 'stuck'");
const AGE = must('an integer of at least 0 (milliseconds)');
const LIMIT = must('an integer from 1 to 1000');

class ListShape {
  @IsOptional() @IsIn(['running', 'completed', 'uncertain', 'stuck'], STATE) state?: unknown;
  @IsOptional() @IsInt(AGE) @Min(0, AGE) olderThanMs?: unknown;
  @IsOptional() @IsString(must('a text')) scope?: unknown;
  @IsOptional() @IsInt(LIMIT) @Min(1, LIMIT) @Max(1_000, LIMIT) limit?: unknown;
  @IsOptional() @IsString(must('the cursor of the page before')) cursor?: unknown;
}

/** What operators do by hand to records: checked, put to the store, and made known in this process. */
@Injectable()
export class Operator {
  constructor(
    @Inject(IDEMPOTENCY_OPTIONS) private readonly options: IdempotencyModuleOptions,
    @Inject(IdempotencyEngine) private readonly engine: IdempotencyEngine,
    @Inject(ResultStore) private readonly store: ResultStore,
  ) {}

  async list(request: ListRequest): Promise<ListPage> {
    check(new ListShape(), request, 'IdempotencyService.list');
    // null is as good as nothing where a query string was parsed into it.
    const given = Object.fromEntries(Object.entries(request).filter(([, value]) => (value ?? null) !== null));
    return this.ask(() => this.store.list({ limit: DEFAULT_LIMIT, ...given })).catch((error: unknown) => {
      throw wrongCursorIn(error) ?? error;
    });
  }

  audit(id: string): Promise<AuditEntry[]> {
    return this.ask(() => this.store.audit(id));
  }

  async steps(id: string): Promise<StoredStep[]> {
    const { steps } = this.store;
    return steps ? this.ask(() => steps.list(id)) : [];
  }

  async release(id: string, request: ActRequest): Promise<void> {
    check(new ActShape(), request, 'IdempotencyService.release');
    return this.act(id, request, { response: null, evenLive: true });
  }

  async resolve(id: string, request: ResolveRequest): Promise<void> {
    const where = 'IdempotencyService.resolve';
    const { response, ...act } = Object(request) as ResolveRequest;
    check(new ActShape(), act, where);
    const { maxResponseBytes } = this.defaults;
    const stored = response === 'retry' ? null : responseOf(response, maxResponseBytes, where);
    return this.act(id, act, { response: stored, evenLive: false });
  }

  private async act(
    id: string,
    { by, reason }: ActRequest,
    { response, evenLive }: { response: StoredResponse | null; evenLive: boolean },
  ): Promise<void> {
    const { retentionMs } = this.defaults;
    // Whoever owns it here before the act: afterwards it may be owned anew.
    const owners = this.engine.ownersOf(id);
    const act: Act = { actId: randomUUID(), id, response, evenLive, retentionMs, by, reason };
    const answer = await this.ask(() => this.store.act(act));
    if (!answer.done) throw refusal(id, answer.record);
    for (const owner of owners) owner.dispossess();
  }

  private ask<T>(operation: () => Promise<T>): Promise<T> {
    return within(this.defaults.backendTimeoutMs, `Store ${this.store.name}`, operation);
  }

  private get defaults() {
    return resolveOptions(this.options, {}, 'IdempotencyModule');
  }
}

/** What only the store can tell is the caller's mistake, and not the store's. */
function wrongCursorIn(error: unknown): IdempotencyOptionsError | undefined {
  if (error instanceof IdempotencyOptionsError) return error;
  return error instanceof Error && error.cause ? wrongCursorIn(error.cause) : undefined;
}

/** Says what is there instead, never what it answers. */
function refusal(id: string, record: ListedRecord | null): ActRefusedError {
  if (!record) {
    return new ActRefusedError(id, 'not-found', 'there is none: it expired, was forgotten, or never was');
  }
  const { state, token, leaseRemainingMs, expiresAt } = record;
  const until = new Date(expiresAt ?? 0).toISOString();
  if (state === 'completed') {
    return new ActRefusedError(id, 'completed', `it has its answer, which is replayed until ${until}`);
  }
  if (state === 'running' && token === null) {
    return new ActRefusedError(id, 'free', 'it is free already: the next call with the same payload runs');
  }
  if (state === 'running' && leaseRemainingMs > 0) {
    const fix = `wait until its lease is over (${leaseRemainingMs} ms from now, unless renewed), or release it`;
    return new ActRefusedError(id, 'live', `its owner is at work; ${fix}`);
  }
  return new ActRefusedError(id, 'changed', 'it changed at that moment; look at it again');
}
