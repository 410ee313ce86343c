import { zookeeperLock } from 'nestjs-idempotent/locks/zookeeper';
import type { Scheme } from '../scheme.js';
import { lockedRefund } from './locked-refund.js';

export const lockInZooKeeper: Scheme = {
  id: 'zookeeper-lock',
  number: 7,
  kind: 'shipped',
  name: 'ZooKeeper lock',
  claim: 'Ephemeral sequential nodes, the lowest has the lock; they vanish with the session of a dead owner.',
  needs: ['zookeeper'],
  open: async (site) =>
    lockedRefund(site, zookeeperLock({ connect: site.zookeeper(), sessionTimeoutMs: site.ttlMs })),
};
