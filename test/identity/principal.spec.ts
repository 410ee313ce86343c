import {
  type CanActivate,
  Controller,
  type ExecutionContext,
  Injectable,
  Post,
  UseGuards,
} from '@nestjs/common';
import { type IdempotentCall, Idempotent, type Principal } from 'nestjs-idempotent';
import { expectProblem, expectReplayOf, PLATFORMS, startApp } from '../support/http-app.js';

let ran = 0;

beforeEach(() => {
  ran = 0;
});

/** The token changes, the user does not. */
@Injectable()
class Bearer implements CanActivate {
  canActivate(context: ExecutionContext): boolean {
    const request = context.switchToHttp().getRequest();
    const [id] = String(request.headers.authorization ?? '').split('.');
    if (id) request.user = { id };
    return true;
  }
}

@Controller()
@UseGuards(Bearer)
class Refunds {
  @Post('refund') @Idempotent() refund() {
    return { ran: ++ran };
  }
  @Post('other') @Idempotent('{body.id}') other() {
    return { ran: ++ran };
  }
}

describe.each(PLATFORMS)('%s', (platform) => {
  const start = (principal: unknown) =>
    startApp({ platform, controllers: [Refunds], module: { principal: principal as Principal } });

  it('G40 the principal is what guards found out, and a refreshed token is the same one', async () => {
    await using app = await start(({ user }: IdempotentCall) => user?.id);
    const as = (authorization: string) => app.post('/refund', 'k', {}, { authorization });
    const first = await as('alice.token1');
    expectReplayOf(first, await as('alice.token2'));
    expect((await as('bob.token1')).json).toEqual({ ran: 2 });
    expectProblem(await app.post('/refund', 'k', {}), 400, 'principal-missing');
    expect(ran).toBe(2);
  });

  it("G40 'none' says that all callers share their keys", async () => {
    await using app = await start('none');
    const first = await app.post('/refund', 'k', {}, { authorization: 'alice.1' });
    expectReplayOf(first, await app.post('/refund', 'k', {}, { authorization: 'bob.1' }));
  });

  it('G40 it sees the whole call and may take its time', async () => {
    const calls: IdempotentCall[] = [];
    await using app = await start(async (call: IdempotentCall) => {
      await new Promise(setImmediate);
      calls.push(call);
      return 'somebody';
    });
    await app.post('/refund?q=1', 'k', { a: 1 }, { 'x-test': 't' });
    const [call] = calls;
    expect(call).toMatchObject({
      transport: 'http',
      scope: 'Refunds.refund',
      route: '/refund',
      body: { a: 1 },
      args: [],
    });
    expect([call!.headers['x-test'], call!.query.q, call!.params]).toEqual(['t', '1', {}]);
  });

  it.each([
    ['a number', 7, 7n],
    ['zero', 0, '0'],
  ])('G40 %s is a principal', async (_name, one, same) => {
    const answers = [one, same];
    await using app = await start(() => answers.shift());
    const first = await app.post('/refund', 'k', {});
    expectReplayOf(first, await app.post('/refund', 'k', {}));
  });

  it.each([
    ['an object', { id: 7 }],
    ['a list', ['alice']],
    ['true', true],
    ['NaN', NaN],
    ['a function', () => 'alice'],
  ])('G40 %s is refused: everybody would be the same', async (_name, principal) => {
    await using app = await start(() => principal);
    expect((await app.post('/refund', 'k', {})).status).toBe(500);
    expect([ran, app.counters.claims]).toEqual([0, 0]);
  });

  it('G40 a principal function that throws: its error is the answer, nothing is claimed', async () => {
    await using app = await start(() => {
      throw new Error('no session');
    });
    expect((await app.post('/refund', 'k', {})).status).toBe(500);
    expect([ran, app.counters.claims]).toEqual([0, 0]);
  });
});
