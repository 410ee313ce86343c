import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  chownSync,
  closeSync,
  existsSync,
  mkdtempSync,
  openSync,
  readFileSync,
  readdirSync,
  rmSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Guard, type Stoppable, startGuard, started, stopped } from './cleanup.js';
import { freePort } from './ports.js';

const READY_TIMEOUT_MS = 60_000;
const STOP_TIMEOUT_MS = 20_000;

/** A real server in a process of its own, on a loopback port, with its data in a throwaway folder. */
export interface Server extends Stoppable, AsyncDisposable {
  readonly port: number;
  readonly url: string;
  readonly pid: number;
  /** Ends it and removes its data. */
  stop(): Promise<void>;
  /** SIGKILL: it and its children are gone, connections are reset, data stays. */
  kill(): Promise<void>;
  /** SIGSTOP: connections stay open and connects succeed, but nothing answers any more. */
  pause(): Promise<void>;
  /** SIGCONT. */
  resume(): Promise<void>;
  /** Ends it in an orderly way, unless it is dead already, and starts it again on the same port and data. */
  restart(): Promise<void>;
}

/** What differs between the servers. */
export interface Recipe {
  readonly name: string;
  readonly command: string;
  url(port: number): string;
  args(port: number, folder: string): string[];
  /** The signal of an orderly end, as before a restart. */
  readonly restartSignal: NodeJS.Signals;
  /** The signal of an end after which the data is thrown away. */
  readonly stopSignal: 'QUIT' | 'KILL';
  /** The account it runs under when the tests run as root. */
  readonly user?: Account;
  /** Fills the fresh data folder. */
  prepare?(folder: string): Promise<void>;
  /** Writes what depends on the port. Called before every start. */
  configure?(port: number, folder: string): void;
  /** Rejects as long as the server does not serve. */
  ping(port: number): Promise<void>;
  /** Frees what lies outside of the data folder. */
  cleanUp?(folder: string): void;
}

export interface Account {
  readonly uid: number;
  readonly gid: number;
}

/** The account of that name when running as root, which some servers refuse to run as. */
export function accountForRoot(name: string): Account | undefined {
  if (process.getuid?.() !== 0) return undefined;
  const line = readFileSync('/etc/passwd', 'utf8').match(new RegExp(`^${name}:[^:]*:(\\d+):(\\d+):`, 'm'));
  if (!line) throw new Error(`there is no account ${name} to run the server under`);
  return { uid: Number(line[1]), gid: Number(line[2]) };
}

/** MariaDB empties the temporary folder of the tables of others when it starts: each has its own. */
export function environmentIn(folder: string): NodeJS.ProcessEnv {
  return { PATH: process.env.PATH, LC_ALL: 'C', TMPDIR: folder };
}

export class ServerProcess implements Server {
  readonly folder: string;
  port = 0;
  #recipe: Recipe;
  #guard: Guard;
  #process: ChildProcess | undefined;

  private constructor(recipe: Recipe) {
    this.#recipe = recipe;
    this.folder = mkdtempSync(join(tmpdir(), `idempotent-${recipe.name}-`));
    if (recipe.user) chownSync(this.folder, recipe.user.uid, recipe.user.gid);
    this.#guard = startGuard(recipe.stopSignal, this.folder);
  }

  static async start(recipe: Recipe, port?: number): Promise<ServerProcess> {
    const server = started(new ServerProcess(recipe));
    try {
      await recipe.prepare?.(server.folder);
      for (let attempt = 1; ; attempt += 1) {
        server.port = port ?? (await freePort());
        try {
          await server.#launch();
          return server;
        } catch (error) {
          // Somebody else may have taken the port in between.
          if (port !== undefined || attempt === 3) throw error;
        }
      }
    } catch (error) {
      await server.stop();
      throw error;
    }
  }

  get url(): string {
    return this.#recipe.url(this.port);
  }

  get pid(): number {
    return this.#process?.pid ?? 0;
  }

  async stop(): Promise<void> {
    await this.#end(`SIG${this.#recipe.stopSignal}`);
    this.#recipe.cleanUp?.(this.folder);
    rmSync(this.folder, { recursive: true, force: true });
    this.#guard.dismiss();
    stopped(this);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.stop();
  }

