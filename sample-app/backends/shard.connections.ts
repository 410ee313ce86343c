import { Injectable, type OnApplicationShutdown } from '@nestjs/common';
import { InjectDataSource } from '@nestjs/typeorm';
import { idempotencyMigrations } from 'nestjs-idempotent/stores/typeorm';
import { DataSource } from 'typeorm';
import { addressesOf } from '../config/environment.rules.js';
import { Environment } from '../config/environment.js';
import { dataSourceOptions, openDatabase } from '../database/data-source.js';

/** The databases that results are spread over, if they are. The first one is the shop's. */
@Injectable()
export class ShardConnections implements OnApplicationShutdown {
  private readonly opened: DataSource[] = [];

  constructor(
    private readonly environment: Environment,
    @InjectDataSource() private readonly dataSource: DataSource,
  ) {}

  /** Those beside the shop's own that are in use. */
  get others(): readonly DataSource[] {
    return this.opened;
  }

  async open(): Promise<DataSource[]> {
    const [, ...others] = addressesOf(this.environment.DATABASE_URL);
    for (const url of others) {
      const options = { ...dataSourceOptions(url), entities: [], migrations: idempotencyMigrations };
      this.opened.push(await openDatabase(options));
    }
    return [this.dataSource, ...this.opened];
  }

  async onApplicationShutdown(): Promise<void> {
    await Promise.all(this.opened.map((dataSource) => dataSource.destroy()));
  }
}
