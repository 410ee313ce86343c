export { unprotected } from '../idempotency.managed.js';
