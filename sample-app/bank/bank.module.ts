import { Module } from '@nestjs/common';
import { BankService } from './bank.service.js';
import { LedgerController } from './ledger.controller.js';

@Module({ controllers: [LedgerController], providers: [BankService], exports: [BankService] })
export class BankModule {}
