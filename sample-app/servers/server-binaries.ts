import { accessSync, constants, existsSync, readdirSync } from 'node:fs';
import { delimiter, join } from 'node:path';

/** Folders that hold servers but are not on everybody's PATH. Newest PostgreSQL first. */
function folders(): string[] {
  return [
    ...(process.env.PATH ?? '').split(delimiter),
    '/usr/sbin',
    '/usr/local/sbin',
    '/usr/lib/erlang/bin',
    ...versions('/usr/lib/postgresql').map((version) => `/usr/lib/postgresql/${version}/bin`),
  ];
}

function versions(folder: string): string[] {
  try {
    return readdirSync(folder).toSorted((a, b) => Number.parseFloat(b) - Number.parseFloat(a));
  } catch {
    return [];
  }
}

/** Full path of a program, or undefined when the machine lacks it. */
export function findBinary(name: string): string | undefined {
  return folders()
    .map((folder) => join(folder, name))
    .find(isExecutable);
}

/** Where packages put ZooKeeper: a file that is there with it, and its class path. Debian's jar names the rest. */
const ZOOKEEPERS: readonly (readonly [string, string])[] = [
  ['/usr/share/java/zookeeper.jar', '/usr/share/java/zookeeper.jar'],
  ['/opt/homebrew/opt/zookeeper/libexec/lib', '/opt/homebrew/opt/zookeeper/libexec/lib/*'],
  ['/usr/local/opt/zookeeper/libexec/lib', '/usr/local/opt/zookeeper/libexec/lib/*'],
];

/** For Java; undefined when the machine lacks ZooKeeper. */
export function findZooKeeper(): string | undefined {
  return ZOOKEEPERS.find(([file]) => existsSync(file))?.[1];
}

/** The script itself: the one on the PATH of Debian changes to an account and folders of its own. */
const RABBITMQS = [
  '/usr/lib/rabbitmq/bin/rabbitmq-server',
  '/opt/homebrew/opt/rabbitmq/sbin/rabbitmq-server',
  '/usr/local/opt/rabbitmq/sbin/rabbitmq-server',
];

export function findRabbitMq(): string | undefined {
  return RABBITMQS.find(isExecutable);
}

const BROWSERS = [
  '/Applications/Chromium.app/Contents/MacOS/Chromium',
  '/Applications/Google Chrome.app/Contents/MacOS/Google Chrome',
];

/** Chromium or a kin, which the tests of the pages drive. */
export function findBrowser(): string | undefined {
  const onPath = ['chromium', 'chromium-browser', 'google-chrome'].map(findBinary).find(Boolean);
  return onPath ?? BROWSERS.find(isExecutable);
}

export function binary(name: string): string {
  const path = findBinary(name);
  if (!path) throw new Error(`${name} is not installed. Run: npm run test:servers`);
  return path;
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}
