/** Run it through `npm run test:only`: Jest loads ES modules only under `--experimental-vm-modules`. */
export default {
  rootDir: import.meta.dirname,
  testMatch: ['<rootDir>/test/**/*.spec.ts'],
  testTimeout: 30_000,
  maxWorkers: 2,
  extensionsToTreatAsEsm: ['.ts'],
  transform: {
    '^.+\\.ts$': [
      '@swc/jest',
      {
        jsc: {
          target: 'es2022',
          parser: { syntax: 'typescript', decorators: true },
          transform: { legacyDecorator: true, decoratorMetadata: true },
          keepClassNames: true,
        },
        module: { type: 'es6' },
        sourceMaps: 'inline',
      },
    ],
  },
  moduleNameMapper: {
    '^nestjs-idempotent$': '<rootDir>/lib/index.ts',
    '^nestjs-idempotent/(.+)$': ['<rootDir>/lib/$1/index.ts', '<rootDir>/lib/$1.ts'],
    // The packages in node_modules come through here too: a `.js` that exists wins.
    '^(\\.{1,2}/.*)\\.js$': ['$1.js', '$1.ts'],
  },
  // An unhandled rejection fails the test it belongs to, else the file; see the environment for the rest.
  waitForUnhandledRejections: true,
  testEnvironment: '<rootDir>/test/support/jest/environment.mjs',
  testSequencer: '<rootDir>/test/support/jest/sequencer.mjs',
  setupFilesAfterEnv: ['<rootDir>/test/support/jest/after-each-file.ts'],
  globalSetup: '<rootDir>/test/support/jest/global-setup.mjs',
  globalTeardown: '<rootDir>/test/support/jest/global-teardown.mjs',
};
