/** The package holds the build and its papers, all of them and nothing else. */
import { execFileSync } from 'node:child_process';

const REQUIRED = ['package.json', 'README.md', 'LICENSE', 'CHANGELOG.md', 'dist/index.js', 'dist/index.d.ts'];
const ALLOWED = /^dist\/.+\.(js|d\.ts)$/;

const json = execFileSync('npm', ['pack', '--dry-run', '--json', '--ignore-scripts'], { encoding: 'utf8' });
const files = JSON.parse(json)[0].files.map(({ path }) => path);

const missing = REQUIRED.filter((path) => !files.includes(path));
const surplus = files.filter((path) => !REQUIRED.includes(path) && !ALLOWED.test(path));
if (missing.length > 0) console.error(`Missing in the package: ${missing.join(', ')}`);
if (surplus.length > 0) console.error(`Does not belong into the package: ${surplus.join(', ')}`);
if (missing.length > 0 || surplus.length > 0) process.exit(1);
console.log(`${files.length} files in the package`);
