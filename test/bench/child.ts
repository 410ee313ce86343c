import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';

type Handlers = Record<string, (argument: never) => unknown>;

interface Question {
  readonly id: number;
  readonly name: string;
  readonly argument: never;
}

interface Answer {
  readonly id: number;
  readonly answer: unknown;
}

/** In the child: answers what the parent asks. It ends with its parent, or when an answer fails. */
export function answering(handlers: Handlers): void {
  process.on('disconnect', () => process.exit());
  process.on('message', ({ id, name, argument }: Question) => {
    void Promise.resolve(handlers[name]!(argument)).then((answer) => process.send!({ id, answer }));
  });
  process.send!({ id: 0, answer: 'ready' });
}

/** In the parent: a process running one of the files beside this one. */
export class Child {
  readonly #process: ChildProcess;
  readonly #waiting = new Map<number, PromiseWithResolvers>();
  #lastId = 0;

  private constructor(
    private readonly name: string,
    file: string,
    args: readonly string[],
    execArgv: readonly string[],
  ) {
    this.#process = fork(new URL(file, import.meta.url), [...args], { execArgv: [...execArgv] });
    this.#process.on('message', ({ id, answer }: Answer) => {
      this.#waiting.get(id)?.resolve(answer);
      this.#waiting.delete(id);
    });
    this.#process.on('exit', (code) => {
      for (const { reject } of this.#waiting.values()) reject(new Error(`${this.name} ended with ${code}`));
    });
  }

  static async start(
    file: string,
    args: readonly string[] = [],
    execArgv: readonly string[] = [],
  ): Promise<Child> {
    const child = new Child([file, args[0]].join(' '), file, args, execArgv);
    await child.#answerTo(0);
    return child;
  }

  ask<T>(name: string, argument?: unknown): Promise<T> {
    const id = ++this.#lastId;
    const answer = this.#answerTo(id);
    this.#process.send({ id, name, argument });
    return answer as Promise<T>;
  }

  async stop(): Promise<void> {
    this.#process.disconnect();
    await once(this.#process, 'exit');
  }

  #answerTo(id: number): Promise<unknown> {
    return new Promise((resolve, reject) => this.#waiting.set(id, { resolve, reject }));
  }
}

interface PromiseWithResolvers {
  readonly resolve: (answer: unknown) => void;
  readonly reject: (error: Error) => void;
}
