import { mkdirSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { readFile } from 'node:fs/promises';
import { type Browser, chromium, type Page } from 'playwright-core';
import { findBrowser } from '../../sample-app/servers/server-binaries.js';

const ARTEFACTS = join(import.meta.dirname, '../artefacts');
const AXE = createRequire(import.meta.url).resolve('axe-core/axe.min.js');

export interface Look {
  readonly width: number;
  readonly colorScheme: 'light' | 'dark';
}

export const LOOKS: readonly Look[] = [
  { width: 1300, colorScheme: 'light' },
  { width: 375, colorScheme: 'dark' },
];

/** The system's browser, without a window. */
export async function openBrowser(): Promise<Browser> {
  const executablePath = findBrowser();
  if (!executablePath) throw new Error('No browser is installed. Run: npm run test:servers -- --browser');
  // As root it has no sandbox of its own. It opens nothing but the pages of these tests.
  const args = process.getuid?.() === 0 ? ['--no-sandbox'] : [];
  return chromium.launch({ executablePath, args, timeout: 90_000 });
}

/** A page of a visitor of its own. What its console says of errors is in `errors`. */
export async function openPage(
  browser: Browser,
  url: string,
  { width, colorScheme }: Look = LOOKS[0]!,
): Promise<{ page: Page; errors: string[] }> {
  const context = await browser.newContext({ viewport: { width, height: 900 }, colorScheme });
  context.setDefaultTimeout(60_000);
  const page = await context.newPage();
  const errors: string[] = [];
  page.on('pageerror', (error) => errors.push(error.message));
  page.on('console', (message) => message.type() === 'error' && errors.push(message.text()));
  await page.goto(url);
  return { page, errors };
}

interface Findings {
  readonly violations: readonly { id: string; impact: string; nodes: { html: string }[] }[];
}

/** What axe finds, but for what is of minor impact; a line each. */
export async function axeFinds(page: Page): Promise<string[]> {
  await page.evaluate(await readFile(AXE, 'utf8'));
  const { violations } = await page.evaluate<Findings>('axe.run()');
  return violations
    .filter(({ impact }) => impact !== 'minor')
    .map(({ id, impact, nodes }) => `${impact} ${id}: ${nodes[0]?.html}`);
}

/** Kept in `test/artefacts`. */
export async function keepScreenshot(page: Page, name: string): Promise<void> {
  mkdirSync(ARTEFACTS, { recursive: true });
  await page.screenshot({ path: join(ARTEFACTS, `${name}.png`) });
}

/** Whether all of it is as wide as the window, so that nothing has to be pushed from side to side. */
export function fitsWidth(page: Page): Promise<boolean> {
  return page.evaluate('document.documentElement.scrollWidth <= window.innerWidth');
}
