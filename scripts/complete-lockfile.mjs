/**
 * `npm ci` refuses a lockfile that lacks an optional package, and npm leaves out those its registry does not
 * serve: on a mirror without the binaries of other platforms it writes a lockfile nobody else can install.
 * This adds them. Their version and platform follow from the package that asks for them and from their name;
 * they stay without an integrity until npm writes one. `--check` only looks.
 */
import { readFileSync, writeFileSync } from 'node:fs';

const FILE = 'package-lock.json';
const lockfile = JSON.parse(readFileSync(FILE, 'utf8'));
const added = new Map();

for (const [path, entry] of Object.entries(lockfile.packages)) {
  for (const [name, version] of Object.entries(entry.optionalDependencies ?? {})) {
    if (isLocked(path, name)) continue;
    if (!/^\d+\.\d+\.\d+[\w.-]*$/.test(version))
      throw new Error(`${path} asks for ${name}@${version}: which?`);
    added.set(`node_modules/${name}`, {
      version,
      ...(entry.dev && { dev: true }),
      optional: true,
      ...platformOf(name),
    });
  }
}

/** As Node looks for it: beside the package, then in every folder above. */
function isLocked(path, name) {
  for (let folder = path; ; folder = folder.slice(0, Math.max(0, folder.lastIndexOf('/node_modules/')))) {
    if (lockfile.packages[`${folder}${folder && '/'}node_modules/${name}`]) return true;
    if (!folder.includes('/node_modules/')) break;
  }
  return lockfile.packages[`node_modules/${name}`] !== undefined;
}

/** From a name like `@swc/core-linux-arm64-musl`. */
function platformOf(name) {
  const pattern =
    /(android|darwin|freebsd|linux|openharmony|win32)-(arm64|arm|ia32|loong64|ppc64|riscv64|s390x|x64)(?:-(gnu|musl))?/;
  const [, os, cpu, libc] = pattern.exec(name) ?? [];
  if (!os) throw new Error(`${name}: for which platform?`);
  const libcOf = { gnu: ['glibc'], musl: ['musl'] };
  return { cpu: [cpu], os: [os], ...(os === 'linux' && libc && { libc: libcOf[libc] }) };
}

if (added.size > 0 && process.argv.includes('--check')) {
  console.error(`${FILE} lacks ${[...added.keys()].join(', ')}. Run: node scripts/complete-lockfile.mjs`);
  process.exit(1);
}
if (added.size > 0) {
  const packages = Object.entries(lockfile.packages).concat([...added]);
  lockfile.packages = Object.fromEntries(packages.sort(([a], [b]) => a.localeCompare(b, 'en')));
  writeFileSync(FILE, `${JSON.stringify(lockfile, null, 2)}\n`);
}
console.log(`${added.size} packages added to ${FILE}`);
