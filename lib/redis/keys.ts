import { createHash } from 'node:crypto';

export const DEFAULT_KEY_PREFIX = 'idem:';

const LONGEST_NAME = 200;

/**
 * Names of keys. All begin with the prefix and one of 4096 hash tags made of the name: what belongs to one
 * name is in one slot of a Redis Cluster, and braces in the name do not matter.
 *
 * The last fence is kept per tag, not per name. So there is a bounded number of them and they need no expiry:
 * a counter per name would be either left behind for ever or forgotten too early.
 */
export class KeySpace {
  constructor(private readonly prefix = DEFAULT_KEY_PREFIX) {}

  key(kind: 'lock' | 'record' | 'audit' | 'reserved', name: string): string {
    return `${this.tagged(name)}:${kind}:${shortened(name)}`;
  }

  fence(name: string): string {
    return `${this.tagged(name)}:fence`;
  }

  /** Glob that all keys of a kind match, whatever the name. */
  pattern(kind: 'record', clientPrefix: string): string {
    const literal = (clientPrefix + this.prefix).replace(/[\\*?[\]^]/g, '\\$&');
    return `${literal}{*}:${kind}:*`;
  }

  private tagged(name: string): string {
    return `${this.prefix}{${tagOf(name)}}`;
  }
}

/** Everything up to the end of the hash tag: keys of one slot have it in common. */
export function slotOf(key: string): string {
  return key.slice(0, key.indexOf('}'));
}

/** FNV-1a, folded to three hex digits. */
function tagOf(name: string): string {
  let hash = 0x811c9dc5;
  for (let at = 0; at < name.length; at++) hash = Math.imul(hash ^ name.charCodeAt(at), 0x01000193);
  return ((hash ^ (hash >>> 12) ^ (hash >>> 24)) & 0xfff).toString(16);
}

/**
 * Long names become a digest. So do those with surrogates, because two lone ones would become the same
 * UTF-8 bytes, and those that look like a digest.
 */
function shortened(name: string): string {
  if (name.length <= LONGEST_NAME && !/^#|[\ud800-\udfff]/.test(name)) return name;
  return `#${createHash('sha256').update(name, 'utf16le').digest('hex')}`;
}

/** Redis takes whole milliseconds, and at least one. */
export function wholeMs(ms: number): number {
  return Math.max(1, Math.ceil(ms));
}
