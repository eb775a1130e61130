/** Pages as Chromium shows them: errors and forbidden things are counted, and axe looks for what some people cannot use. */
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { type Browser, type BrowserContextOptions, chromium, type Page } from 'playwright-core';

const PLACES = [process.env.PALM_CHROMIUM, '/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'];

/** Pages with a megabyte of text take seconds on a busy machine. */
const TIMEOUT_MS = 100_000;

export const PHONE = { width: 390, height: 844 };
export const DESKTOP = { width: 1280, height: 900 };

/** A page, and what went wrong in it: errors of scripts, and what its Content-Security-Policy forbade. */
export interface OpenPage extends AsyncDisposable {
  page: Page;
  faults: string[];
}

/** Starts Chromium; tests share one. @throws Error if there is none */
export async function launchChromium(): Promise<Browser> {
  const executablePath = PLACES.find((place) => place !== undefined && existsSync(place));
  if (executablePath === undefined) {
    throw new Error('these tests need Chromium: apt-get install chromium, or name one in PALM_CHROMIUM');
  }
  return await chromium.launch({ executablePath, args: ['--no-sandbox'] });
}

/** Opens an address in a context of its own. */
export async function openPage(browser: Browser, url: string, options: BrowserContextOptions = {}): Promise<OpenPage> {
  const context = await browser.newContext({ viewport: DESKTOP, ...options });
  context.setDefaultTimeout(TIMEOUT_MS);
  const page = await context.newPage();
  const faults: string[] = [];
  page.on('pageerror', (error) => faults.push(`${error}`));
  page.on('console', (message) => {
    if (/Content Security Policy/i.test(message.text())) faults.push(message.text());
  });
  await page.goto(url);
  return { page, faults, [Symbol.asyncDispose]: () => context.close() };
}

/** What axe finds in a page as it is now, with the first place of each. */
export async function violations(page: Page): Promise<string[]> {
  const path = createRequire(import.meta.url).resolve('axe-core/axe.min.js');
  await page.evaluate(await readFile(path, 'utf8'));
  return await page.evaluate(async () => {
    const { axe } = globalThis as unknown as { axe: { run(): Promise<{ violations: Violation[] }> } };
    const found = await axe.run();
    return found.violations.map(({ id, help, nodes }) => `${id}: ${help}, at ${nodes[0]?.html}`);
  });
}

interface Violation {
  id: string;
  help: string;
  nodes: { html: string }[];
}
