export { idempotentFetch, type IdempotentFetch, type IdempotentFetchOptions } from './idempotent-fetch.js';
export { type AxiosConfig, type AxiosResponse, idempotentAdapter } from './idempotent-adapter.js';
export { type AnswerHead, isRetryable, type OutgoingOptions } from './outgoing.options.js';
export { NoAnswerError, type NoAnswerDetails } from './outgoing.errors.js';
