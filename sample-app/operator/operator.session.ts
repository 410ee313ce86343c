import { createHash, createHmac, timingSafeEqual } from 'node:crypto';
import type { IncomingHttpHeaders } from 'node:http';
import { Injectable } from '@nestjs/common';
import { hours } from 'nestjs-idempotent';
import { Environment } from '../config/environment.js';

const COOKIE = 'operator';
const LIFE_MS = hours(8);

/** Who has the operators' token, and who has shown it and carries a cookie since. */
@Injectable()
export class OperatorSession {
  private readonly token: string;

  constructor({ OPERATOR_TOKEN }: Environment) {
    if (OPERATOR_TOKEN === undefined) throw new Error('Without OPERATOR_TOKEN nobody may be an operator');
    this.token = OPERATOR_TOKEN;
  }

  isToken(given: string): boolean {
    return isSame(given, this.token);
  }

  /** A program: `curl -H "Authorization: Bearer …"`. */
  isBearer({ authorization }: IncomingHttpHeaders): boolean {
    const [, given] = /^bearer +(\S+) *$/i.exec(authorization ?? '') ?? [];
    return given !== undefined && this.isToken(given);
  }

  hasCookie({ cookie = '' }: IncomingHttpHeaders): boolean {
    const values = cookie.split(';').map((pair) => pair.trim());
    return values.some(
      (pair) => pair.startsWith(`${COOKIE}=`) && this.isValid(pair.slice(COOKIE.length + 1)),
    );
  }

  /** The header that begins a session. The cookie has a signature in it, not the token. */
  begin(): string {
    const until = String(Date.now() + LIFE_MS);
    return cookie(`${until}.${this.signature(until)}`, LIFE_MS / 1_000);
  }

  end(): string {
    return cookie('', 0);
  }

  private isValid(value: string): boolean {
    const [until = '', signature = ''] = value.split('.');
    return isSame(signature, this.signature(until)) && Number(until) > Date.now();
  }

  /** Another token makes all cookies worthless. */
  private signature(until: string): string {
    return createHmac('sha256', this.token).update(`operator session until ${until}`).digest('base64url');
  }
}

function cookie(value: string, seconds: number): string {
  return `${COOKIE}=${value}; Path=/operator; Max-Age=${seconds}; HttpOnly; SameSite=Strict`;
}

/** In a time that tells nothing of either, nor of their lengths. */
function isSame(one: string, other: string): boolean {
  const digest = (text: string) => createHash('sha256').update(text).digest();
  return timingSafeEqual(digest(one), digest(other));
}
