import { applyDecorators, Header } from '@nestjs/common';
import { type Html, html } from './html.js';

interface Page {
  readonly title: string;
  readonly body: Html;
  /** Path of the page, for the links at the top. */
  readonly path: string;
  readonly hasOperator: boolean;
  /** A style sheet of its own, by its address. */
  readonly style?: string;
  /** Module to run, by its address. */
  readonly script?: string;
}

const LINKS = [
  ['/', 'Lab'],
  ['/start', 'Try it'],
  ['/api', 'API'],
  ['/ledger', 'Ledger'],
  ['/metrics', 'Metrics'],
  ['/health', 'Health'],
  ['/operator', 'Operator'],
] as const;

/** A whole document. */
export function page({ title, body, path, hasOperator, style, script }: Page): string {
  const links = LINKS.filter(([to]) => hasOperator || to !== '/operator').map(([to, name]) =>
    to === path ? html`<a href="${to}" aria-current="page">${name}</a> ` : html`<a href="${to}">${name}</a> `,
  );
  return html`<!doctype html>
    <html lang="en">
      <head>
        <meta charset="utf-8" />
        <meta name="viewport" content="width=device-width, initial-scale=1" />
        <title>${title}</title>
        <link rel="icon" href="/assets/icon.svg" />
        <link rel="stylesheet" href="/assets/page.css" />
        ${style && html`<link rel="stylesheet" href="${style}" />`}
        ${script && html`<script type="module" src="${script}"></script>`}
      </head>
      <body>
        <a class="skip" href="#main">To the content</a>
        <nav aria-label="Pages">${links}</nav>
        <main id="main" tabindex="-1">${body}</main>
      </body>
    </html> `.text;
}

/** Nothing but what this app serves, no script inside of the page, and nobody's frame. */
const CONTENT_SECURITY_POLICY = [
  `default-src 'none'`,
  `script-src 'self'`,
  `style-src 'self'`,
  `img-src 'self'`,
  `connect-src 'self'`,
  `form-action 'self'`,
  `base-uri 'none'`,
  `frame-ancestors 'none'`,
].join('; ');

export const PAGE_HEADERS: Readonly<Record<string, string>> = {
  'Content-Type': 'text/html; charset=utf-8',
  'Content-Security-Policy': CONTENT_SECURITY_POLICY,
  'Cache-Control': 'no-store',
  'X-Content-Type-Options': 'nosniff',
  // Not "no-referrer": then browsers would hide the origin of forms from the check of it, too.
  'Referrer-Policy': 'same-origin',
};

/** On a handler that returns a `page`. */
export function AnswersPage(): MethodDecorator {
  return applyDecorators(...Object.entries(PAGE_HEADERS).map(([name, value]) => Header(name, value)));
}
