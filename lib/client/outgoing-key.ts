/** Methods that change nothing: they need no key to be sent again. */
const SAFE: ReadonlySet<string> = new Set(['GET', 'HEAD', 'OPTIONS', 'TRACE']);
const MAX_KEY_LENGTH = 255;

/**
 * The key of a request as its header has it.
 *
 * @param name of the header.
 * @returns undefined for a method that needs none.
 * @throws TypeError when it is missing or no server would take it.
 */
export function outgoingKey(
  method: string,
  name: string,
  value: string | null | undefined,
): string | undefined {
  if (value === null || value === undefined) {
    if (SAFE.has(method)) return undefined;
    throw new TypeError(
      `${method} without the header ${name} cannot be sent again safely; give ctx.deriveKey('name') in a handler, ` +
        'elsewhere a key that is stored with what it is for, or randomUUID() if nobody repeats this call',
    );
  }
  if (value !== '' && value.length <= MAX_KEY_LENGTH) return value;
  throw new TypeError(
    `The header ${name} has ${value.length} characters; it must have 1 to ${MAX_KEY_LENGTH}`,
  );
}

/** @throws TypeError when a body can be read once only. */
export function checkReplayable(body: unknown): void {
  if (typeof body !== 'object' || body === null) return;
  const isStream = 'getReader' in body || 'pipe' in body || Symbol.asyncIterator in body;
  if (!isStream) return;
  throw new TypeError(
    'The body is a stream, which cannot be sent a second time; read it into a string, a Buffer or a Blob first',
  );
}

/** For people, without what may be secret: query, fragment, user and password. */
export function requestName(method: string, address: string): string {
  return `${method} ${address.replace(/[?#].*/s, '').replace(/\/\/[^/@]*@/, '//')}`;
}
