export interface ServerAddress {
  readonly host: string;
  readonly port: number;
}

export interface ConnectString {
  readonly servers: readonly ServerAddress[];
  /** Begins every path; empty or like `/app`. */
  readonly chroot: string;
}

const DEFAULT_PORT = 2181;
const SERVER = /^(?:\[([0-9a-fA-F:.]+)\]|([^\s:/[\]@,]+))(?::(\d{1,5}))?$/;
const CHROOT = /^(\/[^/\s]+)+$/;

/** `host:port,host:port/chroot`, as ZooKeeper's own clients have it. @returns undefined when it is not. */
export function parseConnectString(text: string): ConnectString | undefined {
  const slash = text.indexOf('/');
  const list = slash < 0 ? text : text.slice(0, slash);
  const chroot = slash < 0 ? '' : text.slice(slash).replace(/\/$/, '');
  if (chroot && !CHROOT.test(chroot)) return undefined;
  const servers: ServerAddress[] = [];
  for (const part of list.split(',')) {
    const [, v6, name, digits] = SERVER.exec(part.trim()) ?? [];
    const host = v6 ?? name;
    const port = digits === undefined ? DEFAULT_PORT : Number(digits);
    if (!host || port < 1 || port > 65_535) return undefined;
    servers.push({ host, port });
  }
  return { servers, chroot };
}
