import {
  Inject,
  Injectable,
  Logger,
  type OnApplicationBootstrap,
  type OnModuleDestroy,
} from '@nestjs/common';
import { IDEMPOTENCY_OPTIONS } from '../idempotency.constants.js';
import type { IdempotencyModuleOptions } from '../idempotency.options.js';
import { minutes } from '../durations.js';
import { ResultStore } from '../stores/result-store.js';

const DEFAULT_ROWS = 500;

/** Removes expired rows in bounded batches. A full batch is followed by the next one at once. */
@Injectable()
export class IdempotencySweeper implements OnApplicationBootstrap, OnModuleDestroy {
  private readonly logger = new Logger('Idempotency');
  private timer: NodeJS.Timeout | undefined;
  private stopped = false;

  constructor(
    @Inject(IDEMPOTENCY_OPTIONS) private readonly options: IdempotencyModuleOptions,
    @Inject(ResultStore) private readonly store: ResultStore,
  ) {}

  onApplicationBootstrap(): void {
    this.schedule();
  }

  onModuleDestroy(): void {
    this.stopped = true;
    clearTimeout(this.timer);
  }

  private schedule(): void {
    const { sweep = {} } = this.options;
    if (sweep === false || this.stopped) return;
    const { everyMs = minutes(1), rows = DEFAULT_ROWS } = sweep;
    // Spread, so that processes started together do not sweep together.
    const delay = everyMs * (0.8 + 0.4 * Math.random());
    this.timer = setTimeout(() => void this.sweep(rows).finally(() => this.schedule()), delay).unref();
  }

  private async sweep(rows: number): Promise<void> {
    // One that cannot be swept does not keep the other from being.
    for (const swept of [this.store, this.options.lock]) {
      try {
        while (!this.stopped && (await swept?.sweep?.(rows)) === rows);
      } catch (error) {
        this.logger.warn(`Sweep failed, it is tried again at its next time: ${String(error)}`);
      }
    }
  }
}
