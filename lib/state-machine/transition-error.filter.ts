import { type ArgumentsHost, Catch, type ExceptionFilter, Inject } from '@nestjs/common';
import { HttpAdapterHost } from '@nestjs/core';
import { type Observable, throwError } from 'rxjs';
import { TransitionError } from './state-machine.errors.js';

/**
 * Answers refused transitions with `application/problem+json`. Without it Nest sends the same body and status as
 * `application/json`. For HTTP; other transports get the error as it is.
 *
 * @example
 * ```ts
 * providers: [{ provide: APP_FILTER, useClass: TransitionErrorFilter }]
 * ```
 */
@Catch(TransitionError)
export class TransitionErrorFilter implements ExceptionFilter<TransitionError> {
  constructor(@Inject(HttpAdapterHost) private readonly host: HttpAdapterHost) {}

  catch(error: TransitionError, host: ArgumentsHost): void | Observable<never> | TransitionError {
    const transport = host.getType<string>();
    if (transport === 'rpc') return throwError(() => error);
    if (transport !== 'http') return error;
    const response: unknown = host.switchToHttp().getResponse();
    const { httpAdapter } = this.host;
    httpAdapter.setHeader(response, 'Content-Type', 'application/problem+json; charset=utf-8');
    httpAdapter.reply(response, error.getResponse(), error.getStatus());
  }
}
