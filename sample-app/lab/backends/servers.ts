import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { startRabbitMq, type RabbitMqServer } from '../../servers/rabbitmq.js';
import { type Guard, startGuard } from '../../servers/cleanup.js';
import { createTables } from '../stage/databases.js';
import type { Addresses } from '../stage/messages.js';
import type { Need } from '../scheme.js';
import type { Backend } from './backend.js';
import { DatabasesBackend } from './databases.backend.js';
import { ZooKeeperBackend } from './zookeeper.backend.js';

/** What all lanes share. Each is started when the first cell needs it. */
export class Servers {
  private readonly started = new Map<Need, Promise<Backend>>();
  private rabbitmq: Promise<RabbitMqServer> | undefined;
  private file: Promise<string> | undefined;
  private folder: string | undefined;
  private guard: Guard | undefined;

  /** @param embedded no server at all: the queue is in this process, and the database is a file. */
  constructor(private readonly embedded: boolean) {}

  /** The ledger's database and the queue, which every cell needs. */
  async common(): Promise<Pick<Addresses, 'database' | 'rabbitmq'>> {
    if (this.embedded) return { database: await (this.file ??= this.createFile()) };
    const [database, queue] = await Promise.all([
      this.shared('database') as Promise<DatabasesBackend>,
      (this.rabbitmq ??= startRabbitMq()),
    ]);
    return { database: database.urls[0]!, rabbitmq: queue.url };
  }

  async shared(need: Need): Promise<Backend> {
    if (this.embedded) return NONE;
    const backend = this.started.get(need) ?? start(need);
    this.started.set(need, backend);
    return backend;
  }

  async stop(): Promise<void> {
    const backends = await Promise.all(this.started.values());
    await Promise.all([...backends.map((backend) => backend.stop()), this.rabbitmq?.then((it) => it.stop())]);
    if (this.folder) rmSync(this.folder, { recursive: true });
    this.guard?.dismiss();
  }

  private async createFile(): Promise<string> {
    this.folder = mkdtempSync(join(tmpdir(), 'nestjs-idempotent-lab-'));
    this.guard = startGuard('KILL', this.folder);
    const url = `sqlite:${join(this.folder, 'lab.sqlite')}`;
    await createTables(url);
    return url;
  }
}

function start(need: Need): Promise<Backend> {
  switch (need) {
    case 'database':
      return DatabasesBackend.start(['database']);
    case 'databases':
      return DatabasesBackend.start(['database-1', 'database-2', 'database-3']);
    case 'zookeeper':
      return ZooKeeperBackend.start();
    default:
      throw new Error(`${need} is not shared between lanes`);
  }
}

/** The database is a file: it has no address of its own, and cannot go down. */
const NONE: Backend = {
  addressesFor: () => ({}),
  ready: async () => undefined,
  prepare: async () => undefined,
  strike: async () => undefined,
  heal: async () => undefined,
  stop: async () => undefined,
};
