import { Probation } from '../../lib/locks/redis/redlock-probation.js';

const LIFE_MS = 10_000;
/** A full life, 1 % and 2 ms. */
const FULL_MS = 10_102;
const run = (uptimeSeconds: number, id = 'first') => ({ id, uptimeSeconds });

describe('G66 how long a server has no vote', () => {
  function connectedAt(now: number, uptimeSeconds: number): Probation {
    const probation = new Probation();
    probation.connected(now, run(uptimeSeconds));
    return probation;
  }

  it('nobody knows before it is connected, and while its connection is broken', () => {
    const probation = new Probation();
    expect(probation.leftMs(0, LIFE_MS)).toBeUndefined();
    probation.connected(0, run(1_000));
    expect(probation.leftMs(0, LIFE_MS)).toBe(0);
    probation.broke(1);
    expect(probation.leftMs(1, LIFE_MS)).toBeUndefined();
  });

  it('is a full life from its start, whose second may be one later than it says', () => {
    expect(connectedAt(50_000, 0).leftMs(50_000, LIFE_MS)).toBe(FULL_MS);
    expect(connectedAt(50_000, 1).leftMs(50_000, LIFE_MS)).toBe(FULL_MS);
    expect(connectedAt(50_000, 4).leftMs(50_000, LIFE_MS)).toBe(FULL_MS - 3_000);
    expect(connectedAt(50_000, 11).leftMs(50_000, LIFE_MS)).toBe(102);
    expect(connectedAt(50_000, 12).leftMs(50_000, LIFE_MS)).toBe(0);
  });

  it('runs off on the clock of this process', () => {
    const probation = connectedAt(50_000, 0);
    expect(probation.leftMs(60_101, LIFE_MS)).toBe(1);
    expect(probation.leftMs(60_102, LIFE_MS)).toBe(0);
  });

  it('grows with the longest life seen', () => {
    const probation = connectedAt(50_000, 0);
    expect(probation.leftMs(61_000, LIFE_MS)).toBe(0);
    expect(probation.leftMs(61_000, 20_000)).toBe(50_000 + 20_202 - 61_000);
  });

  it('begins anew with each connection to a server that does not tell', () => {
    const probation = new Probation();
    probation.connected(1_000, undefined);
    expect(probation.leftMs(1_000, LIFE_MS)).toBe(FULL_MS);
    expect(probation.leftMs(12_000, LIFE_MS)).toBe(0);
    probation.broke(13_000);
    probation.connected(14_000, undefined);
    expect(probation.leftMs(14_000, LIFE_MS)).toBe(FULL_MS);
  });

  it('is nothing for the same server after a break of the connection', () => {
    const probation = connectedAt(50_000, 1_000);
    probation.broke(60_000);
    probation.connected(70_000, run(1_020));
    expect(probation.leftMs(70_000, LIFE_MS)).toBe(0);
  });

  it('is a full life from now for another server that says it has been up since before', () => {
    const probation = connectedAt(50_000, 1_000);
    probation.broke(60_000);
    // Each failed attempt to connect tells of a break as well.
    probation.broke(69_000);
    probation.connected(70_000, run(5_000, 'replica'));
    expect(probation.leftMs(70_000, LIFE_MS)).toBe(FULL_MS);
    probation.broke(71_000);
    probation.connected(90_000, run(5_020, 'replica'));
    expect(probation.leftMs(90_000, LIFE_MS)).toBe(0);
  });

  it('is counted from its start for a server started after the break', () => {
    const probation = connectedAt(50_000, 1_000);
    probation.broke(60_000);
    probation.connected(70_000, run(8, 'second'));
    expect(probation.leftMs(70_000, LIFE_MS)).toBe(FULL_MS - 7_000);
  });
});
