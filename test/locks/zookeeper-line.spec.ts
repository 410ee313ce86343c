import { lineOf, type Place, predecessorOf, prefixOf } from '../../lib/locks/zookeeper/line.js';
import { zookeeperLock } from '../../lib/locks/zookeeper/index.js';
import { parseConnectString } from '../../lib/zookeeper/servers.js';

describe('the line', () => {
  const node = (token: string, sequence: string, session = 7n) => `${prefixOf(token, session)}${sequence}`;
  const tokens = (line: readonly Place[]) => line.map(({ token }) => token);

  it('goes by the number alone, whatever the names', () => {
    const line = lineOf([node('a', '0000000012'), node('z', '0000000002'), node('m', '0000000007')]);
    expect(tokens(line)).toEqual(['z', 'm', 'a']);
    expect(line.map((place) => predecessorOf(place, line)?.token)).toEqual([undefined, 'z', 'm']);
  });

  it('F17 goes on where the number overflows', () => {
    const numbers = ['2147483646', '2147483647', '-2147483648', '-2147483647'];
    const line = lineOf(numbers.toReversed().map((number) => node(number, number)));
    expect(tokens(line)).toEqual(numbers);
    expect(predecessorOf(line[2]!, line)).toBe(line[1]);
  });

  it('F17 of two with the same number nobody is first', () => {
    const line = lineOf([node('a', '2147483647'), node('b', '2147483647')]);
    expect(line.map((place) => predecessorOf(place, line)?.token)).toEqual(['b', 'a']);
  });

  it('reads back what it writes, and passes over what others wrote', () => {
    const odd = ['a b', 'ä', 'a/b', 'a@b', 'a-b', '%', '..', '😀'];
    for (const token of odd) {
      for (const session of [1n, -1n, 2n ** 63n - 1n, -(2n ** 63n)]) {
        expect(prefixOf(token, session)).not.toContain('/');
        const [place] = lineOf([node(token, '0000000001', session)]);
        expect(place).toMatchObject({ token, session, sequence: 1 });
      }
    }
    expect(lineOf(['_c_9b2-lock-0000000001', 'lock-1', '@1-1', 'a@x-1', '%@1-1', ''])).toEqual([]);
  });
});

describe('connect strings', () => {
  it.each([
    ['zk', [{ host: 'zk', port: 2181 }], ''],
    [
      'zk1:2182,zk2',
      [
        { host: 'zk1', port: 2182 },
        { host: 'zk2', port: 2181 },
      ],
      '',
    ],
    [
      '10.0.0.1:1, [::1]:2/app/locks/',
      [
        { host: '10.0.0.1', port: 1 },
        { host: '::1', port: 2 },
      ],
      '/app/locks',
    ],
    ['zk/', [{ host: 'zk', port: 2181 }], ''],
  ])('%s', (text, servers, chroot) => {
    expect(parseConnectString(text)).toEqual({ servers, chroot });
  });

  it.each(['', ',', 'zk:', 'zk:0', 'zk:65536', 'zk:x', 'zk1,,zk2', 'zk//a', '::1', 'http://zk:2181', 'a b'])(
    '%j is none',
    (text) => {
      expect(parseConnectString(text)).toBeUndefined();
    },
  );
});

describe('G83 options', () => {
  it.each<[unknown, string]>([
    [undefined, 'connect is undefined'],
    [{ connect: 'zk:2181,' }, 'connect is "zk:2181,"; it must be like \'host:2181\''],
    [{ connect: 'zk', sessionTimeoutMs: 0 }, 'sessionTimeoutMs is 0; it must be an integer of at least 200'],
    [{ connect: 'zk', sessionTimeoutMs: '10s' }, 'sessionTimeoutMs is "10s"'],
    [{ connect: 'zk', sessionTimeoutMs: 2 ** 31 }, 'sessionTimeoutMs is 2147483648'],
    [{ connect: 'zk', root: 'locks' }, 'root is "locks"; it must be an absolute path'],
    [{ connect: 'zk', root: '/' }, 'root is "/"'],
    [{ connect: 'zk', root: '/a/../b' }, 'root is "/a/../b"'],
  ])('%j', (options, message) => {
    expect(() => zookeeperLock(options as never)).toThrow(message);
    expect(() => zookeeperLock(options as never)).toThrow(TypeError);
  });
});
