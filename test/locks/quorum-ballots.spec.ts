import type { Instant } from '../../lib/engine/lease.js';
import { AcquireBallot } from '../../lib/locks/quorum/acquire-ballot.js';
import { ExtendBallot } from '../../lib/locks/quorum/extend-ballot.js';
import { deadlineOf } from '../../lib/locks/quorum/validity.js';

const START: Instant = { mono: 1_000, wall: 500_000 };
const at = (ms: number): Instant => ({ mono: 1_000 + ms, wall: 500_000 + ms });
const LATER = at(1);

describe('the deadline of a lock', () => {
  it('G64 is its life less 1 % and 2 ms, from before the first request, by both clocks', () => {
    expect(deadlineOf(START, 1_000, 0.01)).toEqual(at(988));
    expect(deadlineOf(START, 30_000, 0.01)).toEqual(at(29_698));
    expect(deadlineOf(START, 10, 0.01)).toEqual(at(8));
  });
});

describe('the ballot of an attempt', () => {
  const ballotOf = (size: number, random = 0.5) =>
    new AcquireBallot({ size, sentAt: START, deadline: at(988), random: () => random });
  const refusal = (holder: string, retryAfterMs = 700) =>
    ({ acquired: false, retryAfterMs, holder }) as const;

  /** y: granted with fence 7, n: refused because of one holder, f: failed; one letter a node. */
  function voted(votes: string, size: number): AcquireBallot {
    const ballot = ballotOf(size);
    votes.split('').forEach((vote, node) => {
      if (vote === 'y') ballot.granted(node, 7n, LATER);
      if (vote === 'n') ballot.refused(node, refusal('other'), LATER);
      if (vote === 'f') ballot.failed(node, new Error(`down ${node}`), LATER);
    });
    return ballot;
  }

  it.each([
    ['y', 1],
    ['yy', 2],
    ['yy', 3],
    ['yyy', 4],
    ['yyy', 5],
    ['nyyy', 5],
    ['fyfyy', 5],
    ['nfyyyy', 6],
  ])('G64 grants on %s of %d nodes, and not before', (votes, size) => {
    expect(voted(votes, size).verdict).toEqual({ acquired: true, fence: 7n });
    expect(voted(votes.slice(0, -1), size).verdict).toBeUndefined();
  });

  it.each([
    ['n', 1],
    ['yn', 2],
    ['nn', 3],
    ['fny', 3],
    ['yynn', 4],
    ['nnn', 5],
    ['ynynn', 5],
    ['nnffn', 5],
    ['yynff', 5],
    ['yyynnn', 6],
  ])('G61 G64 is busy on %s of %d nodes, and not before', (votes, size) => {
    expect(voted(votes, size).verdict).toMatchObject({ acquired: false });
    expect(voted(votes.slice(0, -1), size).verdict).toBeUndefined();
  });

  it.each([
    ['f', 1],
    ['f', 2],
    ['ff', 3],
    ['yff', 3],
    ['nff', 3],
    ['yyff', 4],
    ['nnff', 4],
    ['nnfff', 5],
    ['yyfff', 5],
  ])('G61 is unavailable on %s of %d nodes, and not before', (votes, size) => {
    expect(voted(votes, size).verdict).toBeInstanceOf(AggregateError);
    expect(voted(votes.slice(0, -1), size).verdict).toBeUndefined();
  });

  it('says of each node why it failed, and how many were needed', () => {
    const { verdict } = voted('fnff', 5) as { verdict: AggregateError };
    expect(verdict.message).toBe(
      '1 of 5 nodes answered, 3 have to agree (node 0: down 0; node 2: down 2; node 3: down 3)',
    );
    expect(verdict.errors).toEqual([new Error('down 0'), new Error('down 2'), new Error('down 3')]);
  });

  it('takes no vote twice, and none after the decision', () => {
    const ballot = ballotOf(3);
    for (let i = 0; i < 3; i++) ballot.refused(0, refusal('other'), LATER);
    for (let i = 0; i < 3; i++) ballot.failed(0, new Error('late'), LATER);
    expect(ballot.verdict).toBeUndefined();
    ballot.granted(1, 1n, LATER);
    ballot.granted(2, 1n, LATER);
    const { verdict } = ballot;
    expect(verdict).toEqual({ acquired: true, fence: 1n });
    ballot.timeUp(() => new Error('late'), at(2_000));
    expect(ballot.verdict).toBe(verdict);
  });

  it('takes those who have not answered in time for failed', () => {
    const ballot = voted('yy', 5);
    ballot.timeUp((node) => new Error(`slow ${node}`), at(50));
    expect(ballot.verdict).toMatchObject({ errors: [2, 3, 4].map((node) => new Error(`slow ${node}`)) });
  });

  describe('G14 the fence', () => {
    it('is the greatest of the majority, told to those of it who gave a smaller one', () => {
      const ballot = ballotOf(5);
      ballot.granted(0, 10n, LATER);
      ballot.granted(1, 30n, LATER);
      expect(ballot.takeRaises()).toEqual([]);
      ballot.granted(4, 20n, LATER);
      expect(ballot.fence).toBe(30n);
      expect(ballot.takeRaises()).toEqual([0, 4]);
      expect(ballot.takeRaises()).toEqual([]);
      ballot.raised(0, LATER);
      expect(ballot.verdict).toBeUndefined();
      ballot.raised(4, LATER);
      expect(ballot.verdict).toEqual({ acquired: true, fence: 30n });
    });

    it('is known to a node that gave a greater one, and has to be told to one that is late', () => {
      const ballot = ballotOf(5);
      [10n, 10n, 30n, 40n].forEach((fence, node) => ballot.granted(node, fence, LATER));
      expect(ballot.fence).toBe(30n);
      expect(ballot.takeRaises()).toEqual([0, 1]);
      ballot.granted(4, 20n, LATER);
      expect(ballot.takeRaises()).toEqual([4]);
      ballot.raised(4, LATER);
      expect(ballot.verdict).toEqual({ acquired: true, fence: 30n });
    });

    it('needs no telling where all nodes are needed', () => {
      const ballot = ballotOf(2);
      ballot.granted(0, 10n, LATER);
      ballot.granted(1, 30n, LATER);
      expect(ballot.verdict).toEqual({ acquired: true, fence: 30n });
    });

    it('a node that cannot be told has no vote', () => {
      const ballot = ballotOf(3);
      ballot.granted(0, 10n, LATER);
      ballot.granted(1, 30n, LATER);
      ballot.failed(0, new Error('down'), LATER);
      expect(ballot.verdict).toBeUndefined();
      ballot.granted(2, 20n, LATER);
      expect(ballot.takeRaises()).toEqual([2]);
      ballot.timeUp(() => new Error('slow'), at(50));
      expect(ballot.verdict).toMatchObject({ errors: [new Error('down'), new Error('slow')] });
    });
  });

  describe('G64 votes that come too late', () => {
    it.each([
      ['the monotonic clock', { mono: 1_988, wall: 500_000 }],
      ['the wall clock', { mono: 1_000, wall: 500_988 }],
    ])('by %s are refused as unavailable', (_, now) => {
      const ballot = ballotOf(3);
      ballot.granted(0, 1n, LATER);
      ballot.granted(1, 1n, now);
      expect(ballot.verdict).toEqual(
        new AggregateError([], 'The nodes agreed too late: the life of the lock is over'),
      );
    });

    it('up to the last millisecond are not', () => {
      const ballot = ballotOf(3);
      ballot.granted(0, 1n, LATER);
      ballot.granted(1, 1n, at(987));
      expect(ballot.verdict).toEqual({ acquired: true, fence: 1n });
    });

    it('count also while the fence is told', () => {
      const ballot = ballotOf(3);
      ballot.granted(0, 1n, LATER);
      ballot.granted(1, 2n, LATER);
      ballot.raised(0, at(988));
      expect(ballot.verdict).toBeInstanceOf(AggregateError);
    });
  });

  describe('when to try again', () => {
    it('is when enough nodes will be free, where one has the lock', () => {
      const ballot = ballotOf(5);
      ballot.granted(0, 1n, LATER);
      [500, 900, 700].forEach((left, index) => ballot.refused(index + 1, refusal('holder', left), LATER));
      // Two more are needed: the second to run out.
      expect(ballot.verdict).toEqual({ acquired: false, retryAfterMs: 700, holder: 'holder' });
    });

    it('is told of a holder also where others are left of', () => {
      const ballot = ballotOf(5);
      ballot.failed(0, new Error('down'), LATER);
      ['holder', 'holder', 'stale'].forEach((holder, i) => ballot.refused(i + 1, refusal(holder), LATER));
      expect(ballot.verdict).toMatchObject({ acquired: false, retryAfterMs: expect.any(Number) });
      const held = ballotOf(5);
      held.refused(0, refusal('stale', 100), LATER);
      ['holder', 'holder', 'holder'].forEach((holder, i) => held.refused(i + 1, refusal(holder, 700), LATER));
      // Decided by the third refusal; nobody is known to have a majority yet.
      expect(held.verdict).toMatchObject({ retryAfterMs: 11 });
    });

    it.each([
      [0, 1],
      [0.5, 11],
      [0.999, 20.98],
    ])('G64 is by chance within 20 ms after a split vote (%d: %d ms)', (random, retryAfterMs) => {
      const ballot = ballotOf(4, random);
      ballot.granted(0, 1n, LATER);
      ballot.granted(1, 1n, LATER);
      ballot.refused(2, refusal('other', 30_000), LATER);
      ballot.refused(3, refusal('other', 30_000), LATER);
      expect(ballot.verdict).toEqual({ acquired: false, retryAfterMs });
    });

    it('G64 is within four times what the attempt took, where nodes are far away', () => {
      const ballot = ballotOf(2, 0.5);
      ballot.granted(0, 1n, at(100));
      ballot.refused(1, refusal('other', 30_000), at(100));
      expect(ballot.verdict).toEqual({ acquired: false, retryAfterMs: 201 });
    });
  });
});

