import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { AddressLike, ConnectStringLike, OneOf, Secret, Whole } from './environment.rules.js';

/** What the app is told from outside, with its defaults. Also the injection token. */
export class Environment {
  /** 0: any free port. */
  @Whole(0, 65_535)
  PORT = 3_000;

  @OneOf(['express', 'fastify'])
  HTTP: 'express' | 'fastify' = 'express';

  /** The lock in front of the results. None: the results alone decide. */
  @OneOf(['none', 'memory', 'redis', 'zookeeper'], { later: ['redlock', 'sql', 'sql-quorum'] })
  LOCK: 'none' | 'memory' | 'redis' | 'zookeeper' = 'memory';

  /** Where results are kept. Memory serves one process and ends with it. */
  @OneOf(['sql', 'redis', 'memory', 'sharded'])
  STORE: 'sql' | 'redis' | 'memory' | 'sharded' = 'sql';

  /**
   * Has orders, refunds, the ledger and, with `STORE=sql`, the results. With `STORE=sharded` results are spread over
   * several databases, of which the first has the rest. Another one is added at the end, see docs/sharding.md.
   */
  @AddressLike(/^(postgres(ql)?|mysql):\/\/[^\s,/]+\/[^\s,]+$|^sqlite:[^,]+$/, {
    form: 'postgres://USER:PASSWORD@HOST:PORT/DATABASE, mysql://USER:PASSWORD@HOST:PORT/DATABASE or sqlite:FILE',
    several: 'quorums of several databases',
    list: ({ STORE }) => STORE === 'sharded' && 'STORE is sharded',
  })
  DATABASE_URL = `sqlite:${join(tmpdir(), 'nestjs-idempotent-sample.sqlite')}`;

  @AddressLike(/^rediss?:\/\/[^\s,]+$/, {
    form: 'redis://HOST:PORT',
    several: 'locks over several Redis servers',
    needed: ({ LOCK, STORE }) =>
      [LOCK === 'redis' && 'LOCK is redis', STORE === 'redis' && 'STORE is redis'].find(Boolean) ?? false,
  })
  REDIS_URL: string | undefined = undefined;

  @ConnectStringLike(/^[^\s,/:]+(:\d{1,5})?(,[^\s,/:]+(:\d{1,5})?)*(\/[^\s/]+)*$/, {
    form: 'HOST:PORT or HOST:PORT,HOST:PORT,HOST:PORT',
    needed: ({ LOCK }) => LOCK === 'zookeeper' && 'LOCK is zookeeper',
  })
  ZOOKEEPER_URL: string | undefined = undefined;

  /** Without it a queue inside of the process stands in. */
  @AddressLike(/^amqps?:\/\/[^\s,]+$/, {
    form: 'amqp://USER:PASSWORD@HOST:PORT',
    several: 'several message brokers',
    needed: ({ ROLE }) => ROLE !== 'all' && `ROLE is ${ROLE}`,
  })
  AMQP_URL: string | undefined = undefined;

  /** The refund service, the payment service, or both in one process. Apart they need a message broker. */
  @OneOf(['all', 'refund', 'payment'])
  ROLE: 'all' | 'refund' | 'payment' = 'all';

  /** Ledger: a table of the same database. External: a process of its own, with a ledger of its own. */
  @OneOf(['ledger', 'external'])
  BANK: 'ledger' | 'external' = 'ledger';

  /** Where the external bank is. Without it the app starts one, which ends with it. */
  @AddressLike(/^https?:\/\/[^\s,/?#]+\/?$/, { form: 'http://HOST:PORT', several: 'several banks' })
  BANK_URL: string | undefined = undefined;

  /** How long a payout takes. */
  @Whole(0, 600_000, 'milliseconds')
  BANK_LATENCY_MS = 50;

  @Whole(50, 600_000, 'milliseconds')
  LEASE_MS: number | undefined = undefined;

  @Whole(1, Number.MAX_SAFE_INTEGER, 'milliseconds')
  RETENTION_MS: number | undefined = undefined;

  @OneOf(['reject', 'wait'])
  ON_CONFLICT: 'reject' | 'wait' | undefined = undefined;

  /** The lab on the first page. Embedded: only what needs no servers, even if they are installed. */
  @OneOf(['on', 'embedded', 'off'])
  LAB: 'on' | 'embedded' | 'off' = 'on';

  /** Opens the operators' page, to whoever has it. Without it there is none. */
  @Secret(16)
  OPERATOR_TOKEN: string | undefined = undefined;

  /** What the payment provider signs its webhooks with. Without it there are none. */
  @Secret(16)
  WEBHOOK_SECRET: string | undefined = undefined;

  /**
   * Whether a refund and its answer can be one transaction: all of it must be in one database, and not in SQLite. TypeORM
   * has one connection to it, so that statements of other requests would join the open transaction.
   */
  get isTransactional(): boolean {
    return this.STORE === 'sql' && this.BANK === 'ledger' && !this.DATABASE_URL.startsWith('sqlite:');
  }
}
