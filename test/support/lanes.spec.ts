import { startProcess } from './processes.js';

it('tests in lanes run side by side, and what fails in one fails', async () => {
  await using jest = startProcess('node_modules/jest/bin/jest.js', {
    execArgv: ['--experimental-vm-modules'],
    args: ['-c', 'test/support/fixtures/lanes/jest.config.mjs', '--verbose', '-i'],
  });
  const { code, stderr } = await jest.exited;
  const marks = [...stderr.matchAll(/^ +([✓✕] .*?)(?: \(.*)?$/gm)].map(([, mark]) => mark);
  expect(marks).toHaveLength(8);
  expect(marks.filter((mark) => mark!.startsWith('✕'))).toEqual(['✕ fails always', '✕ tests nothing']);
  expect(stderr).toContain('did not start');
  expect(code).toBe(1);
});
