import { Global, Module } from '@nestjs/common';
import { TypeOrmModule } from '@nestjs/typeorm';
import type { DataSourceOptions } from 'typeorm';
import { Environment } from '../config/environment.js';
import { addressesOf } from '../config/environment.rules.js';
import { dataSourceOptions, openDatabase } from './data-source.js';
import { Database } from './database.js';

@Global()
@Module({
  imports: [
    TypeOrmModule.forRootAsync({
      inject: [Environment],
      useFactory: ({ DATABASE_URL }: Environment) => ({
        ...dataSourceOptions(addressesOf(DATABASE_URL)[0]!),
        // A wrong address is told at once. Waiting for servers is the business of whatever starts them all.
        toRetry: () => false,
      }),
      dataSourceFactory: (options) => openDatabase(options as DataSourceOptions),
    }),
  ],
  providers: [Database],
  exports: [Database],
})
export class DatabaseModule {}
