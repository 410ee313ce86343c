import { Body, Controller, Header, HttpCode, Post, Res, UseFilters, UseGuards } from '@nestjs/common';
import { HttpAdapterHost } from '@nestjs/core';
import { ApiExcludeController } from '@nestjs/swagger';
import { AnswersPage } from '../web/page.js';
import { SameOriginGuard } from '../web/same-origin.guard.js';
import { loginPage } from './login.page.js';
import { LoginDto } from './operator.dto.js';
import { OperatorFilter } from './operator.filter.js';
import { OperatorSession } from './operator.session.js';
import { operatorPage } from './operator.view.js';

@ApiExcludeController()
@Controller('operator')
@UseGuards(SameOriginGuard)
@UseFilters(OperatorFilter)
export class OperatorLoginController {
  constructor(
    private readonly session: OperatorSession,
    private readonly host: HttpAdapterHost,
  ) {}

  @Post('login')
  @AnswersPage()
  login(@Body() { token }: LoginDto, @Res({ passthrough: true }) response: unknown): string {
    const { httpAdapter } = this.host;
    if (!this.session.isToken(token)) {
      httpAdapter.status(response, 401);
      return operatorPage('Sign in', loginPage({ hasFailed: true }));
    }
    httpAdapter.setHeader(response, 'Set-Cookie', this.session.begin());
    httpAdapter.setHeader(response, 'Location', '/operator');
    httpAdapter.status(response, 303);
    return '';
  }

  @Post('logout')
  @HttpCode(303)
  @Header('Location', '/operator')
  @AnswersPage()
  logout(@Res({ passthrough: true }) response: unknown): string {
    this.host.httpAdapter.setHeader(response, 'Set-Cookie', this.session.end());
    return '';
  }
}
