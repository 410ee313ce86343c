import { copyFile, mkdir, mkdtemp, readFile, readdir, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { startGuard } from '../../../sample-app/servers/cleanup.ts';
import { compile } from '../compile.mjs';

const ROOT = fileURLToPath(new URL('../../../', import.meta.url));
const FOLDERS = ['lib', 'sample-app', 'test'];
const LEFT_OUT = /\.spec\.ts$|^sample-app\/dist\/|^test\/bench\//;

/**
 * What the processes of tests run, compiled once for all of them: the folders of the repository in a package of the
 * same name, whose entries are those of lib/. A process that compiles what it imports takes twice the time to start.
 */
export async function compileTree() {
  const folder = await mkdtemp(join(tmpdir(), 'idempotent-compiled-'));
  const guard = startGuard('KILL', folder);
  const { name, type, exports } = JSON.parse(await readFile(join(ROOT, 'package.json'), 'utf8'));
  const manifest = JSON.stringify({ name, type, exports }).replaceAll('"./dist/', '"./lib/');
  await writeFile(join(folder, 'package.json'), manifest);
  await symlink(join(ROOT, 'node_modules'), join(folder, 'node_modules'));
  const trees = await Promise.all(FOLDERS.map(filesIn));
  await Promise.all(trees.flat().map((path) => place(path, folder)));
  return {
    folder,
    stop: async () => {
      await rm(folder, { recursive: true });
      guard.dismiss();
    },
  };
}

async function filesIn(name) {
  const entries = await readdir(join(ROOT, name), { recursive: true, withFileTypes: true });
  return entries
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name).slice(ROOT.length))
    .filter((path) => !LEFT_OUT.test(path));
}

async function place(path, folder) {
  const target = join(folder, path);
  await mkdir(dirname(target), { recursive: true });
  if (path.endsWith('.ts')) await writeFile(target.replace(/ts$/, 'js'), await compile(join(ROOT, path)));
  else await copyFile(join(ROOT, path), target);
}
