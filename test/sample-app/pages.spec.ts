import type { Browser, Page } from 'playwright-core';
import { axeFinds, fitsWidth, keepScreenshot, LOOKS, openBrowser, openPage } from '../support/browser.js';
import { eventually, PATIENCE_MS, SampleProcess, sqliteUrl } from './sample-app.js';

const TOKEN = 'a-token-nobody-guesses';
const LOCK = 'Database lock table, Late retry';
const FOREIGN: Record<string, string>[] = [
  { origin: 'https://evil.example' },
  { 'sec-fetch-site': 'cross-site' },
];
const INDEX = 'Unique index, Late retry';

let app: SampleProcess;
let browser: Browser;

beforeAll(async () => {
  // A payout that does not end while this file is tested: a call that runs, for the operator.
  const variables = { LAB: 'embedded', OPERATOR_TOKEN: TOKEN, BANK_LATENCY_MS: '600000' };
  [app, browser] = await Promise.all([
    SampleProcess.start({ DATABASE_URL: sqliteUrl(), ...variables }),
    openBrowser(),
  ]);
}, PATIENCE_MS);
afterAll(async () => {
  await Promise.all([browser?.close(), app?.[Symbol.asyncDispose]()]);
}, PATIENCE_MS);

const cell = (page: Page, name: string) =>
  page.getByRole('gridcell', { name: `${name}:` }).getByRole('button');
const looksLike = (page: Page, name: string, words: RegExp) =>
  cell(page, name).filter({ hasText: words }).waitFor();

it(
  'shows from the page alone why a lock is not idempotency',
  async () => {
    const { page, errors } = await openPage(browser, app.url);
    await page.getByText('A lock answers: is somebody doing this right now?').waitFor();
    await looksLike(page, LOCK, /not played expected: PAYS TWICE/);
    await looksLike(page, INDEX, /not played expected: pays once/);
    await page.getByRole('button', { name: 'Show me' }).click();
    await looksLike(page, LOCK, /PAYS TWICE 2 payouts, as expected/);
    await looksLike(page, INDEX, /pays once as expected/);
    const story = page.locator('#story');
    await story.getByText('nothing else is remembered').waitFor();
    expect(await story.locator('.moment.payout').allTextContents()).toHaveLength(3);
    await page.locator('#announcer', { hasText: /as expected\. 2 of \d+ cells played/ }).waitFor({
      state: 'attached',
    });
    await keepScreenshot(page, 'lab-story');
    expect(errors).toEqual([]);
    await page.context().close();
  },
  PATIENCE_MS,
);

it(
  'a cell opens by the keyboard, tells what happened in words, and is played again',
  async () => {
    const { page, errors } = await openPage(browser, `${app.url}/#sql-lock/late-retry`);
    const dialog = page.getByRole('dialog', { name: 'Database lock table × Late retry' });
    await dialog.getByText('Expected: PAYS TWICE.').waitFor();
    const rows = dialog.getByRole('row');
    expect((await rows.allTextContents()).join('\n')).toMatch(/PAYOUT 1 pays[^]*PAYOUT 2 pays/);
    await page.keyboard.press('Escape');
    await dialog.waitFor({ state: 'hidden' });

    await cell(page, LOCK).focus();
    await page.keyboard.press('ArrowLeft');
    await page.keyboard.press('Enter');
    const other = page.getByRole('dialog', { name: 'Database lock table × 20 at once' });
    await other.getByText('It was not played yet.').waitFor();
    await other.getByRole('button', { name: 'Play it' }).click();
    await other.getByText(/^pays once$/).waitFor();
    await other.getByRole('button', { name: 'Play it again' }).waitFor();
    expect(await other.locator('tr.payout').allTextContents()).toHaveLength(1);
    await other.getByRole('button', { name: 'Close' }).click();
    expect(await page.evaluate('document.activeElement.textContent')).toMatch(/20 at once: pays once/);
    expect(await page.locator('.matrix [tabindex="0"]').count()).toBe(1);
    expect(errors).toEqual([]);
    await page.context().close();
  },
  PATIENCE_MS,
);

it(
  'whatever cannot be played says why, and what to type',
  async () => {
    const { page } = await openPage(browser, `${app.url}/#redlock/node-restart`);
    const dialog = page.getByRole('dialog', { name: /^Redlock ×/ });
    await dialog.getByText(/needs redis-nodes.*which the embedded lab has not/).waitFor();
    expect(await dialog.locator('pre').textContent()).toBe('npm run lab');
    expect(await dialog.getByRole('button', { name: 'Play' }).count()).toBe(0);
    await page.context().close();
    const refused = await app.post('/lab/run', { scheme: 'redlock', scenario: 'node-restart' });
    expect(refused).toMatchObject({ status: 409, json: { code: 'lab-unavailable' } });
  },
  PATIENCE_MS,
);

it(
  'an experiment of the visitor’s own: whom he kills is dead, and the ledger stands beside it',
  async () => {
    const { page, errors } = await openPage(browser, app.url);
    await page.locator('select[name=scheme]').selectOption('sql-lock');
    await page.getByLabel('Duplicates').fill('2');
    await page.getByLabel('The bank takes').fill('3000');
    await page.getByRole('button', { name: 'Start', exact: true }).click();
    const experiment = page.locator('#experiment');
    await experiment.locator('tr.note', { hasText: 'has the lock' }).first().waitFor();
    const busy = { scheme: 'sql-lock', duplicates: 1, ttlMs: 1_000, bankLatencyMs: 0 };
    expect(await app.post('/lab/experiment', busy)).toMatchObject({
      status: 409,
      json: { code: 'lab-busy' },
    });
    await page.getByRole('button', { name: 'Kill a payment service' }).click();
    await experiment.getByText(/payment-\d was killed/).waitFor();
    await experiment.locator('tr.fault').waitFor();
    await experiment.locator('.count', { hasText: /payouts?$/ }).waitFor();
    await experiment.getByText(/^(pays once|PAYS TWICE)$/).waitFor();
    await page.locator('#experiment').scrollIntoViewIfNeeded();
    await keepScreenshot(page, 'lab-experiment');
    expect(errors).toEqual([]);
    await page.context().close();
  },
  PATIENCE_MS,
);

