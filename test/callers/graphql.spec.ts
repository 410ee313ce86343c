import { randomUUID } from 'node:crypto';
import type { Redis } from 'ioredis';
import { redisClient } from '../support/redis-client.js';
import { sharedRedisUrl } from '../support/shared-servers.js';
import type { RefundCommand } from './fixtures/refunds.js';
import { LEASE_MS, RefundServer, START_MS } from './refund-server.js';

const ENGINES = ['apollo', 'mercurius'] as const;

/** An answer of a GraphQL server. */
interface Answer {
  readonly data?: any;
  readonly errors?: { message: string; path?: (string | number)[]; extensions?: any }[];
}

let redis: Redis;
/** Two processes with one store: Apollo on Express and Mercurius on Fastify. */
let servers: RefundServer[];

beforeAll(async () => {
  redis = redisClient(sharedRedisUrl());
  servers = await Promise.all(ENGINES.map((engine) => RefundServer.start('graphql-server.ts', engine)));
}, START_MS);
afterAll(() => Promise.all(servers.map((server) => server.process.stop())));

const command = (of: Partial<RefundCommand> = {}): RefundCommand => ({
  refundId: randomUUID(),
  amount: 500,
  ...of,
});
const paid = ({ refundId }: RefundCommand) => redis.llen(`paid:${refundId}`);
const FIELDS = '{ refundId amount attempt at bank }';
const mutation = (field: string, selection = FIELDS) =>
  `mutation ($input: RefundInput!) { ${field}(input: $input) ${selection} }`;
const code = ({ errors }: Answer) => errors?.[0]?.extensions?.code;

async function post(
  server: RefundServer,
  body: unknown,
  key?: string,
  headers: Record<string, string> = {},
): Promise<any> {
  const response = await fetch(`http://127.0.0.1:${server.port}/graphql`, {
    method: 'POST',
    headers: {
      'content-type': 'application/json',
      ...(key === undefined ? {} : { 'idempotency-key': key }),
      ...headers,
    },
    body: JSON.stringify(body),
  });
  return response.json();
}

