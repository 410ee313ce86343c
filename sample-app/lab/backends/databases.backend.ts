import type { Fault } from '../scenario.js';
import { type SqlServer, startPostgres } from '../../servers/servers.js';
import { createTables } from '../stage/databases.js';
import type { Addresses } from '../stage/messages.js';
import type { Backend, Tell } from './backend.js';

/** One PostgreSQL, or several that know nothing of each other. */
export class DatabasesBackend implements Backend {
  private constructor(
    private readonly servers: readonly SqlServer[],
    private readonly nameOf: (at: number) => string,
  ) {}

  static async start(names: readonly string[]): Promise<DatabasesBackend> {
    const servers = await Promise.all(names.map(() => startPostgres()));
    await Promise.all(servers.map(({ url }) => createTables(url)));
    return new DatabasesBackend(servers, (at) => names[at]!);
  }

  get urls(): string[] {
    return this.servers.map(({ url }) => url);
  }

  addressesFor(): Partial<Addresses> {
    return this.servers.length > 1 ? { databases: this.urls } : {};
  }

  async ready(): Promise<void> {}

  async prepare(): Promise<void> {}

  async strike(fault: Fault, tell: Tell): Promise<void> {
    if (fault !== 'database-down') return;
    await this.servers[0]!.kill();
    tell(this.nameOf(0), 'fault', 'is killed');
  }

  async heal(fault: Fault, tell: Tell): Promise<void> {
    if (fault !== 'database-down') return;
    await this.servers[0]!.restart();
    tell(this.nameOf(0), 'healed', 'is back, with all it has committed');
  }

  async stop(): Promise<void> {
    await Promise.all(this.servers.map((server) => server.stop()));
  }
}
