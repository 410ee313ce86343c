import type { IncomingHttpHeaders } from 'node:http';
import { type CallHandler, type ExecutionContext, Injectable, type NestInterceptor } from '@nestjs/common';
import { HttpAdapterHost } from '@nestjs/core';
import { map, type Observable } from 'rxjs';
import type { Html } from '../web/html.js';
import { page, PAGE_HEADERS } from '../web/page.js';

/** What a handler answers: data for programs, and for browsers a page or the address of one. */
export type OperatorView =
  | { readonly data: unknown; readonly title: string; readonly body: Html }
  | { readonly data: unknown; readonly seeOther: string };

/** Programs show the token with each request, browsers have a cookie. */
export function isProgram({ authorization }: IncomingHttpHeaders): boolean {
  return authorization !== undefined;
}

export function operatorPage(title: string, body: Html): string {
  return page({ title, body, path: '/operator', hasOperator: true });
}

@Injectable()
export class OperatorViewInterceptor implements NestInterceptor<OperatorView, unknown> {
  constructor(private readonly host: HttpAdapterHost) {}

  intercept(context: ExecutionContext, next: CallHandler<OperatorView>): Observable<unknown> {
    const http = context.switchToHttp();
    const { headers } = http.getRequest<{ headers: IncomingHttpHeaders }>();
    return next
      .handle()
      .pipe(map((view) => (isProgram(headers) ? view.data : this.forBrowser(view, http.getResponse()))));
  }

  private forBrowser(view: OperatorView, response: unknown): string {
    const { httpAdapter } = this.host;
    for (const [name, value] of Object.entries(PAGE_HEADERS)) httpAdapter.setHeader(response, name, value);
    if (!('seeOther' in view)) return operatorPage(view.title, view.body);
    httpAdapter.status(response, 303);
    httpAdapter.setHeader(response, 'Location', view.seeOther);
    return '';
  }
}
