import type { GivenAnswer, StoredResponse } from 'nestjs-idempotent';
import { Problem } from '../problem.js';
import type { ResolveDto } from './operator.dto.js';

/** Longer answers are cut where they are shown. */
const SHOWN_CHARACTERS = 4_096;

/** What the operator wants duplicates to get. */
export function answerOf({ outcome, status, body = '' }: ResolveDto): GivenAnswer | 'retry' {
  if (outcome === 'retry') return 'retry';
  const value = parsed(body);
  return outcome === 'value' ? { value } : { status: Number(status ?? 200), body: value };
}

function parsed(body: string): unknown {
  if (body.trim() === '') return undefined;
  try {
    return JSON.parse(body);
  } catch {
    throw new Problem('invalid-request', 'body must be JSON, for example {"refundId":"4711"}, or empty.');
  }
}

/** What duplicates get, for people. */
export interface AnswerText {
  readonly status: number | null;
  readonly headers: StoredResponse['headers'];
  readonly body: string;
}

export function answerText({ status, headers, body }: StoredResponse): AnswerText {
  return { status, headers, body: bodyText(body) };
}

function bodyText(body: Uint8Array | null): string {
  if (!body) return 'not kept: duplicates are refused with 409';
  try {
    const text = new TextDecoder('utf-8', { fatal: true }).decode(body);
    return text.length > SHOWN_CHARACTERS ? `${text.slice(0, SHOWN_CHARACTERS)} …` : text;
  } catch {
    return `${body.length} bytes that are no text`;
  }
}
