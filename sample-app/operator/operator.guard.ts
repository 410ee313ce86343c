import { type CanActivate, type ExecutionContext, Injectable, UnauthorizedException } from '@nestjs/common';
import type { IncomingHttpHeaders } from 'node:http';
import { OperatorSession } from './operator.session.js';

@Injectable()
export class OperatorGuard implements CanActivate {
  constructor(private readonly session: OperatorSession) {}

  canActivate(context: ExecutionContext): boolean {
    const { headers } = context.switchToHttp().getRequest<{ headers: IncomingHttpHeaders }>();
    if (this.session.isBearer(headers) || this.session.hasCookie(headers)) return true;
    throw new UnauthorizedException();
  }
}
