import { missingServers, installCommand } from '../../servers/server-packages.js';
import type { Unavailable } from '../lab.types.js';
import type { Need } from '../scheme.js';

const PROGRAMS: Record<Need, string> = {
  redis: 'redis',
  'redis-nodes': 'redis',
  zookeeper: 'zookeeper',
  database: 'postgresql',
  databases: 'postgresql',
};

/** Why what needs these servers cannot be played here, if so. */
export function unavailableReason(
  needs: ReadonlySet<Need>,
  embedded: boolean,
): { unavailable?: Unavailable } {
  if (embedded) {
    const missing = [...needs].filter((need) => need !== 'database');
    if (missing.length === 0) return {};
    const what = missing.join(', ');
    return {
      unavailable: { reason: `needs ${what}, which the embedded lab has not`, install: 'npm run lab' },
    };
  }
  const wanted = new Set(['postgresql', 'rabbitmq', ...[...needs].map((need) => PROGRAMS[need])]);
  const missing = missingServers().filter(({ brew }) => wanted.has(brew));
  if (missing.length === 0) return {};
  const names = missing.map(({ debian }) => debian).join(', ');
  return { unavailable: { reason: `not installed: ${names}`, install: installCommand(missing) } };
}
