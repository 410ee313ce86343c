import type { IncomingHttpHeaders } from 'node:http';
import { type ArgumentsHost, Catch, type ExceptionFilter, HttpException, Logger } from '@nestjs/common';
import { HttpAdapterHost } from '@nestjs/core';
import { ActRefusedError, BackendUnavailableError, IdempotencyOptionsError } from 'nestjs-idempotent';
import { Problem } from '../problem.js';
import { html } from '../web/html.js';
import { PAGE_HEADERS } from '../web/page.js';
import { loginPage } from './login.page.js';
import { isProgram, operatorPage } from './operator.view.js';

interface Refusal {
  readonly status: number;
  readonly title: string;
  readonly detail: string;
}

/** What operators are told of an error: what they can do about it, and nothing of what it was inside. */
@Catch()
export class OperatorFilter implements ExceptionFilter {
  private readonly logger = new Logger('Operator');

  constructor(private readonly host: HttpAdapterHost) {}

  catch(error: unknown, host: ArgumentsHost): void {
    const http = host.switchToHttp();
    const { headers } = http.getRequest<{ headers: IncomingHttpHeaders }>();
    const response: unknown = http.getResponse();
    const refusal = this.refusalOf(error);
    const { httpAdapter } = this.host;
    if (isProgram(headers)) {
      httpAdapter.setHeader(response, 'Content-Type', 'application/problem+json; charset=utf-8');
      httpAdapter.setHeader(response, 'Cache-Control', 'no-store');
      if (refusal.status === 401) httpAdapter.setHeader(response, 'WWW-Authenticate', 'Bearer');
      httpAdapter.reply(response, { type: 'about:blank', ...refusal }, refusal.status);
      return;
    }
    for (const [name, value] of Object.entries(PAGE_HEADERS)) httpAdapter.setHeader(response, name, value);
    httpAdapter.reply(response, pageOf(refusal), refusal.status);
  }

  private refusalOf(error: unknown): Refusal {
    if (error instanceof ActRefusedError) {
      const status = error.code === 'not-found' ? 404 : 409;
      return { status, title: 'Nothing was changed', detail: error.message };
    }
    if (error instanceof Problem) {
      return { status: error.getStatus(), title: 'The request is not valid', detail: error.detail };
    }
    if (error instanceof IdempotencyOptionsError) {
      return { status: 400, title: 'The request is not valid', detail: error.message };
    }
    if (error instanceof HttpException && error.getStatus() < 500) {
      return { status: error.getStatus(), title: error.message, detail: '' };
    }
    this.logger.error(error);
    if (error instanceof BackendUnavailableError) {
      const detail = 'Try again. Whether an act was done is told by the audit of its record.';
      return { status: 503, title: 'The store did not answer', detail };
    }
    return { status: 500, title: 'Something went wrong', detail: 'The log of the app tells what.' };
  }
}

function pageOf({ status, title, detail }: Refusal): string {
  if (status === 401) return operatorPage('Sign in', loginPage({ hasFailed: false }));
  return operatorPage(
    title,
    html`<h1>${title}</h1>
      <p role="alert">${detail}</p>
      <p><a href="/operator">Back to the records</a></p>`,
  );
}
