import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { readInto } from '../../config/environment.reader.js';
import { Whole } from '../../config/environment.rules.js';

/** What the bank is told from outside, with its defaults. */
export class BankEnvironment {
  /** 0: any free port. */
  @Whole(0, 65_535)
  BANK_PORT = 3_001;

  /** A SQLite file: the ledger. */
  BANK_FILE = join(tmpdir(), 'nestjs-idempotent-sample-bank.sqlite');

  /** How long a payout takes. */
  @Whole(0, 600_000, 'milliseconds')
  BANK_LATENCY_MS = 50;
}

/** @throws EnvironmentError naming everything that is wrong. */
export function readBankEnvironment(variables: NodeJS.ProcessEnv): BankEnvironment {
  return readInto(new BankEnvironment(), variables);
}
