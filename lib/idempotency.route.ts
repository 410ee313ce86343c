import type { Ownership } from './engine/ownership.js';
import type { CallIdentity } from './engine/policy.js';
import { decide, type ErrorDecision, type IdempotentCall } from './idempotency.call.js';
import { IdempotencyError, IdempotencyOptionsError } from './idempotency.errors.js';
import {
  resolveOptions,
  type IdempotencyModuleOptions,
  type ResolvedOptions,
} from './idempotency.options.js';
import { keepCall, storedCall } from './idempotency.stored-call.js';
import type { IdempotentMetadata, KeyFunction } from './idempotent.decorator.js';
import { fingerprintOf } from './identity/fingerprint.js';
import { recordId } from './identity/identity.js';
import { keyMadeBy } from './identity/key-function.js';
import { keyFromField, keyFromHeader } from './identity/key-header.js';
import { missingIn } from './identity/key-template.js';
import { headerSelection, type HeaderSelection } from './transports/response-headers.js';

/** Transports whose callers have somebody behind them who should be known. */
const HAVE_CALLERS = new Set<IdempotentCall['transport']>(['http', 'graphql', 'ws']);

/** Where callers put a key. */
const CARRIERS: Partial<Record<IdempotentCall['transport'], string>> & { http: string } = {
  http: 'the header Idempotency-Key',
  graphql: 'the header Idempotency-Key, or extensions.idempotencyKey in the request,',
  ws: 'idempotencyKey in the data of the message',
};

/** A decorated handler with its options resolved: knows who a call is and what an error means. */
export class IdempotentRoute {
  readonly scope: string;
  readonly policy: ResolvedOptions;
  readonly selectHeaders: HeaderSelection;

  /**
   * @param label `Controller.method`; the scope unless the options set one.
   * @throws IdempotencyOptionsError when an option is wrong.
   */
  constructor(
    readonly label: string,
    private readonly metadata: IdempotentMetadata,
    private readonly module: IdempotencyModuleOptions,
  ) {
    this.policy = resolveOptions(module, metadata.options, `@Idempotent on ${label}`);
    this.scope = this.policy.scope ?? label;
    this.selectHeaders = headerSelection(this.policy.responseHeaders);
  }

  get readsHeader(): boolean {
    return this.metadata.key === undefined;
  }

  /** As it is written; undefined where the key is made by a function or comes with the header. */
  get template(): string | undefined {
    const { key } = this.metadata;
    return typeof key === 'string' ? key : undefined;
  }

  /**
   * Makes the identity of a call, once, before anything runs.
   *
   * @returns null for a call without a key on a route that does not require one.
   * @throws IdempotencyError `key-missing`, `key-invalid`, `principal-missing`.
   */
  async identify(call: IdempotentCall): Promise<CallIdentity | null> {
    const made = this.keyOf(call);
    const key = made instanceof Promise ? await made : made;
    if (key === undefined) {
      if (!this.policy.required) return null;
      throw new IdempotencyError('key-missing', { detail: this.missingKey(call) });
    }
    const principal = principalOf(this.module, call);
    return {
      id: recordId(this.scope, principal instanceof Promise ? await principal : principal, key),
      scope: this.scope,
      key,
      fingerprint: fingerprintOf((this.policy.fingerprint ?? defaultFingerprint)(call)),
    };
  }

  /** Keeps a call that is to be completed if this process dies; undefined where nothing is to be kept. */
  prepare(call: IdempotentCall): ((ownership: Ownership) => Promise<void>) | undefined {
    if (!this.policy.complete) return undefined;
    const stored = storedCall(this.label, call.args, this.policy.maxResponseBytes);
    return (ownership) => keepCall(ownership, stored);
  }

  /** What an error of the handler leaves behind. */
  decide(error: unknown, call: IdempotentCall, report: (message: string) => void): ErrorDecision {
    return decide(this.policy.onError, error, call, report);
  }

  /** A promise only where a function makes the key: each costs more than all the rest. */
  private keyOf(call: IdempotentCall): string | undefined | Promise<string | undefined> {
    const { key, template } = this.metadata;
    if (key === undefined) {
      const { idempotencyKey } = call;
      return idempotencyKey === undefined
        ? keyFromHeader(call.headers?.['idempotency-key'])
        : keyFromField(idempotencyKey);
    }
    return template ? template(call) : keyMadeBy(key as KeyFunction, call, `@Idempotent on ${this.label}`);
  }

  private missingKey(call: IdempotentCall): string {
    const { key } = this.metadata;
    if (key === undefined)
      return `Send ${CARRIERS[call.transport] ?? CARRIERS.http} with a value that is new for every operation.`;
    if (typeof key === 'string') return `The key is made of ${missingIn(key, call)}, which this call lacks.`;
    return 'The key of this operation could not be made of this call.';
  }
}

/**
 * @returns null where keys have no owner: `principal: 'none'`, or a message or method call for which the
 * function gives none.
 * @throws IdempotencyError `principal-missing` when a caller that should be known is not.
 */
export function principalOf(
  { principal }: IdempotencyModuleOptions,
  call: IdempotentCall,
): string | null | Promise<string | null> {
  if (principal === 'none') return null;
  const owner = principal(call);
  return typeof (owner as PromiseLike<unknown> | null | undefined)?.then === 'function'
    ? Promise.resolve(owner).then((settled) => nameOf(settled, call))
    : nameOf(owner, call);
}

function nameOf(owner: unknown, call: IdempotentCall): string | null {
  if (owner !== undefined && owner !== null && owner !== '') return ownerName(owner);
  if (!HAVE_CALLERS.has(call.transport)) return null;
  throw new IdempotencyError('principal-missing', {
    detail: 'Keys belong to a caller; sign in, so that it is known who that is.',
  });
}

function ownerName(owner: unknown): string {
  if (typeof owner === 'string' || typeof owner === 'bigint' || Number.isFinite(owner)) return String(owner);
  throw new IdempotencyOptionsError(
    `The function principal returned ${Array.isArray(owner) ? 'a list' : `a value of type ${typeof owner}`}; it must ` +
      'return a text or a number, such as request.user?.id: of anything else many callers would have the same',
  );
}

/** Body, route template and params; the payload of a message; the arguments of a method or a GraphQL field. */
function defaultFingerprint(call: IdempotentCall): unknown {
  switch (call.transport) {
    case 'http':
      return [call.route, call.params, call.body];
    case 'method':
      return call.args;
    default:
      return call.payload;
  }
}
