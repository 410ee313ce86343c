/** The lock or the store could not be asked or did not answer in time. `cause` tells why. */
export class BackendUnavailableError extends Error {
  override readonly name = 'BackendUnavailableError';
}

/**
 * Puts our own limit on an operation: client libraries queue, re-send and sometimes never settle.
 *
 * @param late is given the answer that comes after the limit, so that what it granted can be given back.
 * @throws BackendUnavailableError when the operation rejects or takes longer than `ms` milliseconds.
 */
export function within<T>(
  ms: number,
  what: string,
  operation: () => Promise<T>,
  late?: (answer: T) => void,
): Promise<T> {
  return new Promise<T>((resolve, reject) => {
    let waiting = true;
    const fail = (message: string, cause?: unknown) => {
      waiting = false;
      reject(new BackendUnavailableError(message, { cause }));
    };
    const timer = setTimeout(() => fail(`${what} did not answer within ${ms} ms`), ms);
    const started = promised(operation);
    started.then(
      (answer) => {
        if (!waiting) return late?.(answer);
        clearTimeout(timer);
        resolve(answer);
      },
      (cause: unknown) => {
        if (!waiting) return;
        clearTimeout(timer);
        fail(`${what} failed: ${cause instanceof Error ? cause.message : String(cause)}`, cause);
      },
    );
  });
}

/**
 * The promise, or `aborted` as soon as the signal aborts.
 *
 * @param late is given what comes after that.
 */
export function unlessAborted<T>(
  promise: Promise<T>,
  signal: AbortSignal | undefined,
  late: (answer: T) => void,
): Promise<T | 'aborted'> {
  if (!signal) return promise;
  return new Promise<T | 'aborted'>((resolve, reject) => {
    const abort = () => {
      resolve('aborted');
      promise.then(late, () => undefined);
    };
    const settled = () => signal.removeEventListener('abort', abort);
    signal.addEventListener('abort', abort, { once: true });
    promise.then(
      (answer) => {
        settled();
        resolve(answer);
      },
      (error: Error) => {
        settled();
        reject(error);
      },
    );
  });
}

/** A synchronous throw becomes a rejection. */
function promised<T>(operation: () => Promise<T>): Promise<T> {
  try {
    return operation();
  } catch (error) {
    return Promise.reject(error);
  }
}

export function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms).unref());
}
