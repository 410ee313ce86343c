import { connect } from 'node:net';
import { Controller, NotFoundException, Post } from '@nestjs/common';
import { Idempotent } from 'nestjs-idempotent';
import { concat, defer, delay, EMPTY, from, NEVER, of, Subject, throwError } from 'rxjs';
import { eventually, expectProblem, expectReplayOf, Gate, PLATFORMS, startApp } from '../support/http-app.js';

let ran = 0;
let subject = new Subject<unknown>();
let subscribed = new Gate();

beforeEach(() => {
  ran = 0;
  subject = new Subject();
  subscribed = new Gate();
});

@Controller()
class Refunds {
  @Post('one') @Idempotent() one() {
    return of({ id: ++ran });
  }
  @Post('many') @Idempotent() many() {
    ran++;
    return from([{ step: 1 }, { step: 2 }, { step: 3 }]);
  }
  @Post('many-later') @Idempotent() manyLater() {
    ran++;
    return from([{ step: 1 }, { step: 2 }]).pipe(delay(1));
  }
  @Post('promised') @Idempotent() async promised() {
    return of({ id: ++ran });
  }
  @Post('lazy') @Idempotent() lazy() {
    return defer(() => of({ id: ++ran }));
  }
  @Post('empty') @Idempotent() empty() {
    ran++;
    return EMPTY;
  }
  @Post('nothing') @Idempotent() nothing() {
    ran++;
    return of(undefined);
  }
  @Post('not-found') @Idempotent() notFound() {
    return throwError(() => new NotFoundException(`no ${++ran}`));
  }
  @Post('value-then-not-found') @Idempotent() valueThenNotFound() {
    return concat(
      of(1),
      throwError(() => new NotFoundException(`no ${++ran}`)),
    );
  }
  @Post('value-then-error') @Idempotent() valueThenError() {
    return ++ran === 1
      ? concat(
          of(1),
          throwError(() => new Error('late')),
        )
      : of({ id: ran });
  }
  @Post('open') @Idempotent() open() {
    ran++;
    return defer(() => {
      subscribed.open();
      return subject;
    });
  }
  @Post('endless') @Idempotent({ leaseMs: 100, maxHoldMs: 200 }) endless() {
    return ++ran === 1 ? NEVER : of({ id: ran });
  }
}

describe.each(PLATFORMS)('%s', (platform) => {
  const start = (module = {}) => startApp({ platform, controllers: [Refunds], module });

  it.each([
    ['one', 201, { id: 1 }],
    ['many', 201, { step: 3 }],
    ['many-later', 201, { step: 2 }],
    ['promised', 201, { id: 1 }],
    ['lazy', 201, { id: 1 }],
    ['empty', 500, { statusCode: 500, message: 'Internal server error' }],
    ['nothing', 201, undefined],
    ['not-found', 404, { statusCode: 404, error: 'Not Found', message: 'no 1' }],
    ['value-then-not-found', 404, { statusCode: 404, error: 'Not Found', message: 'no 1' }],
  ])('G25 %s: the client and the replay agree, one run', async (path, status, json) => {
    await using app = await start();
    const first = await app.post(`/${path}`, 'k', {});
    expect([first.status, first.json]).toEqual([status, json]);
    expectReplayOf(first, await app.post(`/${path}`, 'k', {}));
    expect(ran).toBe(1);
  });

  it('G25 an error after a value frees the key', async () => {
    await using app = await start();
    expect((await app.post('/value-then-error', 'k', {})).status).toBe(500);
    const again = await app.post('/value-then-error', 'k', {});
    expect([again.status, again.json, again.headers.get('idempotent-replayed')]).toEqual([
      201,
      { id: 2 },
      null,
    ]);
  });

  it('G25 a client that hangs up does not unsubscribe: the last value is recorded', async () => {
    await using app = await start();
    const socket = connect(app.port, '127.0.0.1');
    socket.write('POST /open HTTP/1.1\r\nhost: x\r\nidempotency-key: k\r\ncontent-length: 0\r\n\r\n');
    await subscribed.opened;
    subject.next({ step: 1 });
    socket.destroy();
    expectProblem(
      await app.send('/open', { method: 'POST', headers: { 'idempotency-key': 'k' } }),
      409,
      'in-progress',
    );
    expect(subject.observed).toBe(true);
    subject.next({ step: 2 });
    subject.complete();
    await eventually(async () => {
      const replay = await app.send('/open', { method: 'POST', headers: { 'idempotency-key': 'k' } });
      expect([replay.status, replay.json]).toEqual([201, { step: 2 }]);
    });
    expect(ran).toBe(1);
  });

  it('G25 one that never ends keeps its key for maxHoldMs and no longer', async () => {
    // What still runs holds up the end of the app for one lease.
    await using app = await start({ leaseMs: 100 });
    const abort = new AbortController();
    const first = app.send('/endless', {
      method: 'POST',
      headers: { 'idempotency-key': 'k' },
      signal: abort.signal,
    });
    first.catch(() => undefined);
    await eventually(async () => {
      const answer = await app.send('/endless', { method: 'POST', headers: { 'idempotency-key': 'k' } });
      expect([answer.status, answer.json]).toEqual([201, { id: 2 }]);
    });
    abort.abort();
    await expect(first).rejects.toThrow();
  });
});
