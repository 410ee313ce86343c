import { type ArgumentsHost, Catch, type ExceptionFilter, HttpException } from '@nestjs/common';
import { HttpAdapterHost } from '@nestjs/core';

const PROBLEMS = {
  'invalid-request': { status: 400, title: 'The request is not valid' },
  'amount-exceeds-order': { status: 400, title: 'More than was paid cannot be refunded' },
  'order-unknown': { status: 404, title: 'There is no such order' },
  'refund-unknown': { status: 404, title: 'There is no such refund' },
  'order-exists': { status: 409, title: 'There is an order of this id' },
  'lab-busy': { status: 409, title: 'The lab is busy' },
  'lab-idle': { status: 409, title: 'Nothing is under way' },
  'lab-unavailable': { status: 409, title: 'This cannot be played here' },
  'illegal-transition': { status: 409, title: 'The state of the order does not allow this' },
} as const;

/** What the shop refuses, and why: an RFC 9457 problem. */
export class Problem extends HttpException {
  constructor(
    readonly code: keyof typeof PROBLEMS,
    readonly detail: string,
  ) {
    const { status, title } = PROBLEMS[code];
    super({ type: `urn:nestjs-idempotent-sample:${code}`, title, status, code, detail }, status);
  }
}

@Catch(Problem)
export class ProblemFilter implements ExceptionFilter<Problem> {
  constructor(private readonly host: HttpAdapterHost) {}

  catch(problem: Problem, host: ArgumentsHost): void {
    const response: unknown = host.switchToHttp().getResponse();
    const { httpAdapter } = this.host;
    httpAdapter.setHeader(response, 'Content-Type', 'application/problem+json; charset=utf-8');
    httpAdapter.reply(response, problem.getResponse(), problem.getStatus());
  }
}
