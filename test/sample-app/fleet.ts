import { setTimeout as sleep } from 'node:timers/promises';
import { freePort } from '../../sample-app/servers/ports.js';
import { SampleClient, SampleProcess, type Variables } from './sample-app.js';

/** One that does not start is started again after this, in milliseconds: what it needs may be down. */
const START_AGAIN_MS = 200;

/** Processes of the app that are started again, at the same address, when they have been killed. */
export class Fleet implements AsyncDisposable {
  /** How one ended that nobody had killed. */
  readonly crashes: string[] = [];
  kills = 0;
  readonly #apps: (SampleProcess | undefined)[];
  readonly #starts = new Set<Promise<void>>();
  #isOver = false;

  private constructor(
    private readonly variables: Variables,
    private readonly ports: readonly number[],
  ) {
    this.#apps = ports.map(() => undefined);
  }

  /** At the same time, which on an empty database is a race for the tables. */
  static async start(variables: Variables, size = 3): Promise<Fleet> {
    const ports = await Promise.all(Array.from({ length: size }, () => freePort()));
    const fleet = new Fleet(variables, ports);
    await Promise.all(ports.map((_, at) => fleet.#start(at)));
    return fleet;
  }

  /** Clients of all of them, also of those that are down. */
  get clients(): SampleClient[] {
    return this.ports.map((port) => new SampleClient(`http://127.0.0.1:${port}`));
  }

  /** SIGKILL to one of those that are up, if any is. It starts again at once. @param whom from 0 to 1. */
  async kill(whom: number): Promise<void> {
    const up = this.#apps.flatMap((app, at) => (app ? [{ app, at }] : []));
    const victim = up[Math.floor(whom * up.length)];
    if (!victim) return;
    this.kills++;
    this.#apps[victim.at] = undefined;
    await victim.app.process.kill('SIGKILL');
    const start = this.#startInTheEnd(victim.at).finally(() => this.#starts.delete(start));
    this.#starts.add(start);
  }

  /** All of them are up. */
  async whole(): Promise<void> {
    while (this.#starts.size) await Promise.all(this.#starts);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#isOver = true;
    await this.whole();
    const apps = this.#apps.splice(0).filter((app) => app !== undefined);
    await Promise.all(apps.map((app) => app[Symbol.asyncDispose]()));
  }

  async #startInTheEnd(at: number): Promise<void> {
    while (!this.#isOver) {
      try {
        return await this.#start(at);
      } catch {
        await sleep(START_AGAIN_MS);
      }
    }
  }

  async #start(at: number): Promise<void> {
    const app = await SampleProcess.start({ ...this.variables, PORT: String(this.ports[at]) });
    this.#apps[at] = app;
    void app.process.exited.then(({ code, signal, stderr }) => {
      if (this.#apps[at] === app) this.crashes.push(`code ${code}, signal ${signal}: ${stderr}`);
    });
  }
}
