import { setTimeout as sleep } from 'node:timers/promises';
import { Redis } from 'ioredis';
import { type FaultProxy, startProxy } from 'nestjs-idempotent/testing';
import type { Fault } from '../scenario.js';
import { type RedisServer, startRedis } from '../../servers/servers.js';
import type { Backend, Tell } from './backend.js';

/** Longer than clients wait before they connect again. */
const RECONNECT_MS = 250;

/** A master, its replica, and the address that clients know: it moves with the master. */
export class RedisBackend implements Backend {
  private constructor(
    private readonly master: RedisServer,
    private readonly replica: RedisServer,
    /** What the replica hears of the master by. */
    private readonly link: FaultProxy,
    private readonly address: FaultProxy,
  ) {}

  static async start(): Promise<RedisBackend> {
    const master = await startRedis();
    const [link, address] = await Promise.all([startProxy(master.port), startProxy(master.port)]);
    const replica = await startRedis({ args: ['--replicaof', '127.0.0.1', String(link.port)] });
    return new RedisBackend(master, replica, link, address);
  }

  addressesFor(): { redis: string } {
    return { redis: this.address.url(this.master.url) };
  }

  async ready(): Promise<void> {
    await this.untilReplicated();
  }

  /** Replication is asynchronous; what makes the difference between the two is how far behind the replica is. */
  async prepare(fault: Fault, tell: Tell): Promise<void> {
    if (fault !== 'failover') return;
    this.link.drop();
    tell('redis-replica', 'fault', 'falls behind: hears nothing of its master for a while');
  }

  async strike(fault: Fault, tell: Tell): Promise<void> {
    if (fault === 'database-down') return;
    if (fault === 'restart-empty') {
      await this.master.kill();
      await this.master.restart();
      tell('redis-master', 'fault', 'is killed and comes back empty');
    } else {
      await this.master.kill();
      tell('redis-master', 'fault', 'is killed');
      this.link.closeConnections();
      await ask(this.replica, (redis) => redis.replicaof('NO', 'ONE'));
      this.address.redirect(this.replica.port);
      this.address.closeConnections();
      tell('redis-replica', 'fault', 'is promoted: it is the master now, without what it has not heard of');
    }
    // Until the clients are connected again: who is not takes no lock, and shows nothing.
    await sleep(RECONNECT_MS);
  }

  async heal(fault: Fault): Promise<void> {
    if (fault !== 'failover') return;
    await this.master.restart();
    this.address.redirect(this.master.port);
    this.address.closeConnections();
    this.link.pass();
    await ask(this.replica, (redis) => redis.replicaof('127.0.0.1', this.link.port));
  }

  async stop(): Promise<void> {
    await Promise.all([this.address, this.link].map((proxy) => proxy[Symbol.asyncDispose]()));
    await Promise.all([this.master.stop(), this.replica.stop()]);
  }

  private async untilReplicated(): Promise<void> {
    await ask(this.replica, async (redis) => {
      while (!(await redis.info('replication')).includes('master_link_status:up')) await sleep(20);
    });
  }
}

async function ask(server: RedisServer, question: (redis: Redis) => Promise<unknown>): Promise<void> {
  const redis = new Redis(server.url, { retryStrategy: () => 50 });
  try {
    await question(redis);
  } finally {
    redis.disconnect();
  }
}
