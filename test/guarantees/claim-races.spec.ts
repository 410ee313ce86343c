import { randomUUID } from 'node:crypto';
import type { ResultStore } from '../../lib/stores/result-store.js';
import { STACKS } from '../support/fixtures/grid.js';
import { identityOf, TestNode } from '../support/fixtures/node.js';
import { openStack, type Stack } from '../support/fixtures/stacks.js';
import { Gate, type Hooks, wrapped } from '../support/fixtures/wrapped.js';

const refused = (code: string) => expect.objectContaining({ code });

describe.each(STACKS)('$name', ({ create, lock: lockName }) => {
  let stack: Stack;
  let other: Stack;
  let key: string;

  beforeAll(async () => {
    const urls = await create();
    stack = await openStack(urls);
    // What is in memory cannot be had a second time.
    other = urls.store === 'memory' ? stack : await openStack(urls);
  });
  afterAll(() => Promise.all([stack.close(), other.close()]));
  beforeEach(() => {
    key = randomUUID();
  });

  const winner = () => new TestNode(stack);
  const loser = (hooks: Hooks<ResultStore>, lock = other.lock) =>
    new TestNode({ lock, store: wrapped(other.store, hooks) });
  const id = () => identityOf({ key }).id;

  it('G04 a record that vanished between refusal and read is claimed', async () => {
    const owner = await winner().own({ key });
    let refusals = 0;
    const node = loser({
      claim: async (next) => {
        const answer = await next();
        if (answer.claimed) return answer;
        refusals += 1;
        await owner.release('forget');
        return { claimed: false, record: null };
      },
      find: async () => {
        refusals += 1;
        await owner.release('forget');
        return null;
      },
    });
    const pay = () => node.run({ key, options: { onConflict: 'wait' } }, () => 'paid');
    expect(await pay()).toMatchObject({ value: 'paid', replayed: false });
    expect(refusals).toBe(1);
    expect(await stack.store.find(id())).toMatchObject({ state: 'completed' });
  });

  it('G04 a record that vanishes again and again is given up: refused, not run unprotected', async () => {
    const node = loser({ claim: async () => ({ claimed: false, record: null }) });
    let runs = 0;
    await expect(node.run({ key }, () => runs++)).rejects.toEqual(refused('unavailable'));
    expect(runs).toBe(0);
    expect((await winner().run({ key }, () => 'paid')).value).toBe('paid');
  });

  it('G05 who comes to the claim after the winner has finished replays', async () => {
    const gate = new Gate();
    const lock = other.lock && wrapped(other.lock, { acquire: (next) => gate.before(next) });
    const node = loser(other.lock ? {} : { claim: (next) => gate.before(next) }, lock);
    const late = node.run({ key }, () => 'paid again');
    await gate.reached;
    expect((await winner().run({ key }, () => 'paid')).value).toBe('paid');
    gate.open();
    expect(await late).toMatchObject({ value: 'paid', replayed: true });
  });

  if (lockName !== 'none') {
    it('G05 who finds the lock taken and the record finished replays', async () => {
      const paying = new Gate();
      const looking = new Gate();
      const node = loser({ find: (next) => looking.before(next) }, stack.lock);
      const first = winner().run({ key }, () => paying.before(() => 'paid'));
      await paying.reached;
      const late = node.run({ key }, () => 'paid again');
      await looking.reached;
      paying.open();
      await first;
      looking.open();
      expect(await late).toMatchObject({ value: 'paid', replayed: true });
    });
  }

  it('G07 a mismatch is told also to who is waiting for the claim of another payload', async () => {
    const gate = new Gate();
    const node = new TestNode({
      lock: stack.lock,
      store: wrapped(stack.store, {
        claim: async (next, { fingerprint }) => {
          if (fingerprint === identityOf({ key, payload: '5' }).fingerprint) await gate.wait();
          return next();
        },
      }),
    });
    const first = node.run({ key, payload: '5' }, () => 'paid 5');
    await gate.reached;
    const second = node.run({ key, payload: '6' }, () => 'paid 6').catch((error: unknown) => error);
    gate.open();
    const answers = [await first.catch((error: unknown) => error), await second];
    // Either may win; never both, and the other learns nothing but that.
    expect(answers.filter((answer) => Reflect.get(answer as object, 'value'))).toHaveLength(1);
    expect(answers).toContainEqual(
      expect.objectContaining({ code: expect.stringMatching(/key-reused|in-progress/) }),
    );
  });

  it('G71 none of the refused was logged', async () => {
    const owner = await winner().own({ key });
    const node = loser({});
    const again = () => node.run({ key }, () => 'paid again');
    for (let round = 0; round < 3; round++) await expect(again()).rejects.toEqual(refused('in-progress'));
    await owner.release('keep');
    expect([...node.errors, ...node.warnings]).toEqual([]);
  });
});
