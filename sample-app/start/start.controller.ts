import { randomBytes } from 'node:crypto';
import { Controller, Get, Headers } from '@nestjs/common';
import { ApiExcludeController } from '@nestjs/swagger';
import { Environment } from '../config/environment.js';
import { AnswersPage, page } from '../web/page.js';
import { startPage } from './start.page.js';

@ApiExcludeController()
@Controller('start')
export class StartController {
  constructor(private readonly environment: Environment) {}

  @Get()
  @AnswersPage()
  page(@Headers('host') host = ''): string {
    const { environment } = this;
    const url = `http://${/^[\w.:[\]-]+$/.test(host) ? host : `localhost:${environment.PORT}`}`;
    // An order of its own for everybody who looks: examples can be copied as they are.
    const orderId = `order-${randomBytes(3).toString('hex')}`;
    const body = startPage({ url, orderId, environment });
    return page({
      title: 'Try it',
      path: '/start',
      body,
      hasOperator: environment.OPERATOR_TOKEN !== undefined,
    });
  }
}
