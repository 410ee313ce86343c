import type { IncomingMessage, ServerResponse } from 'node:http';

/**
 * Keeps it from everybody that the client has gone away, until the answer is stored: pipes, and Nest for the
 * files it sends, would tear down half an answer that is to be recorded as a whole. For streams only: it costs.
 *
 * @param closed is told instead, at once.
 * @returns lets everybody know what was kept from them.
 */
export function hideClose(response: ServerResponse, closed: () => void): () => void {
  const { req } = response;
  const emit = Reflect.get(response, 'emit') as (event: string, ...rest: unknown[]) => boolean;
  let isHidden = true;
  let missed = false;
  let isDestroyed = response.destroyed;
  response.emit = (event: string, ...rest: unknown[]) => {
    if (event !== 'close') return emit.call(response, event, ...rest);
    missed = true;
    closed();
    return true;
  };
  Object.defineProperties(response, {
    closed: { configurable: true, get: () => false },
    // Node sets it when the connection closes.
    destroyed: {
      configurable: true,
      get: () => false,
      set: (value: boolean) => {
        isDestroyed = value;
      },
    },
    req: { configurable: true, writable: true, value: withoutClose(req) },
  });
  return () => {
    if (!isHidden) return;
    isHidden = false;
    response.emit = emit as typeof response.emit;
    delete (response as { closed?: boolean }).closed;
    Object.defineProperty(response, 'destroyed', {
      configurable: true,
      enumerable: true,
      writable: true,
      value: isDestroyed,
    });
    Object.assign(response, { req });
    if (missed) response.emit('close');
  };
}

/** The request as it is, on a connection that is never heard of closing. */
function withoutClose(request: IncomingMessage): IncomingMessage {
  const deaf = () => socket;
  const socket = Object.create(request.socket, {
    destroyed: { value: false },
    on: { value: deaf },
    once: { value: deaf },
  });
  return Object.create(request, { socket: { value: socket } });
}
