/**
 * What is used of an ioredis client, 5 or 6, `Redis` or `Cluster`. The user makes it and ends it.
 * Stated structurally, so that no version of ioredis is needed to compile against this package.
 */
export interface RedisClient {
  readonly status: string;
  readonly isCluster: boolean;
  /** The connection; a Cluster has several and none here. */
  readonly stream?: { cork(): void; uncork(): void };
  readonly options: {
    readonly keyPrefix?: string | undefined;
    readonly host?: string;
    readonly port?: number;
  };
  connect(): Promise<unknown>;
  duplicate(...overrides: never[]): unknown;
  /** Of a `Cluster`. */
  nodes?(role: 'master'): RedisClient[];
  on(event: string, listener: () => void): unknown;
  evalsha(sha1: string, keyCount: number, ...keysAndArguments: ScriptArgument[]): Promise<unknown>;
  eval(lua: string, keyCount: number, ...keysAndArguments: ScriptArgument[]): Promise<unknown>;
}

export type ScriptArgument = string | number | Buffer;

/** @throws TypeError naming the option, its value and the fix. */
export function checkRedisOptions(factory: string, options: { client: unknown; keyPrefix?: unknown }): void {
  const client = options?.client;
  const isUsable = ['connect', 'duplicate', 'on', 'evalsha', 'eval'].every(
    (method) => typeof (client as Record<string, unknown> | null | undefined)?.[method] === 'function',
  );
  if (!isUsable) {
    throw new TypeError(
      `${factory}({ client }): client is ${describe(client)}; ` +
        `it must be an ioredis client, e.g. ${factory}({ client: new Redis(url) })`,
    );
  }
  const { keyPrefix } = options;
  if (keyPrefix !== undefined && (typeof keyPrefix !== 'string' || /[{}]/.test(keyPrefix))) {
    throw new TypeError(
      `${factory}({ keyPrefix }): keyPrefix is ${JSON.stringify(keyPrefix)}; it must be text without { and }, ` +
        `which would become the hash tag of Redis Cluster, e.g. 'shop:'`,
    );
  }
}

/** Never the text itself: it may be a URL with a password in it. */
function describe(value: unknown): string {
  if (value === undefined || value === null) return String(value);
  if (typeof value !== 'object') return `a ${typeof value}`;
  return `an object of class ${value.constructor?.name ?? '(none)'}`;
}
