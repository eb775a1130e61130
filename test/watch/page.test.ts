/** The page about runs in Chromium: it follows a run, stays as it was left, and can be used without a pointer, in any size and color. */
import { mkdtempSync, rmSync, truncateSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Browser, BrowserContextOptions, Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { watchApp } from '../../src/watch/app.ts';
import { Watcher } from '../../src/watch/watcher.ts';
import { builtAssets } from '../../src/web/assets.ts';
import { type Listening, listen } from '../../src/web/server.ts';
import { DESKTOP, launchChromium, type OpenPage, openPage, PHONE, violations } from '../chromium.ts';
import { appendSteps, HOSTILE, runFolder } from './run-folder.ts';

const folder = mkdtempSync(join(tmpdir(), 'palm-watch-page-'));
let browser: Browser;
beforeAll(async () => {
  browser = await launchChromium();
});
afterAll(async () => {
  await browser.close();
  rmSync(folder, { recursive: true });
});

/** A server that watches folders, as the command starts it. */
async function serving(folders: readonly string[], { keys = [] as string[], port = 0 } = {}) {
  const watcher = new Watcher(folders);
  let server: Listening | undefined;
  const app = watchApp(watcher, {
    ...{ keys, origins: [], hosts: () => server?.hosts ?? new Set(), now: Date.now },
    assets: builtAssets('watch'),
    onError: (error) => {
      throw error;
    },
  });
  server = await listen(app.fetch, { host: '127.0.0.1', port, allowedHosts: [], maxConnections: 50 });
  await watcher.advance();
  watcher.start();
  const close = async () => {
    watcher.stop();
    await server?.close(0);
  };
  return { url: server.url, [Symbol.asyncDispose]: close };
}

/** A page, which waits for things for less long than a test may take. */
async function open(url: string, options: BrowserContextOptions = {}): Promise<OpenPage> {
  const opened = await openPage(browser, url, options);
  opened.page.setDefaultTimeout(10_000);
  return opened;
}

const live = (page: Page) =>
  page
    .getByRole('status')
    .filter({ hasText: /^live$/ })
    .waitFor();
const titled = (page: Page, pattern: RegExp) => expect.poll(() => page.title(), { timeout: 10_000 }).toMatch(pattern);

describe('the page', () => {
  it('follows a run, and keeps its place, what is unfolded and what has focus', async () => {
    const path = runFolder(join(folder, 'growing'), 20);
    await using server = await serving([path]);
    await using opened = await open(server.url);
    const { page } = opened;
    await live(page);
    await page.getByText('Earlier answers').first().click();
    await page.evaluate('scrollTo(0, 400)');
    const link = page.getByRole('link', { name: 'CSV of kl' });
    await link.focus();
    await page.evaluate('globalThis.focused = document.activeElement');
    const top = await page.evaluate('scrollY');
    appendSteps(path, 20, 25);
    await titled(page, /step 25 of 40/);
    await page.getByText('burning bright 25', { exact: true }).first().waitFor();
    expect(await page.locator('details').first().getAttribute('open')).toBe('');
    expect(await page.evaluate('scrollY')).toBe(top);
    expect(await page.evaluate('focused === document.activeElement && focused.isConnected')).toBe(true);
    for (const file of ['metrics.jsonl', 'timing.jsonl', 'samples.jsonl']) truncateSync(join(path, file), 0);
    appendSteps(path, 0, 3);
    await titled(page, /step 3 of 40/);
    expect(opened.faults).toEqual([]);
  });

  it('waits for a run that is not there yet, and for a server that is away', async () => {
    const path = join(folder, 'later');
    const first = await serving([path]);
    const port = Number(new URL(first.url).port);
    await using opened = await open(first.url);
    const { page } = opened;
    await titled(page, /waiting for the run to begin/);
    runFolder(path, 4);
    await titled(page, /step 4 of 40/);
    await first[Symbol.asyncDispose]();
    await page.getByText('the server does not answer').waitFor();
    appendSteps(path, 4, 9);
    await using _ = await serving([path], { port });
    await titled(page, /step 9 of 40/);
    expect(opened.faults).toEqual([]);
  });

  it('tells the numbers of tokens and of steps to a keyboard alone', async () => {
    await using server = await serving([runFolder(join(folder, 'keys'), 20)]);
    await using opened = await open(server.url);
    const { page } = opened;
    await live(page);
    const until = async (selector: string) => {
      for (let i = 0; i < 200; i++) {
        await page.keyboard.press('Tab');
        if (await page.evaluate(`document.activeElement.matches(${JSON.stringify(selector)})`)) return;
      }
      throw new Error(`no ${selector} by the Tab key`);
    };
    await until('#step-to-read');
    await page.keyboard.press('Home');
    await page.keyboard.press('ArrowRight');
    const reading = page.locator('figure', { hasText: 'kl' }).locator('output').first();
    await expect.poll(() => reading.textContent()).toBe('step 2: 0.2000');
    expect(await page.locator('.crosshair').count()).toBe(await page.locator('figure').count());
    await until('a[href*="answer=A-6"]');
    await page.keyboard.press('Enter');
    await page.getByRole('heading', { name: 'Tokens of the answer at step 20' }).waitFor();
    await until('.tokens');
    await page.keyboard.press('ArrowRight');
    await page.keyboard.press('ArrowRight');
    expect(await page.locator('#token-numbers').textContent()).toMatch(
      /^u: log-ratio to the reference 0\.8415, reward/,
    );
    expect(await page.getByRole('option', { selected: true }).getAttribute('aria-label')).toMatch(/^u: /);
    await page.keyboard.press('End');
    expect(await page.locator('#token-numbers').textContent()).toMatch(/^t: /);
    await until('#all-tokens summary');
    await page.keyboard.press('Enter');
    expect(await page.getByRole('cell', { name: '0.8415' }).count()).toBe(1);
    await page.goBack();
    await page.getByRole('heading', { name: 'Tokens of the answer' }).waitFor({ state: 'detached' });
    expect(opened.faults).toEqual([]);
  });

  it('tells them to a pointer', async () => {
    await using server = await serving([runFolder(join(folder, 'pointer'), 20)]);
    await using opened = await open(`${server.url}/?answer=A-6&by=reward`);
    const { page } = opened;
    await live(page);
    await page.locator('.tokens .token').nth(3).hover();
    expect(await page.locator('#token-numbers').textContent()).toMatch(/^n: /);
    await page.locator('figure svg').first().hover();
    await expect.poll(() => page.locator('figure output').first().textContent()).toMatch(/^step 1\d: /);
    expect(opened.faults).toEqual([]);
  });

  it('begins a session by the key in its address, and asks for one without', async () => {
    await using server = await serving([runFolder(join(folder, 'locked'), 5)], { keys: ['a key'] });
    await using without = await open(server.url);
    await without.page.getByText('this server needs a key').waitFor();
    expect(await without.page.locator('figure').count()).toBe(0);
    await using opened = await open(`${server.url}/#key=a%20key`);
    await opened.page.locator('figure').first().waitFor();
    expect(opened.page.url()).toBe(`${server.url}/`);
    expect([...without.faults, ...opened.faults]).toEqual([]);
  });

  it('shows hostile text as text', async () => {
    const path = runFolder(join(folder, 'hostile'), 10, { response: HOSTILE });
    await using server = await serving([path]);
    await using opened = await open(`${server.url}/?answer=A-0`);
    const { page } = opened;
    await live(page);
    appendSteps(path, 10, 15, { response: HOSTILE });
    await titled(page, /step 15/);
    expect(await page.locator('img, script:not([src])').count()).toBe(0);
    expect(await page.getByText("<script>document.title='owned'").count()).toBeGreaterThan(2);
    expect(opened.faults).toEqual([]);
  });

  it.each([
    ['phone', PHONE, 'light'],
    ['phone', PHONE, 'dark'],
    ['desktop', DESKTOP, 'light'],
    ['desktop', DESKTOP, 'dark'],
  ] as const)('is for everybody, on a %s: %o, %s', async (_name, viewport, colorScheme) => {
    const path = join(folder, 'everybody');
    rmSync(path, { recursive: true, force: true });
    const runs = [runFolder(path, 30, { kl: 1 }), runFolder(join(path, 'other'), 12)];
    await using server = await serving(runs);
    await using opened = await open(`${server.url}/?answer=A-2`, { viewport, colorScheme });
    const { page } = opened;
    await live(page);
    for (const summary of await page.locator('summary').all()) await summary.click();
    expect(await violations(page)).toEqual([]);
    expect(await page.evaluate('document.documentElement.scrollWidth')).toBeLessThanOrEqual(viewport.width);
    expect(opened.faults).toEqual([]);
  });

  it('has everything but news without scripts', async () => {
    await using server = await serving([runFolder(join(folder, 'plain'), 20)]);
    await using opened = await open(server.url, { javaScriptEnabled: false });
    const { page } = opened;
    expect(await page.locator('figure').count()).toBeGreaterThan(4);
    expect(await page.getByText('reload the page for news').isVisible()).toBe(true);
    await page.getByRole('link', { name: 'tokens of the answer at step 20' }).first().click();
    expect(await page.getByRole('option').count()).toBe(14);
    await page.getByRole('link', { name: 'the last half' }).click();
    expect(await page.getByText('from 10').count()).toBe(1);
  });
});
