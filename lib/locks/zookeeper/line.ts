import { createHash } from 'node:crypto';

/** A contender's node in the line before a lock. */
export interface Place {
  readonly node: string;
  readonly token: string;
  /** Number of the session that made the node: an ephemeral node ends with it. */
  readonly session: bigint;
  readonly sequence: number;
}

/** Of the UTF-16 units: two lone surrogates would become the same UTF-8 bytes. */
export function folderOf(root: string, name: string): string {
  return `${root}/${createHash('sha256').update(name, 'utf16le').digest('hex')}`;
}

/**
 * The name of a contender's node but for the number that the server appends. Token and session tell whose it
 * is, also to the one who never heard that it was made.
 */
export function prefixOf(token: string, session: bigint): string {
  return `${encodeURIComponent(token)}@${BigInt.asUintN(64, session).toString(16)}-`;
}

const NODE = /^([^@/]+)@([0-9a-f]{1,16})-(-?\d{1,10})$/;

/** The contenders among the children of a lock's node, first come first. */
export function lineOf(children: readonly string[]): Place[] {
  return children.flatMap(placeFrom).toSorted((a, b) => behind(a, b) - behind(b, a));
}

function placeFrom(node: string): Place[] {
  const [, token, session, sequence] = NODE.exec(node) ?? [];
  if (token === undefined) return [];
  try {
    const id = BigInt.asIntN(64, BigInt(`0x${session}`));
    return [{ node, token: decodeURIComponent(token), session: id, sequence: Number(sequence) }];
  } catch {
    // Somebody else's node.
    return [];
  }
}

/**
 * Whether `place` came after `other`: 1 or 0. The number is a signed int that goes on at -2^31 after 2^31 - 1,
 * so what counts is the distance. In the overflow servers may give one number twice; then neither came first.
 */
function behind(place: Place, other: Place): number {
  return ((place.sequence - other.sequence) | 0) > 0 ? 1 : 0;
}

/** The nearest contender that `own` has to wait for; undefined: it is the turn of `own`. */
export function predecessorOf(own: Place, line: readonly Place[]): Place | undefined {
  return line.findLast((other) => other !== own && behind(other, own) === 0);
}