describe.each(ENGINES)('GraphQL with %s', (engine) => {
  let server: RefundServer;
  let other: RefundServer;
  beforeAll(() => {
    server = servers[ENGINES.indexOf(engine)]!;
    other = servers[1 - ENGINES.indexOf(engine)]!;
  });

  const send = (query: string, input: RefundCommand, key?: string, at = server): Promise<Answer> =>
    post(at, { query, variables: { input } }, key);

  it('G01 runs a burst of 20 duplicates over two processes once and gives them one answer', async () => {
    const refund = command();
    const answers = await Promise.all(
      Array.from({ length: 20 }, (_, i) => send(mutation('refundOnce'), refund, undefined, servers[i % 2])),
    );
    expect(answers[0]).toEqual({
      data: { refundOnce: { ...refund, attempt: 1, at: expect.stringMatching(/^20\d\d-/), bank: null } },
    });
    expect(answers).toEqual(answers.map(() => answers[0]));
    expect(await paid(refund)).toBe(1);
  });

  it('G05 replays to a late duplicate, and resolves its fields of the recorded value', async () => {
    const refund = command();
    const key = `late ${engine}`;
    const first = await send(mutation('refund'), refund, key);
    await new Promise((resolve) => setTimeout(resolve, LEASE_MS * 1.5));
    expect(await send(mutation('refund'), refund, `"${key}"`, other)).toEqual(first);
    // Another selection is no other request. `at` is a date again, and the statement is made now.
    await redis.rpush(`paid:${refund.refundId}`, 1);
    const statement = `2 payout(s) for ${refund.refundId} in ${new Date().getUTCFullYear()}`;
    expect(await send(mutation('refund', '{ statement }'), refund, key)).toEqual({
      data: { refund: { statement } },
    });
  });

  it('G07 refuses other arguments under the same key, with the problem as extensions', async () => {
    const refund = command();
    await send(mutation('refundOnce'), refund);
    const refused = await send(mutation('refundOnce'), { ...refund, amount: 1 });
    expect(refused).toMatchObject({
      data: null,
      errors: [{ message: 'Idempotency-Key is already used', path: ['refundOnce'] }],
    });
    expect(refused.errors![0]!.extensions).toEqual({
      type: 'urn:nestjs-idempotent:key-reused',
      title: 'Idempotency-Key is already used',
      status: 422,
      code: 'key-reused',
    });
    expect(await paid(refund)).toBe(1);
  });

  it('refuses a duplicate of a running call and tells when to ask again', async () => {
    const refund = command({ hold: true });
    const first = send(mutation('refund'), refund, refund.refundId);
    await server.began(refund.refundId);
    const refused = await send(mutation('refund'), refund, refund.refundId, other);
    expect(refused.errors![0]!.extensions).toMatchObject({
      status: 409,
      code: 'in-progress',
      retryAfterMs: expect.any(Number),
    });
    await server.go(refund.refundId);
    expect(await first).toMatchObject({ data: { refund: { attempt: 1 } } });
    expect(await paid(refund)).toBe(1);
  });

  it('takes the key of the extensions of a request, before the header', async () => {
    const refund = command();
    const ask = (extensions: object, key?: string) =>
      post(server, { query: mutation('refund'), variables: { input: refund }, extensions }, key);
    const first = await ask({ idempotencyKey: refund.refundId });
    expect(await ask({ idempotencyKey: refund.refundId }, 'another')).toEqual(first);
    expect(await ask({ other: 1 }, refund.refundId)).toEqual(first);
    expect(await paid(refund)).toBe(1);
    expect(code(await ask({ idempotencyKey: 17 }))).toBe('key-invalid');
    expect(code(await ask({ idempotencyKey: '' }))).toBe('key-invalid');
    const missing = await ask({});
    expect(missing.errors![0].extensions).toMatchObject({
      code: 'key-missing',
      detail: expect.stringContaining('extensions.idempotencyKey'),
    });
  });

  describe('several mutations in one document', () => {
    const twice = (a: string, b: string) =>
      `mutation ($x: RefundInput!, $y: RefundInput!) { a: ${a}(input: $x) ${FIELDS} b: ${b}(input: $y) ${FIELDS} }`;
    const ask = (query: string, x: RefundCommand, y: RefundCommand, key = `${x.refundId}${y.refundId}`) =>
      post(server, { query, variables: { x, y } }, key);

    it('G41 fields of two scopes share a key and have answers of their own', async () => {
      const [x, y] = [command(), command({ amount: 7 })];
      const first = await ask(twice('refund', 'reverse'), x, y);
      expect(first).toMatchObject({ data: { a: { amount: 500 }, b: { amount: 7 } } });
      expect(await ask(twice('refund', 'reverse'), x, y)).toEqual(first);
      // Whatever they are called.
      const renamed = `mutation ($input: RefundInput!) { again: refund(input: $input) ${FIELDS} }`;
      expect(await send(renamed, x, `${x.refundId}${y.refundId}`)).toEqual({
        data: { again: first.data.a },
      });
      expect([await paid(x), await paid(y)]).toEqual([1, 1]);
    });

    it.each([
      ['one field', 'refund'],
      ['fields of one scope', 'repay'],
    ])('refuses the second of %s: a key of a request names one operation', async (_, b) => {
      const [x, y] = [command(), command({ amount: 7 })];
      const first = await ask(twice('refund', b), x, y);
      expect(first.errors).toMatchObject([
        { path: ['b'], extensions: { code: 'key-invalid', detail: expect.stringContaining('"b"') } },
      ]);
      // Also where it could be taken for a duplicate.
      expect(code(await ask(twice('refund', b), x, x, randomUUID()))).toBe('key-invalid');
      expect(await ask(twice('refund', b), x, y)).toEqual(first);
      expect([await paid(x), await paid(y)]).toEqual([2, 0]);
    });

    it('runs each that has a key in its arguments, or one made of its alias', async () => {
      const [x, y] = [command(), command()];
      const byArgument = await ask(twice('refundOnce', 'refundOnce'), x, y);
      expect(byArgument).toMatchObject({ data: { a: { attempt: 1 }, b: { attempt: 1 } } });
      expect(await ask(twice('refundOnce', 'refundOnce'), x, y)).toEqual(byArgument);
      const extensions = { idempotencyKey: randomUUID() };
      const body = { query: twice('refundOf', 'refundOf'), variables: { x, y }, extensions };
      expect(await post(server, body)).toEqual(await post(other, body));
      expect([await paid(x), await paid(y)]).toEqual([2, 2]);
    });

    it('refuses the second of one field also in a list of operations', async () => {
      const of = (input: RefundCommand) => ({ query: mutation('refund'), variables: { input } });
      const [x, y] = [command(), command()];
      const answers: Answer[] = await post(server, [of(x), of(y)], randomUUID());
      expect(new Set(answers.map(code))).toEqual(new Set(['key-invalid', undefined]));
      expect((await paid(x)) + (await paid(y))).toBe(1);
    });
  });

  it('G40 two principals with one key are strangers, and somebody has to be known', async () => {
    const refund = command();
    const of = (customer: string, at = server) =>
      post(at, { query: mutation('refund'), variables: { input: refund } }, refund.refundId, {
        'x-customer': customer,
      });
    const first = await of('ann');
    expect(await of('ann', other)).toEqual(first);
    expect(await paid(refund)).toBe(1);
    expect(await of('bob')).toMatchObject({ data: { refund: { attempt: 1 } } });
    expect(await paid(refund)).toBe(2);
    expect(code(await of('nobody'))).toBe('principal-missing');
  });

  it('G30 a call that a pipe refuses does not use up its key', async () => {
    const refund = command();
    const refused = await send(mutation('refund'), { ...refund, amount: -1 }, refund.refundId);
    expect(refused.errors).toHaveLength(1);
    expect(await send(mutation('refund'), refund, refund.refundId)).toMatchObject({
      data: { refund: { attempt: 1 } },
    });
  });

  it('G31 an error that is none of the caller frees the key', async () => {
    const refund = command({ fails: 'error' });
    expect(await send(mutation('refundOnce'), refund)).toMatchObject({
      errors: [{ message: 'the bank is closed' }],
    });
    expect(await send(mutation('refundOnce'), refund)).toMatchObject({
      data: { refundOnce: { attempt: 2 } },
    });
  });

  it.each([
    ['http', {}],
    ['own', { code: 'CLOSED', since: 2020 }],
  ] as const)('G31 replays a recorded error as it was thrown (%s)', async (fails, extensions) => {
    const refund = command({ fails });
    const first = await send(mutation('refundLasting'), refund);
    expect(first.errors).toMatchObject([{ message: 'The account is closed' }]);
    expect(first.errors![0]!.extensions ?? {}).toMatchObject(extensions);
    expect(withoutStack(await send(mutation('refundLasting'), refund))).toEqual(withoutStack(first));
    expect(await paid(refund)).toBe(1);
  });

  it('G24 a time-out does not free the key while the work goes on', async () => {
    const refund = command({ hold: true });
    expect(await send(mutation('refundQuickly'), refund)).toMatchObject({
      errors: [{ message: 'too late' }],
    });
    expect(code(await send(mutation('refundQuickly'), refund, undefined, other))).toBe('in-progress');
    await server.go(refund.refundId);
    await server.ended(refund.refundId);
    const answer = await until(
      () => send(mutation('refundQuickly'), refund, undefined, other),
      (answer) => code(answer) !== 'in-progress',
    );
    expect(answer).toMatchObject({ data: { refundQuickly: { attempt: 1 } } });
    expect(await paid(refund)).toBe(1);
  });

  it('G83 refuses a subscription at start-up', async () => {
    const { refused } = (await server.process.waitForMessage((told) => 'refused' in (told as object))) as any;
    expect(refused).toMatch(/^@Idempotent on Events\.refunded: a @Subscription\(\) has no end /);
  });

  it('tells in extensions that a lock is taken', async () => {
    const account = randomUUID();
    const query = `mutation { close(account: "${account}") }`;
    const first = post(server, { query });
    await server.began(account);
    const refused: Answer = await post(other, { query });
    expect(refused.errors![0]!.extensions).toMatchObject({
      status: 409,
      code: 'lock-busy',
      retryAfterMs: expect.any(Number),
    });
    // Its name is nobody's business, and with a key it is the same.
    expect(refused.errors![0]!.message).toBe('Another request holds the lock of this resource');
    const lose: Answer = await post(other, { query: `mutation { lose(account: "${account}") }` });
    expect(lose.errors).toMatchObject([
      { message: refused.errors![0]!.message, extensions: { code: 'lock-busy' } },
    ]);
    await server.go(account);
    expect(await first).toEqual({ data: { close: account } });
  });

  it('G12 tells in extensions that the lock was lost', async () => {
    const query = `mutation { lose(account: "${randomUUID()}") }`;
    expect((await post(server, { query })).errors).toMatchObject([
      {
        message: 'The lock of this resource was lost while the request ran',
        extensions: { status: 409, code: 'lock-lost', retryAfterMs: expect.any(Number) },
      },
    ]);
  });
});

// The last one: it ends a server.
it('G51 a server killed after the effect: the duplicate is refused where the outcome counts', async () => {
  const [dying, survivor] = servers as [RefundServer, RefundServer];
  const refund = command({ dies: true });
  const body = { query: mutation('refundCareful'), variables: { input: refund } };
  await expect(post(dying, body)).rejects.toThrow('fetch failed');
  const answer = await until(
    () => post(survivor, body),
    (answer) => code(answer) !== 'in-progress',
  );
  expect(answer.errors![0]!.extensions).toMatchObject({ status: 409, code: 'outcome-uncertain' });
  expect(await paid(refund)).toBe(1);
});

/** Asks until the answer is such. */
async function until(ask: () => Promise<Answer>, isSuch: (answer: Answer) => boolean): Promise<Answer> {
  const deadline = performance.now() + 15_000;
  for (;;) {
    const answer = await ask();
    if (isSuch(answer) || performance.now() > deadline) return answer;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

function withoutStack({ errors, ...rest }: Answer): unknown {
  return {
    ...rest,
    errors: errors?.map(({ extensions, ...error }) => ({
      ...error,
      extensions: { ...extensions, stacktrace: undefined },
    })),
  };
}
