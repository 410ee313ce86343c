import { setTimeout as sleep } from 'node:timers/promises';
import { Redis } from 'ioredis';
import { type FaultProxy, startProxy } from 'nestjs-idempotent/testing';
import type { Fault } from '../scenario.js';
import { type RedisServer, startRedis } from '../../servers/servers.js';
import type { Backend, Tell } from './backend.js';

/** Five, and for each payment service a line of its own to each, which can be cut. */
export class RedisNodesBackend implements Backend {
  private constructor(
    private readonly nodes: readonly RedisServer[],
    private readonly lines: ReadonlyMap<string, readonly FaultProxy[]>,
  ) {}

  static async start(services: readonly string[]): Promise<RedisNodesBackend> {
    const nodes = await Promise.all([1, 2, 3, 4, 5].map(() => startRedis()));
    const lines = services.map(
      async (service) => [service, await Promise.all(nodes.map(({ port }) => startProxy(port)))] as const,
    );
    return new RedisNodesBackend(nodes, new Map(await Promise.all(lines)));
  }

  addressesFor(service: string): { redisNodes: string[] } {
    return { redisNodes: this.linesOf(service).map((line, at) => line.url(this.nodes[at]!.url)) };
  }

  /** A node that was restarted has no vote for one TTL; it tells its age in whole seconds, one of which may not be true. */
  async ready(ttlMs: number): Promise<void> {
    const grownUpSeconds = Math.ceil((ttlMs * 1.02) / 1_000) + 2;
    await Promise.all(
      this.nodes.map(async ({ url }) => {
        const redis = new Redis(url, { retryStrategy: () => 50 });
        try {
          while ((await uptime(redis)) < grownUpSeconds) await sleep(50);
        } finally {
          redis.disconnect();
        }
      }),
    );
  }

  async prepare(fault: Fault, tell: Tell): Promise<void> {
    if (fault !== 'restart-empty') return;
    for (const lines of this.lines.values()) cut(lines.slice(3));
    // Until the clients have noticed.
    await sleep(100);
    for (const node of [4, 5]) tell(`redis-${node}`, 'fault', 'cannot be reached');
  }

  /** Of `restart-empty` the textbook case: 1, 2, 3 gave the lock, 3 forgets it, and the next one asks 3, 4, 5. */
  async strike(fault: Fault, tell: Tell, holder: string | undefined): Promise<void> {
    if (fault === 'restart-empty') {
      await this.nodes[2]!.kill();
      await this.nodes[2]!.restart();
      tell('redis-3', 'fault', 'is killed and comes back empty');
      for (const [service, lines] of this.lines) {
        // The holder gets no chance to repair its lock: it is slow to notice.
        if (service === holder) cut(lines.slice(2));
        else mend(lines);
      }
      for (const node of [4, 5])
        tell(`redis-${node}`, 'healed', `can be reached again, not yet by ${holder}`);
      // Until the clients are connected again, on a busy machine, too.
      await sleep(350);
    } else if (fault === 'failover') {
      await Promise.all(this.nodes.slice(0, 2).map((node) => node.kill()));
      for (const node of [1, 2]) tell(`redis-${node}`, 'fault', 'is killed');
    }
  }

  async heal(fault: Fault): Promise<void> {
    if (fault === 'restart-empty') for (const lines of this.lines.values()) mend(lines);
    if (fault === 'failover') await Promise.all(this.nodes.slice(0, 2).map((node) => node.restart()));
  }

  async stop(): Promise<void> {
    const lines = [...this.lines.values()].flat();
    await Promise.all(lines.map((line) => line[Symbol.asyncDispose]()));
    await Promise.all(this.nodes.map((node) => node.stop()));
  }

  private linesOf(service: string): readonly FaultProxy[] {
    return this.lines.get(service) ?? [];
  }
}

function cut(lines: readonly FaultProxy[]): void {
  for (const line of lines) {
    line.drop();
    line.closeConnections();
  }
}

/** What waited in a black hole is not delivered any more. */
function mend(lines: readonly FaultProxy[]): void {
  for (const line of lines) {
    if (line.mode.kind === 'drop') line.closeConnections();
    line.pass();
  }
}

async function uptime(redis: Redis): Promise<number> {
  return Number(/uptime_in_seconds:(\d+)/.exec(await redis.info('server'))?.[1]);
}