describe('the ballot of a prolongation', () => {
  const DEADLINE = at(988);

  /** k: kept, g: gone, f: failed, x: gone, but without a vote; one letter a node. */
  function told(answers: string, size: number, deadline: Instant | undefined = DEADLINE): ExtendBallot {
    const ballot = new ExtendBallot(size, deadline);
    answers.split('').forEach((answer, node) => {
      if (answer === 'k') ballot.kept(node, LATER);
      if (answer === 'g') ballot.gone(node, LATER);
      if (answer === 'x') ballot.gone(node, LATER, new Error(`restarted ${node}`));
      if (answer === 'f') ballot.failed(node, new Error(`down ${node}`), LATER);
    });
    return ballot;
  }

  it.each([
    ['k', 1],
    ['kk', 3],
    ['kkk', 4],
    ['gkfkk', 5],
    ['xxkkk', 5],
  ])('G64 prolongs on %s of %d nodes, and not before', (answers, size) => {
    expect(told(answers, size).verdict).toBe(true);
    expect(told(answers.slice(0, -1), size).verdict).toBeUndefined();
  });

  it.each([
    ['g', 1],
    ['g', 2],
    ['gg', 3],
    ['kgg', 4],
    ['kkggg', 5],
    ['fgfgg', 5],
  ])('says for certain that it is lost on %s of %d nodes, and repairs nothing', (answers, size) => {
    const ballot = told(answers, size);
    expect(ballot.verdict).toBe(false);
    expect(ballot.takeRepairs()).toEqual([]);
    expect(told(answers.slice(0, -1), size).verdict).toBeUndefined();
  });

  it.each([
    ['kff', 3],
    ['kx', 2],
    ['kxx', 3],
    ['kkff', 4],
    ['kkxff', 5],
  ])('cannot tell on %s of %d nodes', (answers, size) => {
    expect(told(answers, size).verdict).toBeInstanceOf(AggregateError);
  });

  it('repairs what is gone once it is prolonged, each node once, also those that answer later', () => {
    const ballot = told('gkkk', 5);
    expect(ballot.verdict).toBe(true);
    expect(ballot.takeRepairs()).toEqual([0]);
    ballot.gone(4, at(5));
    expect(ballot.takeRepairs()).toEqual([4]);
    ballot.repaired(0, false, at(6));
    expect(ballot.verdict).toBe(true);
    expect(ballot.takeRepairs()).toEqual([]);
  });

  it('holds repairs back while it may turn out to be lost', () => {
    expect(told('kgg', 5).takeRepairs()).toEqual([]);
  });

  it('repairs when all have answered and nothing is certain; then it counts', () => {
    const ballot = told('kkgff', 5);
    expect(ballot.verdict).toBeUndefined();
    expect(ballot.takeRepairs()).toEqual([2]);
    ballot.repaired(2, true, at(5));
    expect(ballot.verdict).toBe(true);
  });

  it('a node where somebody else has it stays a no', () => {
    const ballot = told('kggf', 5);
    ballot.kept(4, LATER);
    expect(ballot.takeRepairs()).toEqual([1, 2]);
    ballot.repaired(1, false, at(5));
    expect(ballot.verdict).toBeUndefined();
    ballot.repaired(2, false, at(6));
    expect(ballot.verdict).toMatchObject({ errors: [new Error('down 3')] });
  });

  it('G66 repairs a node without a vote, and its grant does not count', () => {
    const ballot = told('kgxf', 5);
    ballot.kept(4, LATER);
    expect(ballot.takeRepairs()).toEqual([1, 2]);
    ballot.repaired(2, true, at(5));
    expect(ballot.verdict).toBeUndefined();
    ballot.repaired(1, false, at(6));
    expect(ballot.verdict).toMatchObject({ errors: [new Error('restarted 2'), new Error('down 3')] });
  });

  describe('after the old deadline', () => {
    it('prolongs and repairs nothing: somebody else may have had it in between', () => {
      const ballot = new ExtendBallot(3, DEADLINE);
      ballot.kept(0, LATER);
      ballot.kept(1, DEADLINE);
      expect(ballot.verdict).toBe(false);
      ballot.gone(2, DEADLINE);
      expect(ballot.takeRepairs()).toEqual([]);
    });

    it('is not repaired where nothing is certain', () => {
      const ballot = new ExtendBallot(3, DEADLINE);
      ballot.kept(0, LATER);
      ballot.gone(1, LATER);
      ballot.failed(2, new Error('down'), DEADLINE);
      expect(ballot.takeRepairs()).toEqual([]);
      expect(ballot.verdict).toBe(false);
    });

    it('where it is not known here, a majority decides, and doubt is not repaired', () => {
      expect(told('kk', 3, undefined).verdict).toBe(true);
      const ballot = new ExtendBallot(3, undefined);
      ballot.kept(0, LATER);
      ballot.gone(1, LATER);
      ballot.failed(2, new Error('down'), LATER);
      expect(ballot.takeRepairs()).toEqual([]);
      expect(ballot.verdict).toBeInstanceOf(AggregateError);
    });
  });

  it('takes those who have not answered in time for failed', () => {
    const ballot = told('k', 3);
    ballot.timeUp((node) => new Error(`slow ${node}`), at(50));
    expect(ballot.verdict).toMatchObject({ errors: [new Error('slow 1'), new Error('slow 2')] });
  });
});
