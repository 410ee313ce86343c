import Sequencer from '@jest/test-sequencer';

/** What takes longest, the longest first: begun last, one worker would wait for the other. */
const LONG = [
  'lab/lab',
  'sample-app/pages',
  'sample-app/chaos',
  'queue/rabbitmq',
  'sample-app/three-processes',
  'sample-app/endpoints',
  'simulation/simulation',
  'stores/typeorm',
  'stores/typeorm-databases',
  'locks/lock-service',
  'locks/redis',
  'locks/redlock-restart',
  'locks/sql-processes',
  'transactional/crash',
  'sample-app/rabbitmq',
  'package/package',
  'locks/zookeeper-ensemble',
  'locks/zookeeper-faults',
  'guarantees/claim',
  'locks/sql',
  'stores/sharded',
];

/** On a machine where the tests never ran Jest knows no durations, and goes by the size of the files. */
export default class LongestFirst extends Sequencer {
  sort(tests) {
    return super.sort(tests).toSorted((a, b) => rank(a) - rank(b));
  }
}

function rank({ path }) {
  const at = LONG.findIndex((name) => path.endsWith(`/test/${name}.spec.ts`));
  return at === -1 ? LONG.length : at;
}
