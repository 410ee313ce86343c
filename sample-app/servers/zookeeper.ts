import { once } from 'node:events';
import { mkdirSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { freePort } from './ports.js';
import { binary, findZooKeeper } from './server-binaries.js';
import { type Server, ServerProcess } from './server-process.js';

/** `url` is `host:port`, for a connect string. */
export interface ZooKeeperServer extends Server {
  /** Its data is in `data`. */
  readonly folder: string;
}

export interface ZooKeeperOptions {
  /** The unit of its times, in milliseconds; sessions are ended at its multiples. */
  tickMs?: number;
  /** Further lines of its configuration. */
  config?: string[];
}

interface Member {
  readonly id: number;
  /** For the followers, and for elections. */
  readonly ports: readonly [number, number];
}

/** A server of its own. What it acknowledged survives a kill of the process. */
export function startZooKeeper(options: ZooKeeperOptions = {}): Promise<ZooKeeperServer> {
  return start(options, []);
}

/** Servers that elect a leader. */
export async function startZooKeeperEnsemble(options: ZooKeeperOptions = {}): Promise<ZooKeeperServer[]> {
  const members: Member[] = [];
  for (const id of [1, 2, 3]) members.push({ id, ports: [await freePort(), await freePort()] });
  const lines = members.map(({ id, ports }) => `server.${id}=127.0.0.1:${ports.join(':')}`);
  const config = [...(options.config ?? []), 'initLimit=50', 'syncLimit=50', ...lines];
  return Promise.all(members.map(({ id }) => start({ ...options, config }, [id])));
}

function start({ tickMs = 200, config = [] }: ZooKeeperOptions, [id]: number[]): Promise<ZooKeeperServer> {
  const classPath = findZooKeeper();
  if (!classPath) throw new Error('ZooKeeper is not installed. Run: npm run test:servers');
  return ServerProcess.start({
    name: 'zookeeper',
    command: binary('java'),
    url: (port) => `127.0.0.1:${port}`,
    restartSignal: 'SIGTERM',
    stopSignal: 'KILL',
    args: (_, folder) => [
      ...['-Xmx96m', '-XX:+UseSerialGC', '-XX:TieredStopAtLevel=1', '-Dzookeeper.forceSync=no'],
      ...['-cp', `${folder}:${classPath}`, 'org.apache.zookeeper.server.quorum.QuorumPeerMain', 'zoo.cfg'],
    ],
    configure: (port, folder) => {
      const data = join(folder, 'data');
      mkdirSync(data, { recursive: true });
      if (id !== undefined) writeFileSync(join(data, 'myid'), `${id}\n`);
      writeFileSync(join(folder, 'log4j.properties'), LOG4J);
      const lines = [
        `tickTime=${tickMs}`,
        `dataDir=${data}`,
        `clientPort=${port}`,
        'clientPortAddress=127.0.0.1',
        'admin.enableServer=false',
        '4lw.commands.whitelist=*',
        'maxClientCnxns=0',
        'maxSessionTimeout=60000',
        ...config,
      ];
      writeFileSync(join(folder, 'zoo.cfg'), lines.join('\n'));
    },
    ping: async (port) => {
      const answer = await fourLetters(port, 'srvr');
      if (!answer.includes('Mode: ')) throw new Error(answer || 'no answer');
    },
  });
}

const LOG4J = `log4j.rootLogger=WARN, console
log4j.appender.console=org.apache.log4j.ConsoleAppender
log4j.appender.console.layout=org.apache.log4j.PatternLayout
log4j.appender.console.layout.ConversionPattern=%d %p %c: %m%n
`;

/** Asks a server with one of its commands of four letters, such as `srvr`, `cons`, `wchp`. */
export async function fourLetters(port: number, command: string): Promise<string> {
  const socket = connect(port, '127.0.0.1');
  let answer = '';
  socket.setTimeout(2_000, () => socket.destroy(new Error(`no answer to ${command}`)));
  socket.setEncoding('utf8').on('data', (text: string) => (answer += text));
  const over = once(socket, 'close');
  socket.write(command);
  await over;
  return answer;
}

/** `leader`, `follower`, `standalone`; empty when it does not serve. */
export async function modeOf({ port }: ZooKeeperServer): Promise<string> {
  return /Mode: (\w+)/.exec(await fourLetters(port, 'srvr').catch(() => ''))?.[1] ?? '';
}
