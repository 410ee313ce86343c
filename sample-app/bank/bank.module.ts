import { Module } from '@nestjs/common';
import { Environment } from '../config/environment.js';
import { Database } from '../database/database.js';
import { Bank } from './bank.js';
import { ExternalBank } from './external.bank.js';
import { LedgerBank } from './ledger.bank.js';
import { LedgerController } from './ledger.controller.js';

const bank = {
  provide: Bank,
  inject: [Environment, Database],
  useFactory: (environment: Environment, database: Database): Bank | Promise<Bank> =>
    environment.BANK === 'external' ? ExternalBank.open(environment) : new LedgerBank(environment, database),
};

@Module({ controllers: [LedgerController], providers: [bank], exports: [bank] })
export class BankModule {}
