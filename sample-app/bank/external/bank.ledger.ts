import { randomUUID } from 'node:crypto';
import { Injectable, type OnApplicationShutdown } from '@nestjs/common';
import Libsql from 'libsql';
import { EnvironmentError } from '../../config/environment.error.js';
import { shown } from '../../config/environment.rules.js';
import type { PayoutOrder } from '../bank.js';
import type { Payout } from '../payout.entity.js';
import { BankEnvironment } from './bank.environment.js';

const TABLE = `CREATE TABLE IF NOT EXISTS payouts (
  "key" TEXT PRIMARY KEY, "payoutId" TEXT NOT NULL, "orderId" TEXT NOT NULL, "amount" INTEGER NOT NULL, "at" TEXT NOT NULL)`;
const COLUMNS = '"payoutId", "orderId", "amount", "at"';
const ONCE = `INSERT INTO payouts ("key", ${COLUMNS}) VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING`;
const OF_KEY = `SELECT ${COLUMNS} FROM payouts WHERE "key" = ?`;
const OF_ORDER = `SELECT ${COLUMNS} FROM payouts WHERE "orderId" = coalesce(?, "orderId") ORDER BY "at", "payoutId"`;

/** The bank's own: one row is one payout, and one key has one row. An order may have many: that is the shop's business. */
@Injectable()
export class BankLedger implements OnApplicationShutdown {
  private readonly database: Libsql.Database;

  /** @throws EnvironmentError when the file cannot be used. */
  constructor({ BANK_FILE }: BankEnvironment) {
    try {
      this.database = new Libsql(BANK_FILE);
      this.database.pragma('busy_timeout = 5000');
      this.database.pragma('journal_mode = WAL');
      this.database.exec(TABLE);
    } catch (cause) {
      const problem = `BANK_FILE is ${shown(BANK_FILE)}; it must be a SQLite file that can be written: ${(cause as Error).message}`;
      throw new EnvironmentError([problem], { cause });
    }
  }

  /** The payout of this key: made now, or made before. */
  payOut(key: string, { orderId, amount }: PayoutOrder): Payout {
    this.database.prepare(ONCE).run(key, randomUUID(), orderId, amount, new Date().toISOString());
    return this.database.prepare(OF_KEY).all(key)[0] as Payout;
  }

  list(orderId: string | undefined): Payout[] {
    return this.database.prepare(OF_ORDER).all([orderId ?? null]) as Payout[];
  }

  onApplicationShutdown(): void {
    this.database.close();
  }
}
