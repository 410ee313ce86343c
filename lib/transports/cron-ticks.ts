import { Inject, Injectable } from '@nestjs/common';
import { DiscoveryService } from '@nestjs/core';

/** What is used of `@nestjs/schedule` and of its package `cron`, which are optional. */
interface CronTime {
  /** Of a single point in time. */
  readonly realDate: boolean;
  readonly source: unknown;
  /** The first tick after the second of `start`. */
  getNextDateFrom(start: Date, zone?: string): { toMillis(): number };
}
type CronTimeType = new (source: unknown, zone?: string | null, utcOffset?: number | null) => CronTime;
interface SchedulerRegistry {
  getCronJobs(): ReadonlyMap<string, { readonly cronTime: CronTime }>;
}

/** What `@Cron` leaves on a method. */
interface CronOptions {
  readonly cronTime: unknown;
  readonly name?: string;
  readonly timeZone?: string | null;
  readonly utcOffset?: number | null;
}

/** Where `@Cron` leaves it. */
const CRON_OPTIONS = 'SCHEDULE_CRON_OPTIONS';
/** No pattern pauses for longer: from one 29 February to another are eight years at most, 2^28 seconds. */
const LONGEST_PAUSE_S = 2 ** 28;

/** What `@Cron` left on a method, if anything. */
export function cronOptionsOf(method: Function): CronOptions | undefined {
  return Reflect.getMetadata(CRON_OPTIONS, method) as CronOptions | undefined;
}

/**
 * Names the tick for which a `@Cron` method is called: the last point in time of its pattern that is not in the future.
 *
 * The timer of a pattern never ends before this process's own clock says so, so each process finds the same, however far
 * its clock is off. One that comes late finds the same up to the next tick, and from then on that one, which
 * it will not be called for any more.
 */
@Injectable()
export class CronTicks {
  private readonly times = new WeakMap<CronOptions, CronTime>();

  constructor(@Inject(DiscoveryService) private readonly discovery: DiscoveryService) {}

  /** @returns undefined where nothing is scheduled in this process, or nothing was due in the last eight years. */
  tickOf(options: CronOptions, now = Date.now()): string | undefined {
    const time = this.timeOf(options);
    const tick = time && lastTick(time, zoneOf(options), now);
    return tick === undefined ? undefined : new Date(tick).toISOString();
  }

  private timeOf(options: CronOptions): CronTime | undefined {
    const jobs = this.registry()?.getCronJobs();
    // A job with a name may have been given another pattern since.
    const own = options.name === undefined ? undefined : jobs?.get(options.name)?.cronTime;
    if (own) return own;
    let time = this.times.get(options);
    const any = jobs?.values().next().value;
    if (!time && any) {
      const CronTime = any.cronTime.constructor as CronTimeType;
      time = new CronTime(options.cronTime, options.timeZone, options.utcOffset);
      this.times.set(options, time);
    }
    return time;
  }

  private registry(): SchedulerRegistry | undefined {
    const instances: unknown[] = this.discovery.getProviders().map(({ instance }) => instance as unknown);
    return instances.find(
      (instance) => typeof (Object(instance) as Partial<SchedulerRegistry>).getCronJobs === 'function',
    ) as SchedulerRegistry | undefined;
  }
}

/** Patterns only know what comes next; searched in whole seconds, which is as fine as they are. */
function lastTick(time: CronTime, zone: string | undefined, nowMs: number): number | undefined {
  if (time.realDate) return Number(time.source);
  const now = Math.floor(nowMs / 1_000);
  const next = (second: number) => time.getNextDateFrom(new Date(second * 1_000), zone).toMillis() / 1_000;
  let pause = 1;
  for (; next(now - pause) > now; pause *= 2) if (pause > LONGEST_PAUSE_S) return undefined;
  let before = now - pause;
  let after = now - Math.floor(pause / 2);
  while (after - before > 1) {
    const middle = Math.floor((before + after) / 2);
    if (next(middle) <= now) before = middle;
    else after = middle;
  }
  return next(before) * 1_000;
}

function zoneOf({ timeZone, utcOffset }: CronOptions): string | undefined {
  if (typeof utcOffset !== 'number') return timeZone ?? undefined;
  const minutes = Math.abs(utcOffset);
  const two = (n: number) => String(n).padStart(2, '0');
  return `UTC${utcOffset < 0 ? '-' : '+'}${two(Math.floor(minutes / 60))}:${two(minutes % 60)}`;
}