it('starts and kills nothing for the page of another site, nor for what it does not understand', async () => {
  const everywhere = ['/lab/run', '/lab/experiment', '/lab/experiment/kill', '/lab/experiment/send'];
  for (const path of everywhere) {
    for (const headers of FOREIGN) expect((await app.post(path, {}, headers)).status).toBe(403);
    expect((await app.post(path, 'scheme=redlock', { 'content-type': 'text/plain' })).status).toBe(415);
  }
  for (const body of [{ scheme: 'none' }, { scenario: 'none' }, { scheme: 7 }])
    expect(await app.post('/lab/run', body)).toMatchObject({
      status: 400,
      json: { code: 'invalid-request' },
    });
  const options = { scheme: 'sql-lock', duplicates: 1, ttlMs: 1_000, bankLatencyMs: 0 };
  for (const wrong of [{ duplicates: 51 }, { ttlMs: 1 }, { bankLatencyMs: -1 }, { duplicates: '1' }])
    expect((await app.post('/lab/experiment', { ...options, ...wrong })).text).toContain(
      Object.keys(wrong)[0]!,
    );
  expect(await app.post('/lab/experiment/kill', {})).toMatchObject({
    status: 409,
    json: { code: 'lab-idle' },
  });
  expect((await app.get('/lab/results/sql-lock/none')).status).toBe(404);
  expect((await app.get('/assets/..%2fpage.ts')).status).toBe(404);
});

it(
  'however often it is asked, a cell waits once',
  async () => {
    const wanted = { scheme: 'select-then-insert', scenario: 'late-retry' };
    const answers = await Promise.all(Array.from({ length: 8 }, () => app.post('/lab/run', wanted)));
    expect(answers.filter(({ json }) => json.added === 1)).toHaveLength(1);
    expect(answers.filter(({ json }) => json.added === 0)).toHaveLength(7);
  },
  PATIENCE_MS,
);

it(
  'the operator finds a running call and takes its key, with who and why',
  async () => {
    await app.pay('operated');
    // Never answered: the app ends first.
    app.refund('operated', 'operated-key').catch(() => undefined);
    const { page, errors } = await openPage(browser, `${app.url}/operator`, LOOKS[1]);
    expect(await axeFinds(page)).toEqual([]);
    await page.getByLabel('Token').fill(TOKEN);
    await page.getByRole('button', { name: 'Sign in' }).click();
    await page.getByRole('heading', { name: 'Records' }).waitFor();
    await eventually(
      async () => {
        await page.getByLabel('State').selectOption('running');
        await page.getByRole('button', { name: 'Show' }).click();
        return page.getByRole('link', { name: 'operated-key' }).count();
      },
      (count) => count === 1,
      60_000,
    );
    expect(await axeFinds(page)).toEqual([]);
    await page.getByRole('link', { name: 'operated-key' }).click();
    await page.getByLabel('Who').fill('anna');
    await page.getByLabel('Why').fill('the bank hangs');
    expect(await axeFinds(page)).toEqual([]);
    await keepScreenshot(page, 'operator-record');
    await page.getByRole('button', { name: 'Release' }).click();
    await page.getByRole('cell', { name: 'the bank hangs' }).waitFor();
    expect(await page.getByRole('region', { name: 'Audit' }).textContent()).toMatch(/anna.*freed the key/s);
    expect(await fitsWidth(page)).toBe(true);
    // 401 is what a browser is told first.
    expect(errors.filter((error) => !error.includes('401'))).toEqual([]);
    await page.context().close();
  },
  PATIENCE_MS,
);

it.each(LOOKS)(
  'axe finds nothing at $width pixels, $colorScheme, and nothing is wider than the window',
  async (look) => {
    const name = `${look.width}-${look.colorScheme}`;
    const { page, errors } = await openPage(browser, app.url, look);
    await looksLike(page, LOCK, /PAYS TWICE/);
    expect(await axeFinds(page)).toEqual([]);
    expect(await fitsWidth(page)).toBe(true);
    await page.evaluate(`document.querySelector('#progress').scrollIntoView()`);
    await keepScreenshot(page, `lab-matrix-${name}`);
    await cell(page, LOCK).click();
    await page.getByRole('dialog').locator('tr.payout').first().waitFor();
    expect(await axeFinds(page)).toEqual([]);
    await keepScreenshot(page, `lab-cell-${name}`);
    await page.goto(`${app.url}/start`);
    expect(await axeFinds(page)).toEqual([]);
    expect(await fitsWidth(page)).toBe(true);
    expect(errors).toEqual([]);
    await page.context().close();
  },
  PATIENCE_MS,
);

it(
  'switched off, the page says so and nothing can be played',
  async () => {
    await using off = await SampleProcess.start({ DATABASE_URL: sqliteUrl(), LAB: 'off' });
    const { text, headers } = await off.get('/');
    expect(text).toContain('The lab is switched off here');
    expect(text).not.toContain('<script');
    expect(headers.get('content-security-policy')).toMatch(/default-src 'none'; script-src 'self'/);
    expect((await off.get('/lab/cells')).status).toBe(404);
    expect((await off.post('/lab/run', {})).status).toBe(404);
  },
  PATIENCE_MS,
);
