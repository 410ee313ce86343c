import { spawn } from 'node:child_process';

/** Anything started for a test that has to be gone after it. */
export interface Stoppable {
  stop(): Promise<void>;
}

const running = new Set<Stoppable>();

export function started<T extends Stoppable>(what: T): T {
  running.add(what);
  return what;
}

export function stopped(what: Stoppable): void {
  running.delete(what);
}

/** Stops what this spec file started and did not stop. */
export async function stopEverything(): Promise<void> {
  await Promise.all([...running].map((what) => what.stop()));
}

export interface Guard {
  /** From now on this process is to be ended; undefined: none. */
  watch(pid: number | undefined): void;
  /** Everything has been cleaned up. */
  dismiss(): void;
}

/**
 * A shell that waits for the end of its standard input, which comes when this process ends for whatever
 * reason, SIGKILL included. Then it ends the guarded process and its children and removes the folder.
 */
const GUARD_SCRIPT = `
trap '' INT TERM HUP
pid=
while read -r word; do
  [ "$word" = dismissed ] && exit 0
  pid=$word
  [ "$word" = none ] && pid=
done
if [ -n "$pid" ]; then
  all="$pid $(cat /proc/$pid/task/$pid/children 2>/dev/null || pgrep -P "$pid")"
  kill -CONT $all
  kill -s "$1" $pid
  for i in 1 2 3 4 5 6 7 8 9 10; do kill -0 "$pid" || break; sleep 0.2; done
  kill -KILL $all
fi 2>/dev/null
[ -z "$2" ] || rm -rf "$2"
`;

export function startGuard(signal: 'TERM' | 'QUIT' | 'KILL', folder = ''): Guard {
  const shell = spawn('sh', ['-c', GUARD_SCRIPT, 'guard', signal, folder], {
    stdio: ['pipe', 'ignore', 'ignore'],
    detached: true,
  });
  shell.unref();
  // The shell may be gone before its last line is written; then there is nothing left to guard.
  shell.stdin.on('error', () => undefined);
  (shell.stdin as unknown as { unref(): void }).unref();
  return {
    watch: (pid) => void shell.stdin.write(`${pid ?? 'none'}\n`),
    dismiss: () => void shell.stdin.end('dismissed\n'),
  };
}
