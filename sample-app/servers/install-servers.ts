/**
 * The first step of `npm test` and `npm run lab`: installs the servers that tests and lab start, as root on Debian and its kin;
 * elsewhere names the command that does. With `--browser` also the browser that the tests of the pages drive.
 */
import { spawnSync } from 'node:child_process';
import { findBinary } from './server-binaries.js';
import { aptCommands, installCommand, missingPackages } from './server-packages.js';

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

const wanted = { browser: process.argv.includes('--browser') };
const missing = missingPackages(wanted);
if (missing.length > 0) {
  const names = missing.map(({ debian }) => debian).join(', ');
  if (findBinary('apt-get') !== undefined && process.getuid?.() === 0) {
    console.log(`Installing what is started here: ${names}`);
    for (const command of aptCommands(missing)) run(command);
    if (missingPackages(wanted).length > 0) fail(`Still missing after the installation: ${names}`);
  } else {
    fail(`Real servers are started here. Missing: ${names}. Install with:\n\n  ${installCommand(missing)}\n`);
  }
}
