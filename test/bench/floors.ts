/**
 * The same as the library does, written by hand with the fewest commands: no renewal, no fence, no token on the
 * row, no fingerprint, no time-outs, no headers. What such code costs is what the storage costs.
 */
import { randomUUID } from 'node:crypto';
import {
  type CallHandler,
  ConflictException,
  type ExecutionContext,
  type NestInterceptor,
} from '@nestjs/common';
import type { Redis } from 'ioredis';
import type { Pool } from 'pg';
import { catchError, from, mergeMap, type Observable, of } from 'rxjs';

const LOCK_MS = 30_000;
const KEEP_MS = 86_400_000;
const RUNNING = 'running';

const UNLOCK = `if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('del', KEYS[1]) else return 0 end`;

interface Exchange {
  readonly key: string;
  readonly response: { status(code: number): unknown; statusCode: number };
}

function exchangeOf(context: ExecutionContext): Exchange {
  const http = context.switchToHttp();
  const key = http.getRequest<{ headers: Record<string, string> }>().headers['idempotency-key']!;
  return { key, response: http.getResponse() };
}

interface Answer {
  readonly status: number;
  readonly body: string;
}

function replayed({ response }: Exchange, { status, body }: Answer): Observable<unknown> {
  response.status(status);
  return of(JSON.parse(body));
}

/** SET NX, INSERT; UPDATE, compare and delete. */
export class LockAndRow implements NestInterceptor {
  constructor(
    private readonly redis: Redis,
    private readonly pool: Pool,
  ) {
    redis.defineCommand('unlock', { numberOfKeys: 1, lua: UNLOCK });
  }

  async intercept(context: ExecutionContext, next: CallHandler): Promise<Observable<unknown>> {
    const exchange = exchangeOf(context);
    const { key } = exchange;
    const token = randomUUID();
    const locked = await this.redis.set(`lock:${key}`, token, 'PX', LOCK_MS, 'NX');
    if (!locked) throw new ConflictException();
    const { rowCount } = await this.pool.query(
      'INSERT INTO payment_answer (key) VALUES ($1) ON CONFLICT (key) DO NOTHING',
      [key],
    );
    if (rowCount === 0) {
      const stored = await storedAnswer(this.pool, key);
      await this.unlock(key, token);
      return replayed(exchange, stored);
    }
    return next.handle().pipe(
      mergeMap(async (value) => {
        await this.pool.query('UPDATE payment_answer SET status = $2, body = $3 WHERE key = $1', [
          key,
          exchange.response.statusCode,
          JSON.stringify(value),
        ]);
        await this.unlock(key, token);
        return value;
      }),
      catchError((error: unknown) =>
        from(this.unlock(key, token)).pipe(
          mergeMap(() => {
            throw error;
          }),
        ),
      ),
    );
  }

  private unlock(key: string, token: string): Promise<unknown> {
    return (this.redis as unknown as { unlock(...args: string[]): Promise<unknown> }).unlock(
      `lock:${key}`,
      token,
    );
  }
}

/** The least a replay can do: one SELECT. It knows beforehand that the answer is there. */
export class StoredRow implements NestInterceptor {
  constructor(private readonly pool: Pool) {}

  async intercept(context: ExecutionContext): Promise<Observable<unknown>> {
    const exchange = exchangeOf(context);
    return replayed(exchange, await storedAnswer(this.pool, exchange.key));
  }
}

async function storedAnswer(pool: Pool, key: string): Promise<Answer> {
  const { rows } = await pool.query<Answer>('SELECT status, body FROM payment_answer WHERE key = $1', [key]);
  if (!rows[0]?.body) throw new ConflictException();
  return rows[0];
}

/** SET NX GET; SET. The one key is lock and answer. */
export class RedisOnly implements NestInterceptor {
  constructor(private readonly redis: Redis) {}

  async intercept(context: ExecutionContext, next: CallHandler): Promise<Observable<unknown>> {
    const exchange = exchangeOf(context);
    const key = `answer:${exchange.key}`;
    const stored = await this.redis.set(key, RUNNING, 'PX', LOCK_MS, 'NX', 'GET');
    if (stored === RUNNING) throw new ConflictException();
    if (stored !== null) return replayed(exchange, JSON.parse(stored) as Answer);
    return next.handle().pipe(
      mergeMap(async (value) => {
        const answer: Answer = { status: exchange.response.statusCode, body: JSON.stringify(value) };
        await this.redis.set(key, JSON.stringify(answer), 'PX', KEEP_MS);
        return value;
      }),
      catchError((error: unknown) =>
        from(this.redis.del(key)).pipe(
          mergeMap(() => {
            throw error;
          }),
        ),
      ),
    );
  }
}
