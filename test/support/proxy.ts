import { type FaultProxy, startProxy as start } from '../../lib/testing/index.js';
import { started } from '../../sample-app/servers/cleanup.js';

export type { FaultProxy };

/** A proxy that is closed at the end of the spec file, if not before. */
export async function startProxy(targetPort: number): Promise<FaultProxy> {
  const proxy = await start(targetPort);
  started({ stop: () => proxy.close() });
  return proxy;
}
