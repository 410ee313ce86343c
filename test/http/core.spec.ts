import {
  Body,
  Controller,
  HttpCode,
  Post,
  ServiceUnavailableException,
  StreamableFile,
} from '@nestjs/common';
import { Idempotent, IdempotencyContext, IdempotencyCtx } from 'nestjs-idempotent';
import { BACKENDS } from '../support/backends.js';
import {
  expectProblem,
  expectReplayOf,
  Gate,
  PLATFORMS,
  startApp,
  type TestApp,
} from '../support/http-app.js';

const EVERY_BYTE = Buffer.from(Array.from({ length: 256 }, (_, i) => i));

/** What the handlers did, by key. */
const runs = new Map<string, number>();
const gates = new Map<string, { entered: Gate; leave: Gate }>();

function run({ key }: IdempotencyContext): number {
  const count = (runs.get(key!) ?? 0) + 1;
  runs.set(key!, count);
  return count;
}

async function passGate({ key }: IdempotencyContext): Promise<void> {
  const gate = gates.get(key!);
  gate?.entered.open();
  await gate?.leave.opened;
}

@Controller()
class Refunds {
  @Post('refund')
  @Idempotent()
  async refund(@Body() { amount }: { amount: number }, @IdempotencyCtx() ctx: IdempotencyContext) {
    const nth = run(ctx);
    await passGate(ctx);
    return { refundId: `${ctx.key}/${nth}`, amount };
  }

  @Post('patient')
  @Idempotent({ onConflict: 'wait' })
  async patient(@IdempotencyCtx() ctx: IdempotencyContext) {
    const nth = run(ctx);
    await passGate(ctx);
    return { nth };
  }

  @Post('shaky')
  @Idempotent()
  shaky(@IdempotencyCtx() ctx: IdempotencyContext) {
    run(ctx);
    if (ctx.attempt < 3) throw new ServiceUnavailableException();
    return { attempt: ctx.attempt };
  }

  @Post('bytes')
  @Idempotent()
  bytes(@IdempotencyCtx() ctx: IdempotencyContext) {
    run(ctx);
    return new StreamableFile(EVERY_BYTE);
  }

  @Post('nothing')
  @HttpCode(204)
  @Idempotent()
  nothing(@IdempotencyCtx() ctx: IdempotencyContext) {
    run(ctx);
  }
}

let lastKey = 0;

function newKey(): string {
  return `key-${++lastKey}`;
}

function gated(key: string) {
  const gate = { entered: new Gate(), leave: new Gate() };
  gates.set(key, gate);
  return gate;
}

describe.each(BACKENDS)('$name', ({ open }) => {
  describe.each(PLATFORMS)('%s', (platform) => {
    let app: TestApp;
    beforeAll(async () => {
      app = await startApp({ platform, controllers: [Refunds], module: { ...(await open()) } });
    });
    afterAll(() => app.close());

    it('G01 a burst of 20 duplicates runs once: each gets the same bytes or 409', async () => {
      const key = newKey();
      const { entered, leave } = gated(key);
      const burst = Array.from({ length: 20 }, () => app.post('/refund', key, { amount: 5 }));
      await Promise.race([entered.opened, Promise.all(burst)]);
      await Promise.race(burst); // the first duplicate to be refused
      leave.open();
      const answers = await Promise.all(burst);
      expect(runs.get(key)).toBe(1);
      const [first, ...others] = answers.filter(({ status }) => status === 201);
      expect(first!.json).toEqual({ refundId: `${key}/1`, amount: 5 });
      for (const other of others) expect(other.body.equals(first!.body)).toBe(true);
      const refused = answers.filter(({ status }) => status !== 201);
      for (const refusal of refused) expectProblem(refusal, 409, 'in-progress');
      expect(refused.length).toBeGreaterThan(0);
    });

    it('G22 a late duplicate is answered with the recorded bytes', async () => {
      const key = newKey();
      const first = await app.post('/refund', key, { amount: 7 });
      expectReplayOf(first, await app.post('/refund', key, { amount: 7 }));
      expectReplayOf(first, await app.post('/refund', key, { amount: 7 }));
      expect(runs.get(key)).toBe(1);
    });

    it('G22 every byte and an empty body come back as they were', async () => {
      const key = newKey();
      const first = await app.post('/bytes', key, {});
      expect(first.body.equals(EVERY_BYTE)).toBe(true);
      expectReplayOf(first, await app.post('/bytes', key, {}));
      const empty = newKey();
      const none = await app.post('/nothing', empty, {});
      expect([none.status, none.body.length]).toEqual([204, 0]);
      expectReplayOf(none, await app.post('/nothing', empty, {}));
      expect([runs.get(key), runs.get(empty)]).toEqual([1, 1]);
    });

    it('G07 another payload is 422 while the first runs and after it', async () => {
      const key = newKey();
      const { entered, leave } = gated(key);
      const first = app.post('/refund', key, { amount: 1 });
      await Promise.race([entered.opened, first]);
      expectProblem(await app.post('/refund', key, { amount: 2 }), 422, 'key-reused');
      expectProblem(await app.post('/refund', key, { amount: 1 }), 409, 'in-progress');
      leave.open();
      expect((await first).status).toBe(201);
      expectProblem(await app.post('/refund', key, { amount: 2 }), 422, 'key-reused');
      expect(runs.get(key)).toBe(1);
    });

    it('G31 a 5xx frees the key: the next attempt runs, and is told which one it is', async () => {
      const key = newKey();
      expect((await app.post('/shaky', key, {})).status).toBe(503);
      expect((await app.post('/shaky', key, {})).status).toBe(503);
      const third = await app.post('/shaky', key, {});
      expect([third.status, third.json]).toEqual([201, { attempt: 3 }]);
      expectReplayOf(third, await app.post('/shaky', key, {}));
      expect(runs.get(key)).toBe(3);
    });

    it('G01 with onConflict wait every duplicate of a burst gets the one answer', async () => {
      const key = newKey();
      const { entered, leave } = gated(key);
      const first = app.post('/patient', key, {});
      await Promise.race([entered.opened, first]);
      const burst = Array.from({ length: 8 }, () => app.post('/patient', key, {}));
      leave.open();
      const [answer, ...others] = await Promise.all([first, ...burst]);
      expect([answer.status, answer.json]).toEqual([201, { nth: 1 }]);
      for (const other of others) expectReplayOf(answer, other);
      expect(runs.get(key)).toBe(1);
    });
  });
});
