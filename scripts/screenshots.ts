/**
 * Makes the pictures of the README, with Chromium: `npm run screenshots -- RUN`, where RUN is the folder of a run, such as the PPO of
 * `npm run demo`, or of a sweep. The chat page shows SmolLM2, which is fetched first.
 */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Page } from 'playwright-core';
import { launchChromium, openPage } from '../test/chromium.ts';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const pictures = join(root, 'docs', 'pictures');
const SIZE = { viewport: { width: 1200, height: 760 }, deviceScaleFactor: 1 };

const [run] = process.argv.slice(2);
if (run === undefined) throw new Error('name a run: npm run screenshots -- RUN');
mkdirSync(pictures, { recursive: true });
const browser = await launchChromium();
const folder = mkdtempSync(join(tmpdir(), 'palm-screenshots-'));
try {
  const model = execFileSync('npm', ['run', '--silent', 'fetch:smollm2'], { cwd: root, encoding: 'utf8' }).trim();
  await picture('chat', ['serve', model, '--served-model-name', 'SmolLM2', '--chats', join(folder, 'chats')], converse);
  await picture('watch', ['watch', run], async (page) => {
    await page.waitForLoadState('networkidle');
  });
} finally {
  await browser.close();
  rmSync(folder, { recursive: true });
}

/** Starts a command that serves a page, lets `act` use it, and keeps a picture. */
async function picture(name: string, args: string[], act: (page: Page) => Promise<void>): Promise<void> {
  const server = spawn('node', [join(root, 'dist/cli/main.js'), ...args, '--port', '0'], { stdio: 'pipe' });
  try {
    await using opened = await openPage(browser, await addressOf(server), SIZE);
    await act(opened.page);
    await opened.page.screenshot({ path: join(pictures, `${name}.png`) });
    console.log(join(pictures, `${name}.png`));
  } finally {
    server.kill();
  }
}

/** The address that a server prints last. */
async function addressOf(server: ChildProcess): Promise<string> {
  let text = '';
  for await (const piece of server.stdout ?? []) {
    text += piece;
    const [, page] = /^(http:\S+)(?: is the chat page)?$/m.exec(text) ?? [];
    if (page !== undefined) return page;
  }
  throw new Error(`the server ended: ${text}`);
}

async function converse(page: Page): Promise<void> {
  await page.getByLabel('Message', { exact: true }).fill('Why do leaves turn red in autumn? Answer in two sentences.');
  await page.keyboard.press('Enter');
  await page
    .getByRole('status')
    .filter({ hasText: /2 answers/ })
    .waitFor({ state: 'attached' });
}
