import { findBinary, findBrowser, findRabbitMq, findZooKeeper } from './server-binaries.js';

export interface ServerPackage {
  readonly binaries: readonly string[];
  /** Whether what is no program is there. */
  readonly isThere?: () => boolean;
  readonly debian: string;
  readonly brew: string;
}

/** The servers that tests and the lab start. */
const SERVERS: readonly ServerPackage[] = [
  { binaries: ['redis-server'], debian: 'redis-server', brew: 'redis' },
  { binaries: ['postgres', 'initdb'], debian: 'postgresql', brew: 'postgresql' },
  { binaries: ['mariadbd', 'mariadb-install-db'], debian: 'mariadb-server', brew: 'mariadb' },
  {
    binaries: ['java'],
    isThere: () => findZooKeeper() !== undefined,
    debian: 'default-jre-headless libzookeeper-java',
    brew: 'zookeeper',
  },
  {
    binaries: ['erl', 'epmd'],
    isThere: () => findRabbitMq() !== undefined,
    debian: 'rabbitmq-server',
    brew: 'rabbitmq',
  },
  { binaries: ['nats-server'], debian: 'nats-server', brew: 'nats-server' },
  { binaries: ['mosquitto'], debian: 'mosquitto', brew: 'mosquitto' },
];

/** No server: only the tests of the pages want it. */
const BROWSER: ServerPackage = {
  binaries: [],
  isThere: () => findBrowser() !== undefined,
  debian: 'chromium',
  brew: '--cask chromium',
};

/** Servers, and the browser if it is wanted. */
export function missingPackages({ browser }: { browser: boolean }): readonly ServerPackage[] {
  return [...missingServers(), ...(browser && !BROWSER.isThere?.() ? [BROWSER] : [])];
}

export function missingServers(): readonly ServerPackage[] {
  return SERVERS.filter(({ binaries, isThere }) => !binaries.every(findBinary) || isThere?.() === false);
}

/** As root on Debian and its kin. */
export function aptCommands(packages: readonly ServerPackage[]): string[] {
  const names = packages.map(({ debian }) => debian).join(' ');
  return [
    'apt-get -o DPkg::Lock::Timeout=120 update',
    `apt-get -o DPkg::Lock::Timeout=120 install -y --no-install-recommends ${names}`,
  ];
}

/** What somebody types to install them here. */
export function installCommand(packages: readonly ServerPackage[]): string {
  if (findBinary('apt-get') === undefined)
    return `brew install ${packages.map(({ brew }) => brew).join(' ')}`;
  return aptCommands(packages)
    .map((command) => (process.getuid?.() === 0 ? command : `sudo ${command}`))
    .join(' && ');
}