  async kill(): Promise<void> {
    if (!isRunning(this.#process)) return;
    const child = this.#process;
    const gone = once(child, 'exit');
    // Stopped first, so that it starts no further children while they are listed.
    child.kill('SIGSTOP');
    const children = childrenOf(this.pid);
    signal([this.pid, ...children], 'SIGKILL');
    await gone;
    await until(() => children.every((pid) => ['', 'Z'].includes(stateOf(pid))), 'its children to end');
  }

  async pause(): Promise<void> {
    this.#assertRunning();
    signal([this.pid], 'SIGSTOP');
    await until(() => stateOf(this.pid) === 'T', 'it to stop');
    signal(childrenOf(this.pid), 'SIGSTOP');
  }

  async resume(): Promise<void> {
    this.#assertRunning();
    signal([...childrenOf(this.pid), this.pid], 'SIGCONT');
  }

  async restart(): Promise<void> {
    await this.#end(this.#recipe.restartSignal);
    await this.#launch();
  }

  async #launch(): Promise<void> {
    this.#recipe.configure?.(this.port, this.folder);
    const log = openSync(join(this.folder, 'server.log'), 'a');
    const child = spawn(this.#recipe.command, this.#recipe.args(this.port, this.folder), {
      cwd: this.folder,
      stdio: ['ignore', log, log],
      env: environmentIn(this.folder),
      // Out of the terminal's process group: an interrupt is for the tests, the guard does the rest.
      detached: true,
      ...this.#recipe.user,
    });
    closeSync(log);
    this.#process = child;
    this.#guard.watch(child.pid);
    child.once('exit', () => this.#guard.watch(undefined));
    let failure: Error | undefined;
    child.once('error', (error) => (failure = error));

    const deadline = performance.now() + READY_TIMEOUT_MS;
    for (;;) {
      try {
        await this.#recipe.ping(this.port);
        // It may have been another server that answered, on a port that was taken.
        await sleep(5);
        if (isRunning(child)) return;
      } catch (error) {
        failure ??= isRunning(child) ? undefined : new Error('it exited');
        if (performance.now() > deadline) failure ??= error as Error;
      }
      if (failure || !isRunning(child)) break;
      await sleep(20);
    }
    await this.kill();
    throw new Error(`${this.#recipe.name} did not start:\n${this.#log()}`, { cause: failure });
  }

  async #end(how: NodeJS.Signals): Promise<void> {
    if (!isRunning(this.#process)) return;
    const gone = once(this.#process, 'exit').then(() => true);
    signal([...childrenOf(this.pid), this.pid], 'SIGCONT');
    signal([this.pid], how);
    const abort = new AbortController();
    const late = sleep(STOP_TIMEOUT_MS, false, { signal: abort.signal }).catch(() => false);
    if (!(await Promise.race([gone, late]))) await this.kill();
    abort.abort();
  }

  #assertRunning(): void {
    if (!isRunning(this.#process)) throw new Error(`${this.#recipe.name} is not running`);
  }

  #log(): string {
    return readFileSync(join(this.folder, 'server.log'), 'utf8').slice(-4_000);
  }
}

function isRunning(child: ChildProcess | undefined): child is ChildProcess {
  return child?.pid !== undefined && child.exitCode === null && child.signalCode === null;
}

function signal(pids: readonly number[], name: NodeJS.Signals): void {
  for (const pid of pids) {
    try {
      process.kill(pid, name);
    } catch (error) {
      // It ended by itself in between.
      if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
    }
  }
}

/** PostgreSQL's backends are processes, each in a group of its own: what is done to one is done to all. */
function childrenOf(pid: number): number[] {
  return [...processTable()].filter(([, { parent }]) => parent === pid).map(([child]) => child);
}

/** `T` when stopped, `Z` when ended but not yet waited for, empty when gone. */
function stateOf(pid: number): string {
  return processTable().get(pid)?.state ?? '';
}

function processTable(): Map<number, { state: string; parent: number }> {
  const lines = existsSync('/proc/self/stat')
    ? readdirSync('/proc')
        .filter((name) => /^\d+$/.test(name))
        .map(statOf)
    : execFileSync('ps', ['-A', '-o', 'pid=,state=,ppid='], { encoding: 'utf8' }).split('\n');
  const fields = lines.map((line) => line.trim().split(/\s+/));
  return new Map(
    fields.map(([pid, state = '', parent]) => [
      Number(pid),
      { state: state.slice(0, 1), parent: Number(parent) },
    ]),
  );
}

/** Number, state and parent of a process; empty when it is gone. The name between them may contain anything. */
function statOf(pid: string): string {
  try {
    return readFileSync(`/proc/${pid}/stat`, 'latin1').replace(/ \(.*\) /s, ' ');
  } catch {
    return '';
  }
}

async function until(condition: () => boolean, what: string): Promise<void> {
  const deadline = performance.now() + 5_000;
  while (!condition()) {
    if (performance.now() > deadline) throw new Error(`waited in vain for ${what}`);
    await sleep(1);
  }
}
