import { randomBytes } from 'node:crypto';
import { Controller, Get, Header, Headers } from '@nestjs/common';
import { ApiExcludeController } from '@nestjs/swagger';
import { Environment } from '../config/environment.js';
import { homePage } from './home.page.js';

@ApiExcludeController()
@Controller()
export class HomeController {
  constructor(private readonly environment: Environment) {}

  @Get()
  @Header('Content-Type', 'text/html; charset=utf-8')
  @Header('Content-Security-Policy', `default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'`)
  @Header('Cache-Control', 'no-store')
  page(@Headers('host') host = ''): string {
    const url = `http://${/^[\w.:[\]-]+$/.test(host) ? host : `localhost:${this.environment.PORT}`}`;
    // An order of its own for everybody who looks: examples can be copied as they are.
    return homePage({
      url,
      orderId: `order-${randomBytes(3).toString('hex')}`,
      environment: this.environment,
    });
  }
}
