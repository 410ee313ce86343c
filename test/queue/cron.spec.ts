import { randomUUID } from 'node:crypto';
import { Injectable, type Type } from '@nestjs/common';
import type { DiscoveryService } from '@nestjs/core';
import { Cron, SchedulerRegistry } from '@nestjs/schedule';
import { Test } from '@nestjs/testing';
import { CronJob, CronTime } from 'cron';
import type { Redis } from 'ioredis';
import { Idempotent, IdempotencyModule, memoryStore } from 'nestjs-idempotent';
import { cronOptionsOf, CronTicks } from '../../lib/transports/cron-ticks.js';
import { eventually } from '../support/eventually.js';
import { redisClient } from '../support/redis-client.js';
import { sharedRedisUrl } from '../support/shared-servers.js';
import { ConsumerProcess } from './consumer-process.js';
import type { WorkerSetup } from './fixtures/commands.js';

describe('over two processes whose clocks are 600 ms apart', () => {
  const prefix = `cron-${randomUUID()}`;
  let redis: Redis;
  let services: ConsumerProcess[];

  beforeAll(async () => {
    redis = redisClient(sharedRedisUrl());
    services = await Promise.all(
      [0, 600].map((skewMs) => {
        const urls = { redisUrl: sharedRedisUrl(), storeUrl: sharedRedisUrl() };
        const setup: WorkerSetup = { ...urls, prefix, ticks: true, skewMs, module: { leaseMs: 500 } };
        return ConsumerProcess.of('worker', { JOBS: JSON.stringify(setup) });
      }),
    );
  });
  afterAll(() => Promise.all(services.map(({ process }) => process.stop())));

  it('G01 every tick runs once', async () => {
    const seconds = `${prefix}:seconds`;
    await eventually(async () => (await redis.hlen(seconds)) >= 4, 'ticks');
    const runs = Object.entries(await redis.hgetall(seconds));
    for (const run of runs) expect(run).toEqual([expect.stringMatching(/:\d\d\.000Z$/), '1']);
  });

  it('G31 a tick whose work failed is run by the process that comes to it later', async () => {
    await redis.set(`${prefix}:fail`, 'yes');
    await eventually(async () => (await redis.exists(`${prefix}:failed`)) === 1, 'a tick to fail');
    const tick = (await redis.get(`${prefix}:failed`))!;
    await eventually(async () => (await redis.hget(`${prefix}:reports`, tick)) === '1', 'the tick to run');
  });

  it('G51 a process killed at a tick: one that waits for it runs it', async () => {
    await redis.set(`${prefix}:die`, 'yes');
    await Promise.any(services.map(({ process }) => process.exited));
    const tick = (await redis.get(`${prefix}:died`))!;
    await eventually(async () => (await redis.hget(`${prefix}:reports`, tick)) === '1', 'the tick to run');
  });
});

describe('the tick of a call', () => {
  const registry = new SchedulerRegistry();
  const providers = [{ instance: registry }] as unknown as ReturnType<DiscoveryService['getProviders']>;
  const ticks = new CronTicks({ getProviders: () => providers } as DiscoveryService);
  const named = new CronJob('0 0 4 * * *', () => undefined, null, false, 'UTC');

  beforeAll(() => registry.addCronJob('nightly', named));

  it.each([
    ['on time', '0 0 3 * * *', {}, '2026-11-22T03:00:00.004Z', '2026-11-22T03:00:00.000Z'],
    ['at the very moment', '0 0 3 * * *', {}, '2026-11-22T03:00:00.000Z', '2026-11-22T03:00:00.000Z'],
    ['hours late', '0 0 3 * * *', {}, '2026-11-23T02:59:59.999Z', '2026-11-22T03:00:00.000Z'],
    ['later than the next', '*/5 * * * * *', {}, '2026-11-22T03:00:11.500Z', '2026-11-22T03:00:10.000Z'],
    ['five fields', '*/10 * * * *', {}, '2026-11-22T03:19:59.000Z', '2026-11-22T03:10:00.000Z'],
    ['leap day', '0 0 29 2 *', {}, '2027-06-01T00:00:00.000Z', '2024-02-29T00:00:00.000Z'],
    [
      'time zone',
      '0 0 3 * * *',
      { timeZone: 'Europe/Berlin' },
      '2026-11-22T02:00:01.000Z',
      '2026-11-22T02:00:00.000Z',
    ],
    [
      'time zone, the day clocks go back',
      '0 0 3 * * *',
      { timeZone: 'Europe/Berlin' },
      '2026-10-25T12:00:00.000Z',
      '2026-10-25T02:00:00.000Z',
    ],
    ['offset', '0 0 3 * * *', { utcOffset: -90 }, '2026-11-22T04:31:00.000Z', '2026-11-22T04:30:00.000Z'],
    [
      'one point in time',
      new Date('2026-11-22T03:00:00.250Z'),
      {},
      '2026-11-22T03:00:00.300Z',
      '2026-11-22T03:00:00.250Z',
    ],
  ])('%s', (_, cronTime, zone, now, tick) => {
    const options = { cronTime, ...('utcOffset' in zone ? {} : { timeZone: 'UTC' }), ...zone };
    expect(ticks.tickOf(options, Date.parse(now))).toBe(tick);
  });

  it('of a job with a name is that of the pattern it has by now', () => {
    const options = { cronTime: '0 0 4 * * *', name: 'nightly', timeZone: 'UTC' };
    const now = Date.parse('2026-11-22T05:00:30.000Z');
    expect(ticks.tickOf(options, now)).toBe('2026-11-22T04:00:00.000Z');
    named.setTime(new CronTime('0 0 5 * * *', 'UTC'));
    expect(ticks.tickOf(options, now)).toBe('2026-11-22T05:00:00.000Z');
  });

  it('is not known where nothing is scheduled', () => {
    const nothing = new CronTicks({ getProviders: () => [] as typeof providers } as DiscoveryService);
    expect(nothing.tickOf({ cronTime: '* * * * *' })).toBeUndefined();
  });
});

describe('start-up refuses', () => {
  @Injectable()
  class ByHeader {
    @Cron('* * * * *')
    @Idempotent()
    async run() {}
  }
  @Injectable()
  class ByArgument {
    @Idempotent('report:{args.0}')
    @Cron('* * * * *')
    async run() {}
  }
  @Injectable()
  class Unscheduled {
    @Idempotent('{tick}')
    async run() {}
  }

  it.each<[string, Type, RegExp]>([
    ['a @Cron method with a key of the header', ByHeader, /ByHeader\.run: .*write @Idempotent\('\{tick\}'\)/],
    [
      'a @Cron method with a key of arguments',
      ByArgument,
      /ByArgument\.run: .*write @Idempotent\('\{tick\}'\)/,
    ],
    ['a {tick} without @Cron', Unscheduled, /Unscheduled\.run: only the calls of a @Cron method have a/],
  ])('%s', async (_, service, message) => {
    const imports = [IdempotencyModule.forRoot({ principal: 'none', store: memoryStore(), sweep: false })];
    const module = await Test.createTestingModule({ imports, providers: [service] }).compile();
    await expect(module.init()).rejects.toThrow(message);
  });

  it('neither order of the two decorators', () => {
    class Either {
      @Cron('1 * * * *')
      @Idempotent('{tick}')
      async first() {}
      @Idempotent('{tick}')
      @Cron('2 * * * *')
      async second() {}
    }
    const methods = ['first', 'second'].map((name) => Reflect.get(Either.prototype, name) as Function);
    expect(methods.map((method) => cronOptionsOf(method)?.cronTime)).toEqual(['1 * * * *', '2 * * * *']);
  });
});
