import { Injectable, Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import {
  Idempotent,
  IdempotencyModule,
  Locked,
  LockService,
  memoryLock,
  memoryStore,
} from 'nestjs-idempotent';
import { Gate, MemoryLogger } from '../support/http-app.js';

let entered: Gate;
let leave: Gate;
beforeEach(() => {
  [entered, leave] = [new Gate(), new Gate()];
});

@Injectable()
class Work {
  @Idempotent('hang:{args.0}')
  async hang(_key: string): Promise<void> {
    entered.open();
    await leave.opened;
  }

  @Locked('work:{args.0}')
  async work(_name: string): Promise<string> {
    entered.open();
    await leave.opened;
    return 'done';
  }
}

async function start(leaseMs: number) {
  const lock = memoryLock();
  const logger = new MemoryLogger();
  @Module({
    imports: [IdempotencyModule.forRoot({ principal: 'none', store: memoryStore(), lock, leaseMs })],
    providers: [Work],
  })
  class TestModule {}
  const app = await NestFactory.createApplicationContext(TestModule, { logger, abortOnError: false });
  const isFree = async (name: string) => (await lock.acquire(name, 'other', 1)).acquired;
  return { app, logger, isFree, work: app.get(Work), locks: app.get(LockService) };
}

it('G55 a shutdown waits for methods under locks', async () => {
  const { app, isFree, work, logger } = await start(20_000);
  const working = work.work('a');
  await entered.opened;
  let isClosed = false;
  const closed = app.close().then(() => (isClosed = true));
  await new Promise((resolve) => setTimeout(resolve, 50));
  expect([isClosed, await isFree('work:a')]).toEqual([false, false]);
  leave.open();
  expect(await working).toBe('done');
  await closed;
  expect(await isFree('work:a')).toBe(true);
  expect(logger.lines).toEqual([]);
});

it('G55 a call that hangs keeps no lock but its own from release', async () => {
  const { app, isFree, work, locks, logger } = await start(300);
  const hanging = work.hang('a');
  await entered.opened;
  entered = new Gate();
  const working = work.work('b');
  await entered.opened;
  const result = await locks.acquire('idle', { ttlMs: 20_000 });
  expect(result.status).toBe('acquired');
  await app.close();
  expect([await isFree('idle'), await isFree('work:b')]).toEqual([true, false]);
  expect(logger.lines).toEqual([
    'warn 1 calls were still running after 300 ms of shutdown',
    'warn 1 locks were still being worked under after 300 ms of shutdown',
  ]);
  leave.open();
  await Promise.all([hanging, working]);
});
