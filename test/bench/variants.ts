/** What is measured. Each is an app in a process of its own, with the same handler. */
export interface Variant {
  readonly name: string;
  readonly label: string;
  /** What it is compared with, besides the bare handler: the same storage by hand. */
  readonly floor?: string;
  readonly needs: readonly ('redis' | 'postgres')[];
  /** Where replays are asked for, if not where the first request went. */
  readonly replayPath?: string;
  readonly isBare?: boolean;
  /** Each running call has a connection, so there are never many. */
  readonly isFew?: boolean;
}

export const BARE: Variant = { name: 'bare', label: 'bare handler', needs: [], isBare: true };

export const VARIANTS: readonly Variant[] = [
  BARE,
  {
    name: 'floor-redis-postgres',
    label: 'floor: Redis lock + PostgreSQL row',
    needs: ['redis', 'postgres'],
    replayPath: '/stored',
  },
  {
    name: 'redis-postgres',
    label: 'redisLock + typeOrmStore (PostgreSQL)',
    floor: 'floor-redis-postgres',
    needs: ['redis', 'postgres'],
  },
  {
    name: 'redis-postgres-named',
    label: 'the same, preparedStatements: true',
    floor: 'floor-redis-postgres',
    needs: ['redis', 'postgres'],
  },
  {
    name: 'floor-transaction',
    label: 'handler in a plain transaction (PostgreSQL), not idempotent',
    needs: ['postgres'],
  },
  {
    name: 'floor-by-hand',
    label: 'the same with a claim and a completion by hand',
    isFew: true,
    floor: 'floor-transaction',
    needs: ['postgres'],
  },
  {
    name: 'plain-transaction',
    label: 'typeOrmStore, handler in a plain transaction',
    floor: 'floor-transaction',
    needs: ['postgres'],
  },
  {
    name: 'transactional-named',
    label: 'the same, preparedStatements: true',
    isFew: true,
    floor: 'floor-transaction',
    needs: ['postgres'],
  },
  {
    name: 'transactional',
    label: 'typeOrmStore, transactional: true',
    isFew: true,
    floor: 'floor-transaction',
    needs: ['postgres'],
  },
  { name: 'floor-redis', label: 'floor: Redis only', needs: ['redis'] },
  { name: 'redis', label: 'redisStore', floor: 'floor-redis', needs: ['redis'] },
  { name: 'memory', label: 'memoryStore', needs: [] },
];

/** Where an app finds its servers. */
export interface Servers {
  readonly redisUrl: string;
  readonly postgresUrl: string;
}

/** Rows of the floor, in the database of the app. */
export const FLOOR_TABLE = `CREATE TABLE payment_answer (
  key text PRIMARY KEY,
  status integer,
  body text,
  created_at timestamptz NOT NULL DEFAULT now()
)`;

/** What the handlers with a transaction write, and who does by hand what makes them idempotent. */
export const TRANSACTION_TABLES = `CREATE TABLE IF NOT EXISTS claim (
  key text PRIMARY KEY,
  token text NOT NULL,
  lease_until timestamptz NOT NULL,
  answer text
);
CREATE TABLE IF NOT EXISTS ledger (
  id bigserial PRIMARY KEY,
  amount integer NOT NULL,
  currency text NOT NULL
)`;
