export { IdempotencyModule } from './idempotency.module.js';
export { Idempotent, IdempotencyCtx, type KeyFunction } from './idempotent.decorator.js';
export { Locked } from './locked.decorator.js';
export type { LockedOptions } from './locked.options.js';
export { IdempotencyInterceptor } from './idempotency.interceptor.js';
export { IdempotencyContext } from './idempotency.context.js';
export { type FindRequest, IdempotencyService, type RunRequest } from './idempotency.service.js';
export type { RunResult } from './idempotency.runner.js';
export type {
  IdempotencyModuleOptions,
  IdempotentOptions,
  Principal,
  TransactionalOptions,
} from './idempotency.options.js';
export type { ErrorDecision, IdempotentCall, OnError } from './idempotency.call.js';
export type { ErrorAnswer, GivenAnswer, HttpAnswer, ValueAnswer } from './idempotency.answer.js';
export type { CompleteOptions } from './idempotency.complete.js';
export type { Reconcile, ReconcileAnswer, UncertainCall } from './idempotency.reconcile.js';
export type { ActRequest, ListRequest, ResolveRequest } from './operations/operator.js';
export {
  ActRefusedError,
  IdempotencyError,
  type IdempotencyErrorCode,
  IdempotencyOptionsError,
  type IdempotencyProblem,
  LockLostError,
  LockNotAcquiredError,
  type RefusalExtensions,
  StepError,
  StepNotRecordedError,
} from './idempotency.errors.js';
export { BackendUnavailableError } from './engine/backend.js';
export type { Clock } from './engine/clock.js';
export type { EngineCounters } from './engine/policy.js';
export {
  type AcquireOptions,
  type AcquireResult,
  LockService,
  type LockServiceOptions,
} from './locks/lock.service.js';
export { LockLease, type ReleaseOutcome } from './locks/lock-lease.js';
export { type AcquireAnswer, type ExtendAnswer, LockDriver, type LockRef } from './locks/lock-driver.js';
export { memoryLock } from './locks/memory.lock.js';
export { quorumLock, type QuorumOptions } from './locks/quorum/quorum.lock.js';
export type { Act, ActAnswer, AuditEntry, ListedRecord, ListPage, ListQuery } from './stores/act.js';
export { memoryStore } from './stores/memory.store.js';
export {
  type ClaimAnswer,
  type ClaimRef,
  type ClaimRequest,
  type RecordState,
  ResultStore,
  type StoredRecord,
  type StoredResponse,
} from './stores/result-store.js';
export type {
  IsolationLevel,
  StoreTransaction,
  StoreTransactions,
  TransactionManager,
} from './stores/store-transactions.js';
export type { StepRecord, StepStore, StoredStep } from './stores/step-store.js';
export { days, hours, minutes, seconds } from './durations.js';
