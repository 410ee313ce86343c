import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { compile } from './compile.mjs';

const LIB = new URL('../../lib/', import.meta.url);

export async function resolve(specifier, context, nextResolve) {
  const own = /^nestjs-idempotent(?:\/(.+))?$/.exec(specifier);
  if (own) return nextResolve(sourceOf(own[1]), context);
  if (/^\.{1,2}\/.*\.js$/.test(specifier) && context.parentURL?.endsWith('.ts')) {
    const source = new URL(specifier.replace(/js$/, 'ts'), context.parentURL);
    if (existsSync(source)) return nextResolve(source.href, context);
  }
  return nextResolve(specifier, context);
}

/** lib/index.ts for the root entry; lib/<subpath>/index.ts or lib/<subpath>.ts for the others. */
function sourceOf(subpath) {
  if (!subpath) return new URL('index.ts', LIB).href;
  const folder = new URL(`${subpath}/index.ts`, LIB);
  return existsSync(folder) ? folder.href : new URL(`${subpath}.ts`, LIB).href;
}

export async function load(url, context, nextLoad) {
  if (!url.startsWith('file:') || !url.endsWith('.ts') || url.includes('/node_modules/')) {
    return nextLoad(url, context);
  }
  const source = await compile(fileURLToPath(url));
  return { format: 'module', source, shortCircuit: true };
}
