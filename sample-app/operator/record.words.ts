import type { ListedRecord } from 'nestjs-idempotent';
import { type Html, html } from '../web/html.js';

export function stateOf({ state, token, leaseRemainingMs }: ListedRecord): string {
  if (state !== 'running') return state;
  if (token === null) return 'free';
  return leaseRemainingMs > 0 ? 'running' : 'stuck';
}

export const STATE_MEANS: Readonly<Record<string, string>> = {
  running: 'Its owner is at work. Released, the owner loses the key and records nothing.',
  stuck: 'Its owner is gone: the lease is over, and there is no answer.',
  free: 'Nobody has the key. The next call with the same payload runs.',
  uncertain: 'Nobody knows whether the work was done. Find out, then resolve it.',
  completed: 'It has its answer, which duplicates get until it expires.',
};

export function timeOf(at: number | null): Html | string {
  if (at === null) return '–';
  const iso = new Date(at).toISOString();
  return html`<time datetime="${iso}">${iso.replace('T', ' ').slice(0, 19)} UTC</time>`;
}
