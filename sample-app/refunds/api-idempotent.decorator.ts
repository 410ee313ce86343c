import { applyDecorators } from '@nestjs/common';
import {
  ApiBadRequestResponse,
  ApiConflictResponse,
  ApiHeader,
  ApiNotFoundResponse,
  ApiServiceUnavailableResponse,
  ApiUnprocessableEntityResponse,
} from '@nestjs/swagger';

/** What the API page says of an idempotent operation. */
export function ApiIdempotent({ header }: { header: boolean }): MethodDecorator {
  const key = ApiHeader({
    name: 'Idempotency-Key',
    required: true,
    description: 'New for every operation, the same for every retry of it',
    schema: { type: 'string', minLength: 1, maxLength: 255, example: 'refund-1' },
  });
  return applyDecorators(
    ...(header ? [key] : []),
    ApiHeader({ name: 'x-customer', required: false, description: 'Who owns the key; public if not given' }),
    ApiBadRequestResponse({ description: 'The body is not valid, or the key is missing or malformed' }),
    ApiNotFoundResponse({ description: 'There is no such order' }),
    ApiConflictResponse({ description: 'The first request still runs, or the order cannot be refunded' }),
    ApiUnprocessableEntityResponse({ description: 'The key was used with another body' }),
    ApiServiceUnavailableResponse({ description: 'Lock or store is unavailable; nothing was done' }),
  );
}
