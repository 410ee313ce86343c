/** One variant as an app in a process of its own. Arguments: name of the variant, JSON of the servers. */
import 'reflect-metadata';
import type { AddressInfo } from 'node:net';
import type { INestApplication } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { ExpressAdapter } from '@nestjs/platform-express';
import { IdempotencyService } from 'nestjs-idempotent';
import { moduleOf } from './apps.js';
import { answering } from './child.js';
import type { Servers } from './variants.js';

/** Calls begun at once while memory is measured: fewer than would time out in front of ten connections. */
const BATCH = 100;

/** Held on to, as by a server that is to answer them. */
const calls: Promise<unknown>[] = [];
const untilTheEnd = new Promise<void>((resolve) => process.on('disconnect', resolve));

const [, , name, servers] = process.argv;
const app = await NestFactory.create(
  await moduleOf(name!, JSON.parse(servers!) as Servers),
  new ExpressAdapter(),
  { logger: ['error', 'warn'] },
);
await app.listen(0, '127.0.0.1');

answering({
  url: () => `http://127.0.0.1:${(app.getHttpServer().address() as AddressInfo).port}`,
  /** Microseconds of CPU time so far. */
  cpu: () => {
    const { user, system } = process.cpuUsage();
    return user + system;
  },
  bytesPerRunningKey: (count: number) => bytesPerRunningKey(app, count),
});

/** Begins `count` calls that never end, and looks at the heap before and after. */
async function bytesPerRunningKey(app: INestApplication, count: number): Promise<number> {
  const service = app.get(IdempotencyService);
  const begin = (from: number) =>
    new Promise<void>((resolve) => {
      let running = 0;
      const work = () => {
        if (++running === BATCH) resolve();
        return untilTheEnd;
      };
      for (let n = from; n < from + BATCH; n++) {
        calls.push(service.run({ scope: 'memory', key: `${name}-${n}`, payload: n }, work));
      }
    });
  await begin(-BATCH);
  const before = heapUsed();
  for (let n = 0; n < count; n += BATCH) await begin(n);
  return (heapUsed() - before) / count;
}

function heapUsed(): number {
  const collect = globalThis.gc!;
  collect();
  collect();
  return process.memoryUsage().heapUsed;
}
