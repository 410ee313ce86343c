import { setTimeout as sleep } from 'node:timers/promises';
import { Injectable } from '@nestjs/common';
import { type HealthIndicatorResult, HealthIndicatorService } from '@nestjs/terminus';
import { RedisConnection } from '../backends/redis.connection.js';

const TIMEOUT_MS = 1_000;

@Injectable()
export class RedisHealthIndicator {
  constructor(
    private readonly indicators: HealthIndicatorService,
    private readonly redis: RedisConnection,
  ) {}

  get isUsed(): boolean {
    return this.redis.isUsed;
  }

  async check(name: string): Promise<HealthIndicatorResult> {
    const indicator = this.indicators.check(name);
    const { client } = this.redis;
    // A disconnected client would keep the question until it is connected.
    if (client.status !== 'ready') return indicator.down({ message: `the connection is ${client.status}` });
    const answer = client.ping().catch((error: Error) => error.message);
    const late = sleep(TIMEOUT_MS, `no answer within ${TIMEOUT_MS} ms`, { ref: false });
    const result = await Promise.race([answer, late]);
    return result === 'PONG' ? indicator.up() : indicator.down({ message: result });
  }
}
