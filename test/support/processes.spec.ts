import { startProcess } from './processes.js';

const ECHO = new URL('./fixtures/echo.ts', import.meta.url);

it('runs TypeScript, reads its lines and exchanges messages', async () => {
  await using child = startProcess(ECHO);
  const [, pid] = await child.waitForLine(/^ready (\d+)$/);
  expect(Number(pid)).toBe(child.pid);
  await child.send('hello');
  expect(await child.waitForMessage(() => true)).toEqual({ echo: 'hello' });
  await child.send('exit');
  expect(await child.exited).toEqual({ code: 0, signal: null, stderr: '' });
});

it('is killed', async () => {
  await using child = startProcess('test/support/fixtures/echo.ts');
  await child.waitForLine(/ready/);
  expect(await child.kill()).toMatchObject({ code: null, signal: 'SIGKILL' });
  expect(() => process.kill(child.pid, 0)).toThrow('ESRCH');
});

it('dies of an unhandled rejection and tells what it wrote to stderr', async () => {
  await using child = startProcess(ECHO);
  await child.waitForLine(/ready/);
  await child.send('reject');
  await expect(child.waitForLine(/never/)).rejects.toThrow(/ended without .* \(code 1[^]*nobody listens/);
});

it('tells why a file does not run', async () => {
  await using child = startProcess('test/support/fixtures/missing.ts');
  await expect(child.waitForLine(/ready/)).rejects.toThrow('MODULE_NOT_FOUND');
});
