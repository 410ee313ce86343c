import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

export interface ProcessOptions {
  args?: string[];
  /** Added to this process's environment. */
  env?: Record<string, string>;
  /** Further options of Node itself. */
  execArgv?: string[];
  cwd?: string;
}

export interface Exit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stderr: string;
}

/** A Node process running a program of a test. An unhandled rejection ends it. Outlives this process if nobody ends it. */
export class TestProcess implements AsyncDisposable {
  /** What it has printed so far. */
  readonly lines: string[] = [];
  /** What it has sent so far with `process.send()`. */
  readonly messages: unknown[] = [];
  /** Resolves when it has ended and all its output is here; never rejects. */
  readonly exited: Promise<Exit>;
  stderr = '';
  #child: ChildProcess;
  #exit: Exit | undefined;
  #news = new Set<() => void>();

  constructor(
    private readonly file: string,
    { args = [], env = {}, execArgv = [], cwd }: ProcessOptions,
  ) {
    // NODE_OPTIONS are those of the test runner; a program of a test has its own.
    const { NODE_OPTIONS: _, ...environment } = process.env;
    this.#child = spawn(process.execPath, ['--unhandled-rejections=strict', ...execArgv, file, ...args], {
      cwd,
      env: { ...environment, ...env },
      stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
      detached: true,
    });
    this.#child.stderr!.setEncoding('utf8').on('data', (text: string) => (this.stderr += text));
    createInterface({ input: this.#child.stdout! }).on('line', (line) => {
      this.lines.push(line);
      this.#tell();
    });
    this.#child.on('message', (message) => {
      this.messages.push(message);
      this.#tell();
    });
    this.exited = once(this.#child, 'close').then(
      ([code, signal]) => this.#ended({ code, signal, stderr: this.stderr }),
      (error) => this.#ended({ code: null, signal: null, stderr: String(error) }),
    );
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  get running(): boolean {
    return this.#exit === undefined;
  }

  /** The first line that matches, printed before or after this call. Rejects with its stderr when it ends without. */
  waitForLine(pattern: RegExp, timeoutMs = 20_000): Promise<RegExpExecArray> {
    return this.#waitFor(
      () => {
        for (const line of this.lines) {
          const match = pattern.exec(line);
          if (match) return match;
        }
        return undefined;
      },
      `a line like ${pattern}`,
      timeoutMs,
    );
  }

  /** The first message the predicate accepts. */
  waitForMessage<T>(accepts: (message: unknown) => message is T, timeoutMs?: number): Promise<T>;
  waitForMessage(accepts: (message: unknown) => boolean, timeoutMs?: number): Promise<unknown>;
  waitForMessage(accepts: (message: unknown) => boolean, timeoutMs = 20_000): Promise<unknown> {
    return this.#waitFor(() => this.messages.find(accepts), 'a message', timeoutMs);
  }

  /** Arrives there as `process.on('message')`. */
  async send(message: object | string | number | boolean): Promise<void> {
    await new Promise<void>((done, failed) =>
      this.#child.send(message, (error) =>
        error ? failed(this.#failure('cannot be sent a message', error)) : done(),
      ),
    );
  }

  /** Resolves once it is gone. A SIGTERM it ignores is waited for. */
  async kill(signal: NodeJS.Signals = 'SIGKILL'): Promise<Exit> {
    this.#child.kill(signal);
    return this.exited;
  }

  /** SIGSTOP: it runs no further, its connections and timers stand still. */
  pause(): void {
    this.#child.kill('SIGSTOP');
  }

  resume(): void {
    this.#child.kill('SIGCONT');
  }

  async stop(): Promise<void> {
    await this.kill('SIGKILL');
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.stop();
  }

  #ended(exit: Exit): Exit {
    this.#exit = exit;
    this.#tell();
    return exit;
  }

  #tell(): void {
    for (const listener of this.#news) listener();
  }

  #waitFor<T>(find: () => T | undefined, what: string, timeoutMs: number): Promise<T> {
    return new Promise((done, failed) => {
      const look = () => {
        const found = find();
        if (found !== undefined) finish(() => done(found));
        else if (this.#exit) finish(() => failed(this.#failure(`ended without ${what}`)));
      };
      const finish = (how: () => void) => {
        this.#news.delete(look);
        clearTimeout(timer);
        how();
      };
      const late = () => failed(this.#failure(`gave not ${what} within ${timeoutMs} ms`));
      const timer = setTimeout(() => finish(late), timeoutMs);
      this.#news.add(look);
      look();
    });
  }

  #failure(what: string, cause?: Error): Error {
    const exit = this.#exit ? ` (code ${this.#exit.code}, signal ${this.#exit.signal})` : '';
    return new Error(
      `${this.file} ${what}${exit}\nstdout:\n${this.lines.slice(-20).join('\n')}\nstderr:\n${this.stderr.slice(-4_000)}`,
      { cause },
    );
  }
}

/**
 * Runs a file in a Node process of its own. End it, or `await using child = startProcess(file)`.
 *
 * @param file a path, or a URL: `new URL('./holder.mjs', import.meta.url)`.
 */
export function startProcess(file: string | URL, options: ProcessOptions = {}): TestProcess {
  return new TestProcess(typeof file === 'string' ? file : fileURLToPath(file), options);
}
