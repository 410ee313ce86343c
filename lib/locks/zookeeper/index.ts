export { ZooKeeperLock, type ZooKeeperLockOptions, zookeeperLock } from './zookeeper-lock.js';
