import { randomUUID } from 'node:crypto';
import type { Answer } from '../support/http-app.js';
import { crossed, MARIADB, POSTGRES, REDIS, redisUrl, SQLITE } from '../support/fixtures/grid.js';
import { type PaymentApp, PaymentProcess } from '../support/fixtures/payment-process.js';
import { openStack } from '../support/fixtures/stacks.js';
import type { Exit } from '../support/processes.js';

const STACKS = [...crossed(['redis'], [REDIS, POSTGRES]), ...crossed(['memory'], [MARIADB, SQLITE])];
/** Longer than anything here takes: what is free before was released. */
const LEASE_MS = 25_000;

interface Scene {
  readonly app: PaymentApp;
  readonly key: string;
  readonly failingKey: string;
  readonly answer: Answer;
  readonly failure: Answer;
}

describe('G55 SIGTERM while handlers run', () => {
  let survivor: PaymentProcess;
  let scenes: Map<string, Scene>;
  let exit: Exit;
  let ending: PaymentProcess;

  beforeAll(async () => {
    [ending, survivor] = await Promise.all([PaymentProcess.start(), PaymentProcess.start()]);
    const open = async ({ name, create }: (typeof STACKS)[number]) => {
      const urls = await create();
      const options = { module: { leaseMs: LEASE_MS } };
      const [doomed, app] = await Promise.all([ending.open(urls, options), survivor.open(urls, options)]);
      const [key, failingKey] = [randomUUID(), randomUUID()];
      const calls = Promise.all([
        doomed.pay(key, { hold: true }),
        doomed.pay(failingKey, { hold: true, fails: 'crash' }),
      ]);
      await Promise.all([key, failingKey].map((one) => ending.began(one)));
      return { name, app, key, failingKey, calls };
    };
    const opened = await Promise.all(STACKS.map(open));
    process.kill(ending.process.pid, 'SIGTERM');
    // It goes on serving messages: so it has not ended, and is waiting for the handlers.
    for (const { key, failingKey } of opened) {
      await ending.go(key);
      await ending.go(failingKey);
    }
    scenes = new Map(
      await Promise.all(
        opened.map(async ({ name, calls, ...scene }) => {
          const [answer, failure] = await calls;
          return [name, { ...scene, answer, failure }] as const;
        }),
      ),
    );
    exit = await ending.process.exited;
  });

  it('ends the process by that signal, and nothing was logged', () => {
    expect(exit).toMatchObject({ signal: 'SIGTERM', code: null, stderr: '' });
    expect(ending.logged('warn')).toEqual([]);
    expect(ending.logged('error').filter((text) => !text.includes('crash'))).toEqual([]);
  });

  it.each(STACKS)('$name: the answer was given and is recorded', async ({ name }) => {
    const { app, key, answer } = scenes.get(name)!;
    expect(answer.status).toBe(201);
    const again = await app.pay(key, { hold: true });
    expect({ status: again.status, text: again.text }).toEqual({ status: 201, text: answer.text });
    expect(again.headers.get('idempotent-replayed')).toBe('true');
  });

  it.each(STACKS)('$name: what failed meanwhile is free, its lock too', async ({ name }) => {
    const { app, failingKey, failure } = scenes.get(name)!;
    expect(failure.status).toBe(500);
    await survivor.go(failingKey);
    expect(await app.pay(failingKey, { hold: true, fails: 'crash' })).toMatchObject({ status: 500 });
    await survivor.began(failingKey, 2);
  });
});

describe('G55 SIGTERM while a handler hangs', () => {
  it('ends within a lease; its key is refused for as long as it was owned, then runs', async () => {
    const urls = { lock: redisUrl(), store: await POSTGRES.create() };
    await using stack = await openStack(urls);
    const [ending, survivor] = await Promise.all([PaymentProcess.start(), PaymentProcess.start()]);
    const module = { leaseMs: 1_500 };
    const doomed = await ending.open(urls, { module, force: true });
    const app = await survivor.open(urls, { module });
    const key = randomUUID();
    const cut = doomed.pay(key, { hold: true }).catch((error: unknown) => error);
    await ending.began(key);
    const begun = performance.now();
    const { signal } = await ending.process.kill('SIGTERM');
    expect(signal).toBe('SIGTERM');
    expect(performance.now() - begun).toBeLessThan(10_000);
    expect(await cut).toMatchObject({ message: 'fetch failed' });
    expect(ending.logged('warn').join()).toContain('1 calls were still running after 1500 ms of shutdown');
    // It was renewed to the last.
    expect((await app.pay(key, { hold: true })).json.code).toBe('in-progress');
    await survivor.go(key);
    const answer = await app.payWhenFree(key, { hold: true });
    expect(answer).toMatchObject({ status: 201, json: { attempt: 2 } });
    expect(await stack.ledger.payers(key)).toEqual([`p${survivor.process.pid}`]);
  });
});
