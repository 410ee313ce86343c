import { type DynamicModule, Module } from '@nestjs/common';
import { Environment } from '../config/environment.js';
import { OperatorController } from './operator.controller.js';
import { OperatorLoginController } from './operator-login.controller.js';
import { OperatorSession } from './operator.session.js';

/** Without a token none of it is there: 404. */
@Module({})
export class OperatorModule {
  static of({ OPERATOR_TOKEN }: Environment): DynamicModule {
    if (OPERATOR_TOKEN === undefined) return { module: OperatorModule };
    return {
      module: OperatorModule,
      controllers: [OperatorLoginController, OperatorController],
      providers: [OperatorSession],
    };
  }
}
