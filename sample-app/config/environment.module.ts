import { type DynamicModule, Module } from '@nestjs/common';
import { Environment } from './environment.js';

@Module({})
export class EnvironmentModule {
  static of(environment: Environment): DynamicModule {
    const provider = { provide: Environment, useValue: environment };
    return { module: EnvironmentModule, global: true, providers: [provider], exports: [provider] };
  }
}
