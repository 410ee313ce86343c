import type { IncomingHttpHeaders } from 'node:http';
import {
  type CanActivate,
  type ExecutionContext,
  Injectable,
  type RawBodyRequest,
  UnauthorizedException,
} from '@nestjs/common';
import { Environment } from '../config/environment.js';
import { isSigned } from './webhook-signature.js';

interface WebhookRequest {
  readonly headers: IncomingHttpHeaders;
  user?: { readonly id: string };
}

/**
 * Lets in what the payment provider has signed. Guards run before a key is claimed or looked for: nobody else can use up
 * the id of an event, or get the answer to one.
 */
@Injectable()
export class PaymentProviderGuard implements CanActivate {
  constructor(private readonly environment: Environment) {}

  canActivate(context: ExecutionContext): boolean {
    const request = context.switchToHttp().getRequest<RawBodyRequest<WebhookRequest>>();
    const signature = request.headers['webhook-signature'];
    const secret = this.environment.WEBHOOK_SECRET!;
    if (Array.isArray(signature) || !isSigned(signature, request.rawBody, secret)) {
      throw new UnauthorizedException('Webhook-Signature is missing, wrong or too old');
    }
    // The owner of the key: what is not signed, as a header, must not make another one of it.
    request.user = { id: 'payment-provider' };
    return true;
  }
}
