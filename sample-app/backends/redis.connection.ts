import { Injectable, Logger, type OnApplicationShutdown } from '@nestjs/common';
import { Redis } from 'ioredis';
import { Environment } from '../config/environment.js';

/** The Redis connection, if lock or results need one. */
@Injectable()
export class RedisConnection implements OnApplicationShutdown {
  private readonly logger = new Logger('Redis');
  private redis: Redis | undefined;

  constructor(private readonly environment: Environment) {}

  /** Whether anything asked for it. */
  get isUsed(): boolean {
    return this.redis !== undefined;
  }

  get client(): Redis {
    return (this.redis ??= this.connect());
  }

  onApplicationShutdown(): void {
    this.redis?.disconnect();
  }

  private connect(): Redis {
    const redis = new Redis(this.environment.REDIS_URL!);
    let isDown = false;
    redis.on('ready', () => (isDown = false));
    // ioredis tries again by itself, and tells every time.
    redis.on('error', (error: Error) => {
      if (!isDown) this.logger.error(`Redis is unavailable: ${error.message || error.name}`);
      isDown = true;
    });
    return redis;
  }
}
