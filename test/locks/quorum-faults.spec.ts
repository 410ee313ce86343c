import { setTimeout as sleep } from 'node:timers/promises';
import { LockService } from '../../lib/locks/lock.service.js';
import {
  type AcquireAnswer,
  type ExtendAnswer,
  LockDriver,
  type LockRef,
} from '../../lib/locks/lock-driver.js';
import { memoryLock, MemoryLock } from '../../lib/locks/memory.lock.js';
import { NodeTimeoutError } from '../../lib/locks/quorum/electorate.js';
import { quorumLock } from '../../lib/locks/quorum/quorum.lock.js';
import { timed, until } from './quorum-helpers.js';

const LONG_MS = 30_000;
const LOCKED = { acquired: true, fence: expect.any(BigInt) };

/** A lock in memory whose server can be broken, slowed down and looked at. */
class Node extends LockDriver {
  readonly name = 'node';
  readonly calls: string[] = [];
  /** Milliseconds before the server does it. */
  beforeMs: Partial<Record<'acquire' | 'extend' | 'release' | 'raiseFence' | 'watch', number>> = {};
  /** Milliseconds on the way back. */
  afterMs = 0;
  isDown = false;
  isHung = false;
  /** The last to whom a lock was granted and not taken back. */
  holder: string | undefined;

  constructor(readonly lock: MemoryLock = memoryLock()) {
    super();
  }

  acquire(name: string, token: string, ttlMs: number): Promise<AcquireAnswer> {
    return this.does('acquire', () => this.grant(token, name, ttlMs));
  }

  extend(locks: readonly LockRef[], ttlMs: number): Promise<ExtendAnswer[]> {
    return this.does('extend', () => this.lock.extend(locks, ttlMs));
  }

  release(name: string, token: string): Promise<boolean> {
    return this.does('release', () => this.free(token, name));
  }

  override raiseFence(name: string, fence: bigint): Promise<void> {
    return this.does('raiseFence', () => this.lock.raiseFence(name, fence));
  }

  override watch(name: string, wake: () => void): Promise<() => void> {
    return this.does('watch', () => this.lock.watch(name, wake));
  }

  /** The server itself does it, for `token`. */
  async grant(token: string, name = 'it', ttlMs = LONG_MS): Promise<AcquireAnswer> {
    const answer = await this.lock.acquire(name, token, ttlMs);
    if (answer.acquired) this.holder = token;
    return answer;
  }

  async free(token: string, name = 'it'): Promise<boolean> {
    const released = await this.lock.release(name, token);
    if (released) this.holder = undefined;
    return released;
  }

  private async does<T>(what: keyof Node['beforeMs'], operation: () => Promise<T>): Promise<T> {
    this.calls.push(what);
    if (this.isDown) throw new Error('down');
    if (this.isHung) return new Promise(() => undefined);
    if (this.beforeMs[what]) await sleep(this.beforeMs[what]);
    const answer = await operation();
    if (this.afterMs) await sleep(this.afterMs);
    return answer;
  }
}

function nodes(count: number): Node[] {
  return Array.from({ length: count }, () => new Node());
}

function holders(of: readonly Node[]): (string | undefined)[] {
  return of.map(({ holder }) => holder);
}

