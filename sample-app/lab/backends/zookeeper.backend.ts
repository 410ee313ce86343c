import { rmSync } from 'node:fs';
import { join } from 'node:path';
import type { Fault } from '../scenario.js';
import { modeOf, startZooKeeperEnsemble, type ZooKeeperServer } from '../../servers/zookeeper.js';
import type { Backend, Tell } from './backend.js';

/** Three that elect a leader. */
export class ZooKeeperBackend implements Backend {
  private struck: number | undefined;

  private constructor(private readonly members: readonly ZooKeeperServer[]) {}

  static async start(): Promise<ZooKeeperBackend> {
    return new ZooKeeperBackend(await startZooKeeperEnsemble());
  }

  addressesFor(): { zookeeper: string } {
    return { zookeeper: this.members.map(({ url }) => url).join(',') };
  }

  async ready(): Promise<void> {}

  async prepare(): Promise<void> {}

  async strike(fault: Fault, tell: Tell): Promise<void> {
    if (fault === 'database-down') return;
    const modes = await Promise.all(this.members.map((member) => modeOf(member)));
    const at = modes.indexOf(fault === 'failover' ? 'leader' : 'follower');
    const member = this.members[at]!;
    await member.kill();
    if (fault === 'failover') {
      this.struck = at;
      return tell(`zookeeper-${at + 1}`, 'fault', 'the leader is killed');
    }
    rmSync(join(member.folder, 'data'), { recursive: true });
    await member.restart();
    tell(`zookeeper-${at + 1}`, 'fault', 'is killed and comes back empty');
  }

  async heal(): Promise<void> {
    if (this.struck === undefined) return;
    await this.members[this.struck]!.restart();
    this.struck = undefined;
  }

  async stop(): Promise<void> {
    await Promise.all(this.members.map((member) => member.stop()));
  }
}
