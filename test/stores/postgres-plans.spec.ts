import { randomUUID } from 'node:crypto';
import { openMigrated, POSTGRES } from './typeorm-flavours.js';
import { typeOrmStore } from '../../lib/stores/typeorm/index.js';
import type { ClaimRequest } from '../../lib/stores/result-store.js';
import { eventually } from '../support/eventually.js';

const ROUNDS = 40;
const AT_ONCE = 8;
const LEASE_MS = 60_000;

const request = (): ClaimRequest => ({
  id: randomUUID().replaceAll('-', '').repeat(2),
  scope: 'plans',
  key: 'k',
  fingerprint: 'f'.repeat(64),
  token: randomUUID(),
  leaseMs: LEASE_MS,
  retentionMs: LEASE_MS,
  takeOrphan: true,
});

it('prepared statements made while the table is empty look rows up by their key when it has grown', async () => {
  const dataSource = await openMigrated(await POSTGRES.create());
  await dataSource.query('ALTER TABLE idempotency_record SET (autovacuum_enabled = off)');
  const store = typeOrmStore({ dataSource, preparedStatements: true });
  for (let round = 0; round < ROUNDS; round++) {
    const requests = Array.from({ length: AT_ONCE }, request);
    await Promise.all(requests.map((one) => store.claim(one)));
    await store.renew(requests, LEASE_MS);
    const response = { status: 201, headers: {}, body: Buffer.from('paid') };
    await Promise.all(requests.map(({ id, token }) => store.complete(id, token, response, LEASE_MS)));
    await Promise.all(requests.map((one) => store.claim({ ...one, token: randomUUID() })));
  }
  const looks = async () => {
    const [row] = await dataSource.query<{ seq_scan: string; idx_scan: string }[]>(
      `SELECT seq_scan, idx_scan FROM pg_stat_user_tables WHERE relname = 'idempotency_record'`,
    );
    return { scans: Number(row!.seq_scan), lookups: Number(row!.idx_scan) };
  };
  // Counts arrive at the end of a transaction, but not more than once a second.
  await eventually(async () => (await looks()).lookups >= 4 * ROUNDS * AT_ONCE, 'counts of the lookups');
  expect((await looks()).scans).toBeLessThan(ROUNDS);
  await dataSource.destroy();
});
