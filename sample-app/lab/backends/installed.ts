import { installCommand, missingServers, type ServerPackage } from '../../servers/server-packages.js';
import type { Unavailable } from '../lab.types.js';
import type { Need } from '../scheme.js';

const PROGRAMS: Record<Need, string> = {
  redis: 'redis',
  'redis-nodes': 'redis',
  zookeeper: 'zookeeper',
  database: 'postgresql',
  databases: 'postgresql',
};

/** Looks what is installed, and tells of each set of needs why it cannot be played here, if so. */
export function availability(embedded: boolean): (needs: ReadonlySet<Need>) => { unavailable?: Unavailable } {
  const absent = embedded ? [] : missingServers();
  return (needs) => (embedded ? embeddedReason(needs) : reason(needs, absent));
}

function embeddedReason(needs: ReadonlySet<Need>): { unavailable?: Unavailable } {
  const missing = [...needs].filter((need) => need !== 'database');
  if (missing.length === 0) return {};
  const what = missing.join(', ');
  return {
    unavailable: { reason: `needs ${what}, which the embedded lab has not`, install: 'npm run lab' },
  };
}

function reason(needs: ReadonlySet<Need>, absent: readonly ServerPackage[]): { unavailable?: Unavailable } {
  const wanted = new Set(['postgresql', 'rabbitmq', ...[...needs].map((need) => PROGRAMS[need])]);
  const missing = absent.filter(({ brew }) => wanted.has(brew));
  if (missing.length === 0) return {};
  const names = missing.map(({ debian }) => debian).join(', ');
  return { unavailable: { reason: `not installed: ${names}`, install: installCommand(missing) } };
}
