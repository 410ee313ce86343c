/**
 * The first step of `npm test`: installs the servers the tests start, as root on Debian and its kin;
 * elsewhere names the command that does.
 */
import { spawnSync } from 'node:child_process';
import { findBinary, findRabbitMq, findZooKeeper } from './server-binaries.js';

interface ServerPackage {
  readonly binaries: readonly string[];
  /** Whether what is no program is there. */
  readonly isThere?: () => boolean;
  readonly debian: string;
  readonly brew: string;
}

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
];

function missing(): readonly ServerPackage[] {
  return SERVERS.filter(({ binaries, isThere }) => !binaries.every(findBinary) || isThere?.() === false);
}

function run(command: string): void {
  console.log(`> ${command}`);
  const { status, error } = spawnSync(command, {
    shell: true,
    stdio: ['ignore', 'inherit', 'inherit'],
    env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' },
  });
  if (error || status !== 0) fail(`It failed: ${command}`);
}

function fail(message: string): never {
  console.error(message);
  process.exit(1);
}

function installCommands(): string[] {
  const packages = missing()
    .map(({ debian }) => debian)
    .join(' ');
  return [
    'apt-get -o DPkg::Lock::Timeout=120 update',
    `apt-get -o DPkg::Lock::Timeout=120 install -y --no-install-recommends ${packages}`,
  ];
}

if (missing().length > 0) {
  const names = missing()
    .map(({ debian }) => debian)
    .join(', ');
  const apt = findBinary('apt-get') !== undefined;
  if (apt && process.getuid?.() === 0) {
    console.log(`Installing what the tests need: ${names}`);
    for (const command of installCommands()) run(command);
    if (missing().length > 0) fail(`Still missing after the installation: ${names}`);
  } else {
    const how = apt
      ? installCommands()
          .map((command) => `sudo ${command}`)
          .join(' && ')
      : `brew install ${missing()
          .map(({ brew }) => brew)
          .join(' ')}`;
    fail(`The tests start real servers. Missing: ${names}. Install with:\n\n  ${how}\n`);
  }
}
