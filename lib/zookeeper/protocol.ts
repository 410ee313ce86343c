import { type JuteReader, JuteWriter } from './jute.js';

/** As in `org.apache.zookeeper.KeeperException.Code`. */
export const Code = {
  unimplemented: -6,
  noNode: -101,
  nodeExists: -110,
  notEmpty: -111,
} as const;

const NAMES: Readonly<Record<number, string>> = {
  [-1]: 'SystemError',
  [-4]: 'ConnectionLoss',
  [-5]: 'MarshallingError',
  [Code.unimplemented]: 'Unimplemented',
  [-7]: 'OperationTimeout',
  [-8]: 'BadArguments',
  [Code.noNode]: 'NoNode',
  [-102]: 'NoAuth',
  [-103]: 'BadVersion',
  [-108]: 'NoChildrenForEphemerals',
  [Code.nodeExists]: 'NodeExists',
  [Code.notEmpty]: 'NotEmpty',
  [-112]: 'SessionExpired',
  [-115]: 'AuthFailed',
  [-118]: 'SessionMoved',
  [-125]: 'QuotaExceeded',
  [-127]: 'ThrottledOp',
};

/** The server's refusal of one operation. */
export class ZooKeeperError extends Error {
  override readonly name = 'ZooKeeperError';

  constructor(
    readonly code: number,
    what: string,
  ) {
    super(`ZooKeeper refused ${what}: ${NAMES[code] ?? 'error'} (${code})`);
  }
}

/** The connection broke, or there was none in time: what was sent may or may not have been executed. */
export class ConnectionLostError extends Error {
  override readonly name = 'ConnectionLostError';
}

export function isRefusal(error: unknown, code: number): boolean {
  return error instanceof ZooKeeperError && error.code === code;
}

/** One operation. */
export interface Request<T> {
  readonly op: number;
  /** For messages. */
  readonly what: string;
  readonly body: JuteWriter;
  readonly decode: (reader: JuteReader) => T;
  /**
   * Whether it is the leader that answers, after a look at the session. A follower that has been cut off from
   * its leader goes on answering reads and pings, and does not know that the session is over.
   */
  readonly isByLeader: boolean;
}

export interface Stat {
  readonly czxid: bigint;
  /** Milliseconds since 1970 by the leader's clock. */
  readonly ctime: number;
  readonly mtime: number;
}

/** One entry: all rights to anyone. */
const WORLD = Buffer.from([
  0,
  0,
  0,
  1,
  0,
  0,
  0,
  31,
  0,
  0,
  0,
  5,
  ...Buffer.from('world'),
  0,
  0,
  0,
  6,
  ...Buffer.from('anyone'),
]);

export function createNode(
  path: string,
  data: string,
  kind: 'persistent' | 'container' | 'ephemeral-sequential',
): Request<{ path: string; stat: Stat }> {
  const [op, flags] = { persistent: [15, 0], container: [19, 4], 'ephemeral-sequential': [15, 3] }[kind] as [
    number,
    number,
  ];
  return {
    op,
    what: `create ${path}`,
    body: new JuteWriter().text(path).text(data).raw(WORLD).int(flags),
    decode: (reader) => ({ path: reader.text(), stat: statFrom(reader) }),
    isByLeader: true,
  };
}

export function deleteNode(path: string): Request<void> {
  const body = new JuteWriter().text(path).int(-1);
  return { op: 2, what: `delete ${path}`, body, decode: () => undefined, isByLeader: true };
}

export function statOf(path: string): Request<Stat> {
  const body = new JuteWriter().text(path).boolean(false);
  return { op: 3, what: `exists ${path}`, body, decode: statFrom, isByLeader: false };
}

export function getData(path: string, watch: boolean): Request<{ data: string; stat: Stat }> {
  return {
    op: 4,
    what: `getData ${path}`,
    body: new JuteWriter().text(path).boolean(watch),
    decode: (reader) => ({ data: reader.text(), stat: statFrom(reader) }),
    isByLeader: false,
  };
}

export function setData(path: string, data: string): Request<Stat> {
  const body = new JuteWriter().text(path).text(data).int(-1);
  return { op: 5, what: `setData ${path}`, body, decode: statFrom, isByLeader: true };
}

export function getChildren(path: string): Request<string[]> {
  const body = new JuteWriter().text(path).boolean(false);
  return { op: 8, what: `getChildren ${path}`, body, decode: (reader) => reader.texts(), isByLeader: false };
}

/** The reads that follow see everything that the leader has committed before. */
export function sync(): Request<void> {
  return {
    op: 9,
    what: 'sync',
    body: new JuteWriter().text('/'),
    decode: () => undefined,
    isByLeader: true,
  };
}

export function closeSession(): Request<void> {
  return {
    op: -11,
    what: 'closeSession',
    body: new JuteWriter(),
    decode: () => undefined,
    isByLeader: true,
  };
}

function statFrom(reader: JuteReader): Stat {
  const czxid = reader.long();
  reader.long(); // mzxid
  const [ctime, mtime] = [Number(reader.long()), Number(reader.long())];
  return { czxid, ctime, mtime };
}

/** What a watch tells. */
export interface WatchEvent {
  readonly type: 'deleted' | 'other';
  readonly path: string;
}

export function watchEventFrom(reader: JuteReader): WatchEvent {
  const type = reader.int() === 2 ? 'deleted' : 'other';
  reader.int(); // state of the connection
  return { type, path: reader.text() };
}
