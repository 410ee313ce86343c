/** `node --import ./test/support/loader.mjs file.ts` runs TypeScript, with `nestjs-idempotent` being lib/. */
import { register } from 'node:module';

register('./loader-hooks.mjs', import.meta.url);
