import { type DynamicModule, Module, ValidationPipe } from '@nestjs/common';
import { APP_PIPE } from '@nestjs/core';
import { BankEnvironment } from './bank.environment.js';
import { BankLedger } from './bank.ledger.js';
import { PayoutsController } from './payouts.controller.js';

/** A bank as others run it: over HTTP, with a ledger nobody else can reach, and keys that tell a repetition. */
@Module({
  controllers: [PayoutsController],
  providers: [BankLedger, { provide: APP_PIPE, useValue: new ValidationPipe({ whitelist: true }) }],
})
export class BankAppModule {
  static of(environment: BankEnvironment): DynamicModule {
    return { module: BankAppModule, providers: [{ provide: BankEnvironment, useValue: environment }] };
  }
}
