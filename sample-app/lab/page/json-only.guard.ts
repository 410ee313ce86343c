import type { IncomingHttpHeaders } from 'node:http';
import {
  type CanActivate,
  type ExecutionContext,
  Injectable,
  UnsupportedMediaTypeException,
} from '@nestjs/common';

/** A page of another site can send a form unasked; for JSON its browser would have to ask first. */
@Injectable()
export class JsonOnlyGuard implements CanActivate {
  canActivate(context: ExecutionContext): boolean {
    const { method, headers } = context.switchToHttp().getRequest<{
      method: string;
      headers: IncomingHttpHeaders;
    }>();
    if (method === 'GET' || method === 'HEAD') return true;
    if (/^application\/json\s*(;|$)/i.test(headers['content-type'] ?? '')) return true;
    throw new UnsupportedMediaTypeException('The body must be JSON, with Content-Type: application/json.');
  }
}
