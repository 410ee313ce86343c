import {
  type BeforeApplicationShutdown,
  Inject,
  Injectable,
  Logger,
  type OnApplicationShutdown,
} from '@nestjs/common';
import { IdempotencyEngine } from '../engine/engine.js';
import { IDEMPOTENCY_OPTIONS } from '../idempotency.constants.js';
import { type IdempotencyModuleOptions, resolveOptions } from '../idempotency.options.js';
import { LockService } from '../locks/lock.service.js';

/**
 * Before connections close: running handlers and work under locks finish, for one lease at most; then other locks
 * are released. Needs `app.enableShutdownHooks()` to be called on SIGTERM, as all of Nest's shutdown hooks do.
 */
@Injectable()
export class IdempotencyShutdown implements BeforeApplicationShutdown, OnApplicationShutdown {
  private readonly logger = new Logger('Idempotency');
  private isDrained = false;

  constructor(
    @Inject(IDEMPOTENCY_OPTIONS) private readonly options: IdempotencyModuleOptions,
    @Inject(IdempotencyEngine) private readonly engine: IdempotencyEngine,
    @Inject(LockService) private readonly locks: LockService,
  ) {}

  async beforeApplicationShutdown(): Promise<void> {
    const { leaseMs } = resolveOptions(this.options, {}, 'IdempotencyModule');
    const [isDrained, working] = await Promise.all([this.engine.drain(leaseMs), this.locks.drain(leaseMs)]);
    if (!isDrained)
      this.logger.warn(`${this.engine.running} calls were still running after ${leaseMs} ms of shutdown`);
    if (working > 0)
      this.logger.warn(`${working} locks were still being worked under after ${leaseMs} ms of shutdown`);
    this.isDrained = isDrained && working === 0;
    // What still runs keeps its claim and its lock, which run out by themselves: nobody may start it anew meanwhile.
    await this.locks.releaseAll();
  }

  async onApplicationShutdown(): Promise<void> {
    // The end of a session would be the end of its locks.
    if (this.isDrained) await this.locks.close();
  }
}
