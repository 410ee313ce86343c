import type { Need } from '../scheme.js';
import type { Backend } from '../backends/backend.js';
import { RedisBackend } from '../backends/redis.backend.js';
import { RedisNodesBackend } from '../backends/redis-nodes.backend.js';
import type { Servers } from '../backends/servers.js';
import { PaymentService } from './payment-service.js';

const SERVICES = ['payment-1', 'payment-2', 'payment-3'] as const;

/** Three payment services, and the servers that are cheap enough for every lane to have its own. Plays one cell at a time. */
export class Lane {
  private readonly services = new Map<string, PaymentService>();
  private redis: Promise<Backend> | undefined;
  private redisNodes: Promise<Backend> | undefined;

  constructor(readonly servers: Servers) {}

  /** All three alive. Those that were killed are replaced. */
  async cast(): Promise<PaymentService[]> {
    return Promise.all(
      SERVICES.map(async (name) => {
        const service = this.services.get(name);
        if (service?.alive) return service;
        const next = await PaymentService.start(name);
        this.services.set(name, next);
        return next;
      }),
    );
  }

  backendsFor(needs: ReadonlySet<Need>): Promise<Backend[]> {
    return Promise.all([...needs].map((need) => this.backend(need)));
  }

  async stop(): Promise<void> {
    await Promise.all([...this.services.values()].map((service) => service.kill()));
    await Promise.all([this.redis, this.redisNodes].map(async (backend) => (await backend)?.stop()));
  }

  private backend(need: Need): Promise<Backend> {
    switch (need) {
      case 'redis':
        return (this.redis ??= RedisBackend.start());
      case 'redis-nodes':
        return (this.redisNodes ??= RedisNodesBackend.start(SERVICES));
      default:
        return this.servers.shared(need);
    }
  }
}
