/** Builds library and app, unless the build that is there is newer than what it is made of. */
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';

const ROOT = join(import.meta.dirname, '../..');
const SOURCES = ['lib', 'sample-app', 'package.json', 'tsconfig.json', 'nest-cli.json'];
const BUILT = ['dist/index.js', 'sample-app/dist/main.js', 'sample-app/dist/demo/demo.js'];

const built = BUILT.map((path) => join(ROOT, path));
const oldest = Math.min(...built.map((path) => (existsSync(path) ? statSync(path).mtimeMs : 0)));
const newest = Math.max(...SOURCES.map((path) => changedAt(join(ROOT, path))));
if (newest > oldest) {
  console.log('Building the library and the sample app …');
  const windows = process.platform === 'win32';
  const { status } = spawnSync('npm', ['run', '-s', 'build'], {
    cwd: ROOT,
    stdio: 'inherit',
    shell: windows,
  });
  process.exitCode = status ?? 1;
}

/** The last change of a file, or of anything in a folder. A folder changes when something in it goes away. */
function changedAt(path) {
  const stats = statSync(path);
  if (!stats.isDirectory()) return stats.mtimeMs;
  const inside = readdirSync(path).filter((name) => name !== 'dist');
  const own = inside.length === readdirSync(path).length ? stats.mtimeMs : 0;
  return Math.max(own, ...inside.map((name) => changedAt(join(path, name))));
}
