import type { Scenario } from '../scenario.js';
import { burst } from './burst.scenario.js';
import { crashAfterEffect } from './crash-after-effect.scenario.js';
import { crashBeforeEffect } from './crash-before-effect.scenario.js';
import { failover } from './failover.scenario.js';
import { getDelGap } from './get-del-gap.scenario.js';
import { lateRetry } from './late-retry.scenario.js';
import { nodeRestart } from './node-restart.scenario.js';
import { pause } from './pause.scenario.js';
import { payloadChange } from './payload-change.scenario.js';
import { sameTimestamp } from './same-timestamp.scenario.js';
import { sharded } from './sharded.scenario.js';
import { slowHandler } from './slow-handler.scenario.js';
import { storeDown } from './store-down.scenario.js';

/** In the order of the matrix; then those that are about one scheme only. */
export const scenarios: readonly Scenario[] = [
  burst,
  lateRetry,
  slowHandler,
  pause,
  crashBeforeEffect,
  crashAfterEffect,
  nodeRestart,
  failover,
  storeDown,
  sharded,
  payloadChange,
  sameTimestamp,
  getDelGap,
];