describe('a quorum of nodes that can fail', () => {
  it('G68 is swept where its nodes are, and has no sweep where none of them has', async () => {
    const swept: number[] = [];
    const three = nodes(3);
    expect(quorumLock(three).sweep).toBeUndefined();
    const sweep = (count: number) => async (limit: number) => swept.push(limit) && count;
    const [some, more] = [Object.assign(nodes(1)[0]!, { sweep: sweep(3) }), nodes(1)[0]!];
    const failing = Object.assign(more, { sweep: () => Promise.reject(new Error('down')) });
    expect(await quorumLock([some, three[0]!, failing]).sweep!(7)).toBe(3);
    expect(swept).toEqual([7]);
    const closed: string[] = [];
    const closing = three.map((node, i) =>
      Object.assign(node, { close: async () => void closed.push(`${i}`) }),
    );
    await quorumLock(closing).close();
    expect(closed).toEqual(['0', '1', '2']);
    await expect(quorumLock([three[0]!, three[1]!, failing]).sweep!(7)).rejects.toThrow(
      'No node could be swept',
    );
  });

  describe('G64 the time a node has', () => {
    it.each([
      [100, 20],
      [2_000, 100],
      [LONG_MS, 200],
    ])('is a twentieth of a life of %d ms, within bounds: %d ms', async (ttlMs, timeoutMs) => {
      const five = nodes(5);
      for (const node of five.slice(2)) node.isHung = true;
      const { result, ms } = await timed(
        quorumLock(five)
          .acquire('it', 'mine', ttlMs)
          .catch((error) => error),
      );
      expect(result).toBeInstanceOf(AggregateError);
      expect(result.errors).toEqual([1, 2, 3].map(() => new NodeTimeoutError(timeoutMs)));
      expect(ms).toBeGreaterThan(timeoutMs / 2);
      expect(ms).toBeLessThan(timeoutMs + 500);
    });

    it('can be set, and is not waited for where the others decide', async () => {
      const five = nodes(5);
      for (const node of five.slice(3)) node.isHung = true;
      const lock = quorumLock(five, { nodeTimeoutMs: 2_000 });
      const { result, ms } = await timed(lock.acquire('it', 'mine', LONG_MS));
      expect(result).toEqual(LOCKED);
      expect(await lock.extend([{ name: 'it', token: 'mine' }], LONG_MS)).toEqual([true]);
      expect(await lock.release('it', 'mine')).toBe(true);
      expect(ms).toBeLessThan(1_000);
    });
  });

  describe('G61 unavailable', () => {
    it('names the nodes that failed, also behind a LockService', async () => {
      const three = nodes(3);
      for (const node of three.slice(1)) node.isDown = true;
      const message = '0 of 3 nodes answered, 2 have to agree (node 1: down; node 2: down)';
      const lock = quorumLock(three);
      await expect(lock.acquire('it', 'mine', LONG_MS)).rejects.toThrow(message);
      await expect(lock.extend([{ name: 'it', token: 'mine' }], LONG_MS)).rejects.toThrow('node 1: down');
      await expect(lock.release('it', 'mine')).rejects.toThrow('node 1: down');
      const result = await new LockService(lock).acquire('it', { ttlMs: LONG_MS });
      expect(result).toMatchObject({
        status: 'unavailable',
        cause: { cause: { message, errors: [new Error('down'), new Error('down')] } },
      });
    });

    it('a driver that throws at once is a node that failed', async () => {
      const three: LockDriver[] = nodes(3);
      three[0]!.acquire = () => {
        throw new Error('not even a promise');
      };
      expect(await quorumLock(three).acquire('it', 'mine', LONG_MS)).toEqual(LOCKED);
    });
  });

  describe('G64 a failed attempt is given back on all nodes', () => {
    it('that granted, that refused, that failed', async () => {
      const five = nodes(5);
      for (const node of five.slice(2)) await node.grant('other');
      const lock = quorumLock(five);
      expect(await lock.acquire('it', 'mine', LONG_MS)).toMatchObject({ acquired: false, holder: 'other' });
      expect(holders(five)).toEqual([undefined, undefined, 'other', 'other', 'other']);
      expect(five.map(({ calls }) => calls)).toEqual(five.map(() => ['acquire', 'release']));

      for (const node of five.slice(2)) node.isDown = true;
      await expect(lock.acquire('it', 'next', LONG_MS)).rejects.toThrow(AggregateError);
      await until(() => five.every(({ calls }) => calls.length >= 4));
      expect(holders(five)).toEqual([undefined, undefined, 'other', 'other', 'other']);
    });

    it('a node that is asked later than it is released is released once more: connections of a pool', async () => {
      const five = nodes(5);
      const late = five[4]!;
      late.beforeMs = { acquire: 60 };
      for (const node of five.slice(0, 3)) await node.grant('other');
      expect((await quorumLock(five).acquire('it', 'mine', LONG_MS)).acquired).toBe(false);
      await sleep(20);
      expect(late.calls).toEqual(['acquire', 'release']);
      await until(() => late.calls.length === 3);
      expect(late.holder).toBeUndefined();
    });

    it('a late grant after the decision is kept while the lock is held, and given back after', async () => {
      const five = nodes(5);
      five[3]!.beforeMs = { acquire: 30 };
      five[4]!.beforeMs = { acquire: 90 };
      const lock = quorumLock(five);
      expect(await lock.acquire('it', 'mine', LONG_MS)).toEqual(LOCKED);
      await until(() => five[3]!.holder === 'mine');
      expect(await lock.release('it', 'mine')).toBe(true);
      await until(() => five[4]!.calls.length === 3);
      expect(five[4]!.calls).toEqual(['acquire', 'release', 'release']);
      expect(holders(five)).toEqual(five.map(() => undefined));
    });

    it('a release on its way never meets the next attempt with the same token', async () => {
      const three = nodes(3);
      const [slow, , taken] = three as [Node, Node, Node];
      slow.beforeMs = { release: 50 };
      for (const node of three.slice(1)) await node.grant('other');
      const lock = quorumLock(three);
      expect((await lock.acquire('it', 'mine', LONG_MS)).acquired).toBe(false);
      for (const node of three.slice(1)) await node.free('other');
      await taken.grant('stale');
      // The first node waits for its release; were it asked at once, its grant would be deleted.
      expect(await lock.acquire('it', 'mine', LONG_MS)).toEqual(LOCKED);
      await sleep(100);
      expect(holders(three)).toEqual(['mine', 'mine', 'stale']);
    });

    it('a node whose release failed has no vote for that token any more, for others it has', async () => {
      const three = nodes(3);
      const [spoiled, second, third] = three as [Node, Node, Node];
      const broke = () => Promise.reject(new Error('broke, and may yet be executed'));
      spoiled.release = broke;
      second.isDown = third.isDown = true;
      const lock = quorumLock(three);
      await expect(lock.acquire('it', 'mine', LONG_MS)).rejects.toThrow('down');
      await spoiled.free('mine');
      second.isDown = false;
      second.release = broke;
      await expect(lock.acquire('it', 'mine', LONG_MS)).rejects.toThrow(
        'node 0: it did not confirm that a former attempt with the same token was given back',
      );
      await second.free('mine');
      expect(await lock.acquire('it', 'fresh', LONG_MS)).toEqual(LOCKED);
    });
  });

  describe('G64 F10 a slow node', () => {
    async function acquireSlowly(ttlMs: number, slowMs: number): Promise<{ result: unknown; three: Node[] }> {
      const three = nodes(3);
      three[0]!.isDown = true;
      three[2]!.afterMs = slowMs;
      const lock = quorumLock(three, { nodeTimeoutMs: 1_000 });
      return { three, result: await lock.acquire('it', 'mine', ttlMs).catch((error) => error) };
    }

    it('whose vote takes half of the life can be waited for', async () => {
      expect((await acquireSlowly(200, 100)).result).toEqual(LOCKED);
    });

    it.each([200, 400])(
      'whose vote takes %d ms of 200 is of no use: refused, and given back everywhere',
      async (slowMs) => {
        const { result, three } = await acquireSlowly(200, slowMs);
        expect(result).toMatchObject({ message: 'The nodes agreed too late: the life of the lock is over' });
        expect(three.map(({ calls }) => calls.includes('release'))).toEqual([true, true, true]);
      },
    );
  });

  describe('G64 F11 a split vote', () => {
    it('of an even number settles, all contenders at the same moment, again and again', async () => {
      for (const size of [2, 4]) {
        const all = nodes(size);
        // Every contender reaches another node first.
        const locks = all.map((_, first) => quorumLock([...all.slice(first), ...all.slice(0, first)]));
        for (const node of all) node.beforeMs = { acquire: 1 };
        for (let round = 0; round < 10; round++) {
          let first = Infinity;
          const begun = performance.now();
          const takeTurn = async (lock: LockDriver) => {
            await new LockService(lock).using('it', { ttlMs: LONG_MS, waitMs: 5_000 }, async () => {
              first = Math.min(first, performance.now() - begun);
              await sleep(1);
            });
          };
          await Promise.all(locks.map(takeTurn));
          expect(first).toBeLessThan(1_000);
        }
      }
    });
  });

  describe('prolonging', () => {
    const MINE = { name: 'it', token: 'mine' };

    it('G66 grants anew where a node has forgotten, and does not where somebody else has it', async () => {
      const five = nodes(5);
      const lock = quorumLock(five);
      await lock.acquire('it', 'mine', LONG_MS);
      await until(() => five.every(({ holder }) => holder === 'mine'));
      await five[0]!.free('mine');
      await five[1]!.free('mine');
      await five[1]!.grant('other');
      expect(await lock.extend([MINE], LONG_MS)).toEqual([true]);
      await until(() => five[0]!.holder === 'mine');
      expect(holders(five)).toEqual(['mine', 'other', 'mine', 'mine', 'mine']);
      // What was granted anew counts like the rest.
      await five[3]!.free('mine');
      expect(await lock.extend([MINE], LONG_MS)).toEqual([true]);
      await until(() => five[3]!.holder === 'mine');
      expect(holders(five)).toEqual(['mine', 'other', 'mine', 'mine', 'mine']);
    });

    it('of several tells of each for itself: kept, lost, and nobody can tell', async () => {
      const three = nodes(3);
      const lock = quorumLock(three);
      const names = ['kept', 'lost', 'unknown'];
      for (const name of names) await lock.acquire(name, 'mine', LONG_MS);
      for (const node of three) {
        await until(async () => !(await node.lock.acquire('unknown', 'other', LONG_MS)).acquired);
        await node.free('mine', 'lost');
      }
      // Two of three cannot tell of one name.
      for (const { lock: behind } of three.slice(1)) {
        const extend = behind.extend.bind(behind);
        behind.extend = async (locks, ttlMs) => {
          const answers = await extend(locks, ttlMs);
          return locks.map(({ name }, i) => (name === 'unknown' ? (null as never) : answers[i]!));
        };
      }
      const locks = names.map((name) => ({ name, token: 'mine' }));
      expect(await lock.extend(locks, LONG_MS)).toEqual([true, false, null]);
      await expect(lock.extend([locks[2]!], LONG_MS)).rejects.toThrow('It cannot tell');
    });

    it('counts a repair where it is needed', async () => {
      const five = nodes(5);
      const lock = quorumLock(five);
      await lock.acquire('it', 'mine', LONG_MS);
      await until(() => five.every(({ holder }) => holder === 'mine'));
      for (const node of five.slice(3)) node.isDown = true;
      await five[0]!.free('mine');
      expect(await lock.extend([MINE], LONG_MS)).toEqual([true]);
      expect(five[0]!.holder).toBe('mine');
    });

    it('F8 a lock that is gone everywhere is lost at once, and not taken anew', async () => {
      const three = nodes(3);
      const lock = quorumLock(three);
      await lock.acquire('it', 'mine', LONG_MS);
      await until(() => three.every(({ holder }) => holder === 'mine'));
      for (const node of three) await node.free('mine');
      expect(await lock.extend([MINE], LONG_MS)).toEqual([false]);
      await sleep(20);
      expect(holders(three)).toEqual([undefined, undefined, undefined]);
    });

    it('deletes nothing when it fails', async () => {
      const five = nodes(5);
      const lock = quorumLock(five);
      await lock.acquire('it', 'mine', LONG_MS);
      await until(() => five.every(({ holder }) => holder === 'mine'));
      for (const node of five.slice(2)) node.isDown = true;
      await expect(lock.extend([MINE], LONG_MS)).rejects.toThrow('3 have to agree');
      for (const node of five.slice(2)) {
        node.isDown = false;
        await node.free('mine');
      }
      expect(await lock.extend([MINE], LONG_MS)).toEqual([false]);
      expect(five.flatMap(({ calls }) => calls)).not.toContain('release');
      expect(holders(five).slice(0, 2)).toEqual(['mine', 'mine']);
    });

    it('is refused after the old deadline, though a majority still has the lock', async () => {
      const three = nodes(3);
      const lock = quorumLock(three);
      await lock.acquire('it', 'mine', 100);
      // Clocks of servers that run slow.
      for (const node of three) await node.lock.extend([MINE], LONG_MS);
      await sleep(110);
      expect(await lock.extend([MINE], LONG_MS)).toEqual([false]);
    });

    it('repairs nothing that has been released meanwhile', async () => {
      const three = nodes(3);
      const lock = quorumLock(three);
      await lock.acquire('it', 'mine', LONG_MS);
      await until(() => three.every(({ holder }) => holder === 'mine'));
      three[2]!.beforeMs = { extend: 40 };
      expect(await lock.extend([MINE], LONG_MS)).toEqual([true]);
      expect(await lock.release('it', 'mine')).toBe(true);
      await sleep(80);
      expect(three[2]!.calls.filter((call) => call === 'acquire')).toHaveLength(1);
      expect(holders(three)).toEqual([undefined, undefined, undefined]);
    });

    it('gives back a repair that comes after the release', async () => {
      const three = nodes(3);
      const lock = quorumLock(three);
      await lock.acquire('it', 'mine', LONG_MS);
      await until(() => three.every(({ holder }) => holder === 'mine'));
      await three[2]!.free('mine');
      three[2]!.beforeMs = { acquire: 40 };
      expect(await lock.extend([MINE], LONG_MS)).toEqual([true]);
      await sleep(10);
      expect(await lock.release('it', 'mine')).toBe(true);
      await until(() => three[2]!.calls.filter((call) => call === 'release').length === 2);
      expect(holders(three)).toEqual([undefined, undefined, undefined]);
    });
  });

  describe('releasing', () => {
    it('is true where a majority had it, false where none can have had it, and neither where nobody knows', async () => {
      const five = nodes(5);
      const lock = quorumLock(five, { nodeTimeoutMs: 50 });
      const take = async (token: string) => {
        await lock.acquire('it', token, LONG_MS);
        await until(() => five.every(({ holder }) => holder === token));
      };
      await take('a');
      five[0]!.isDown = five[1]!.isHung = true;
      expect(await lock.release('it', 'a')).toBe(true);
      five[0]!.isDown = five[1]!.isHung = false;
      expect(await lock.release('it', 'a')).toBe(false);
      expect(holders(five)).toEqual(five.map(() => undefined));

      await take('b');
      for (const node of five.slice(0, 3)) await node.free('b');
      expect(await lock.release('it', 'b')).toBe(false);

      await take('c');
      for (const node of five.slice(0, 3)) node.isHung = true;
      const { result, ms } = await timed(lock.release('it', 'c').catch((error) => error));
      expect(result).toBeInstanceOf(AggregateError);
      expect(ms).toBeLessThan(1_000);
    });
  });

  describe('G14 fences', () => {
    it('grow from majority to majority, also where the clocks of the nodes differ', async () => {
      const clocks = [0, -5_000, 5_000, 60_000, -60_000];
      const five = clocks.map((aheadMs) => {
        const clock = { mono: () => performance.now(), wall: () => Date.now() + aheadMs };
        return new Node(new MemoryLock(clock));
      });
      const lock = quorumLock(five);
      let last = 0n;
      for (let round = 0; round < 60; round++) {
        // Another minority is down each time.
        for (const [i, node] of five.entries()) node.isDown = i === round % 5 || i === (round * 3 + 1) % 5;
        const token = `holder ${round}`;
        const answer = await lock.acquire('it', token, LONG_MS);
        if (!answer.acquired) throw new Error('busy');
        expect(answer.fence).toBeGreaterThan(last);
        last = answer.fence;
        await lock.release('it', token);
        await Promise.all(five.map((node) => node.free(token)));
      }
    });

    it('take one round trip where the clocks agree', async () => {
      let now = Date.now();
      const clock = { mono: () => performance.now(), wall: () => now };
      const five = Array.from({ length: 5 }, () => new Node(new MemoryLock(clock)));
      const lock = quorumLock(five);
      for (let round = 0; round < 40; round++) {
        expect(await lock.acquire('it', `holder ${round}`, LONG_MS)).toEqual(LOCKED);
        await lock.release('it', `holder ${round}`);
        // Fences are times: of two in a millisecond the second may need to be told.
        now += 2;
      }
      expect(five.flatMap(({ calls }) => calls)).not.toContain('raiseFence');
    });
  });

  describe('G62 waking', () => {
    it('hands over at once', async () => {
      const drivers = [1, 2, 3].map(() => memoryLock());
      const [holder, waiter] = [1, 2].map(() => new LockService(quorumLock(drivers))) as [
        LockService,
        LockService,
      ];
      const held = await holder.acquire('it', { ttlMs: LONG_MS });
      if (held.status !== 'acquired') throw new Error(held.status);
      const waiting = waiter.acquire('it', { ttlMs: LONG_MS, waitMs: 5_000 });
      await sleep(50);
      await held.lease.release();
      const { result, ms } = await timed(waiting);
      expect(result.status).toBe('acquired');
      expect(ms).toBeLessThan(500);
    });

    it('wakes once for one release, and once more for the next', async () => {
      const five = nodes(5);
      const lock = quorumLock(five);
      let wakes = 0;
      const stop = await lock.watch('it', () => wakes++, 'waiter');
      for (const round of [1, 2]) {
        await lock.acquire('it', `holder ${round}`, LONG_MS);
        await until(() => five.every(({ holder }) => holder === `holder ${round}`));
        await lock.release('it', `holder ${round}`);
        await sleep(60);
        expect(wakes).toBe(round);
      }
      stop();
    });

    it('wakes a little later when fewer than a majority tell', async () => {
      const five = nodes(5);
      let wakes = 0;
      const stop = await quorumLock(five).watch('it', () => wakes++, 'waiter');
      await five[0]!.grant('stale');
      await five[0]!.free('stale');
      expect(wakes).toBe(0);
      await until(() => wakes === 1);
      await five[0]!.grant('stale');
      await five[0]!.free('stale');
      stop();
      await sleep(40);
      expect(wakes).toBe(1);
    });

    it('is in force when a majority is, and fails when no node can', async () => {
      const five = nodes(5);
      five[0]!.isHung = five[1]!.isDown = true;
      let wakes = 0;
      const stop = await quorumLock(five).watch('it', () => wakes++, 'waiter');
      await five[4]!.grant('it');
      await five[4]!.free('it');
      await until(() => wakes === 1);
      stop();
      for (const node of five) node.isDown = true;
      five[0]!.isHung = false;
      await expect(quorumLock(five).watch('it', () => wakes++, 'waiter')).rejects.toThrow('node 3: down');
    });

    it('leaves no listener behind, also with a node that subscribes late', async () => {
      const three = nodes(3);
      three[2]!.beforeMs = { watch: 30 };
      const stop = await quorumLock(three).watch('it', () => undefined, 'waiter');
      stop();
      await sleep(50);
      for (const { lock } of three) expect(Reflect.get(lock, 'watchers')).toEqual(new Map());
    });
  });

  it('remembers nothing of locks that are released or refused', async () => {
    const five = nodes(5);
    const lock = quorumLock(five);
    const names = Array.from({ length: 500 }, (_, i) => `it:${i}`);
    await Promise.all(names.map((name) => lock.acquire(name, 'mine', LONG_MS)));
    await Promise.all(names.map((name) => lock.acquire(name, 'other', LONG_MS)));
    await Promise.all(names.map((name) => lock.extend([{ name, token: 'mine' }], LONG_MS)));
    await Promise.all(names.map((name) => lock.release(name, 'mine')));
    await sleep(20);
    const { dealings } = Reflect.get(lock, 'electorate') as { dealings: { size: number } };
    expect(dealings.size).toBe(0);
  });
});
