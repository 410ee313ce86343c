import 'reflect-metadata';
import { NestFactory } from '@nestjs/core';
import { EnvironmentError } from '../../config/environment.error.js';
import { BankAppModule } from './bank-app.module.js';
import { readBankEnvironment } from './bank.environment.js';

// Started by the app, it ends with it.
process.on('disconnect', () => process.exit());

try {
  const environment = readBankEnvironment(process.env);
  const app = await NestFactory.create(BankAppModule.of(environment), {
    logger: ['warn', 'error', 'fatal'],
    abortOnError: false,
  });
  await app.listen(environment.BANK_PORT, '127.0.0.1');
  console.log(`Bank at ${await app.getUrl()}`);
} catch (error) {
  console.error(error instanceof EnvironmentError ? error.message : error);
  process.exit(1);
}
