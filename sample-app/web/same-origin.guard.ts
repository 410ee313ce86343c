import { type CanActivate, type ExecutionContext, ForbiddenException, Injectable } from '@nestjs/common';
import type { IncomingHttpHeaders } from 'node:http';

/** Whoever is no browser sends neither header; browsers send at least one of them with every POST. */
@Injectable()
export class SameOriginGuard implements CanActivate {
  canActivate(context: ExecutionContext): boolean {
    const { method, headers } = context.switchToHttp().getRequest<{
      method: string;
      headers: IncomingHttpHeaders;
    }>();
    if (method === 'GET' || method === 'HEAD' || isSameOrigin(headers)) return true;
    throw new ForbiddenException('This comes from the page of another site.');
  }
}

function isSameOrigin({ host, origin, 'sec-fetch-site': site }: IncomingHttpHeaders): boolean {
  if (site !== undefined && site !== 'same-origin') return false;
  if (origin === undefined) return true;
  // Behind a proxy that ends TLS the scheme differs, the host does not.
  return URL.canParse(origin) && new URL(origin).host === host;
}
