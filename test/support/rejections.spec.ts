import { startProcess } from './processes.js';

const CONFIG = 'test/support/fixtures/rejections/jest.config.mjs';

it.each([
  { file: 'unhandled', code: 1, says: 'nobody listens' },
  { file: 'late', code: 1, says: 'Node would have exited' },
  { file: 'handled', code: 0, says: '1 passed' },
])('a test with a rejection that is $file ends Jest with $code', async ({ file, code, says }) => {
  await using jest = startProcess('node_modules/jest/bin/jest.js', {
    execArgv: ['--experimental-vm-modules'],
    args: ['-c', CONFIG, `/${file}.fixture`],
  });
  const exit = await jest.exited;
  expect(exit.stderr).toContain(says);
  expect(exit.code).toBe(code);
});
