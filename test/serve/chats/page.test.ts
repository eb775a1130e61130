/** The chat page in Chromium: everything by keyboard, spoken, on phone and desktop, and whatever a model writes is only text. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Hono } from 'hono';
import type { Browser, Locator, Page } from 'playwright-core';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { chatPage, OPEN_PATHS } from '../../../src/serve/chats/page.ts';
import { chatRoutes } from '../../../src/serve/chats/routes.ts';
import { ChatStore } from '../../../src/serve/chats/store.ts';
import { access } from '../../../src/web/access.ts';
import { type Listening, listen } from '../../../src/web/server.ts';
import { DESKTOP, launchChromium, type OpenPage, openPage, PHONE, violations } from '../../chromium.ts';
import { FakeModel } from './fake-models.ts';

let browser: Browser;
let folder: string;
let store: ChatStore;
let server: Listening;
let first: FakeModel;
let second: FakeModel;
let opened: OpenPage;
let page: Page;

beforeAll(async () => {
  browser = await launchChromium();
});
afterAll(() => browser.close());
beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'palm-chat-page-'));
  store = await ChatStore.open(folder);
  first = new FakeModel('org/first');
  second = new FakeModel('second');
  await serve([]);
  await visit();
});
afterEach(async () => {
  expect(opened.faults).toEqual([]);
  await opened[Symbol.asyncDispose]();
  await server.close(0);
  await store.close();
  rmSync(folder, { recursive: true });
});

async function serve(keys: string[], port = 0): Promise<void> {
  let seed = 0;
  const { app: routes } = chatRoutes({
    ...{ store, models: () => [first, second] },
    ...{ newSeed: () => ++seed, onError: (error: unknown) => void opened.faults.push(`${error}`) },
  });
  const app = new Hono();
  app.use(access({ keys, open: OPEN_PATHS, hosts: () => server.hosts, origins: [], now: Date.now }));
  app.route('/', routes);
  app.route('/', chatPage());
  server = await listen(app.fetch, { host: '127.0.0.1', port, allowedHosts: [], maxConnections: 50 });
}

async function visit(options: Parameters<typeof openPage>[2] = {}, hash = ''): Promise<void> {
  opened = await openPage(browser, `${server.url}/${hash}`, options);
  page = opened.page;
  await page
    .getByRole('status')
    .filter({ hasText: /^(New chat|Chat )/ })
    .waitFor({ state: 'attached' });
}

/** Writes a message, and sends it by Enter. */
async function say(text: string): Promise<void> {
  await page.getByLabel('Message', { exact: true }).fill(text);
  await page.keyboard.press('Enter');
}
const cards = () => page.getByRole('article');
const text = (card: Locator) => card.locator('.text').textContent();
const named = (name: string) => page.getByRole('button', { name, exact: true });
const spoken = (words: RegExp) => page.getByRole('status').filter({ hasText: words }).waitFor({ state: 'attached' });
const only = () => store.tree(store.chats(1)[0]?.id as string);
/** Pixels by which the page is wider than the window. */
const OVERFLOW = 'document.documentElement.scrollWidth - innerWidth';
/** What the element with the focus is called. */
const FOCUSED = `(({ activeElement: it }) => it.getAttribute('aria-label') ?? it.labels?.[0]?.textContent ?? it.textContent)(document)`;
/** Tab until something has the focus: nothing is reached in another way. */
async function tabTo(name: string): Promise<void> {
  for (let i = 0; i < 60; i++) {
    await page.keyboard.press('Tab');
    const focused = await page.evaluate<string | undefined>(FOCUSED);
    if (focused?.trim() === name) return;
  }
  throw new Error(`Tab never reaches ${name}`);
}

describe('the chat page', () => {
  it('is used by keyboard alone, and says what happens', async () => {
    expect(await page.evaluate('document.activeElement.id')).toBe('composer');
    await page.keyboard.type('a river?');
    await page.keyboard.press('Enter');
    await spoken(/2 answers: pick the best/);
    expect(await cards().count()).toBe(2);
    expect(await page.locator('body').textContent()).not.toContain('org/first');
    expect(await named('Copy as curl: A').count()).toBe(0);

    await tabTo('Pick B');
    await page.keyboard.press('Enter');
    await spoken(/Answer B picked; it is by org\/first/);
    expect(await page.evaluate('document.activeElement.id')).toBe('composer');
    await tabTo('Good: A');
    await page.keyboard.press('Space');
    await spoken(/Answer A: good/);
    expect(await page.evaluate(`document.activeElement.getAttribute('aria-pressed')`)).toBe('true');
    const { votes, picks, messages, chat } = only();
    expect([...votes.values()]).toEqual([1]);
    expect([...picks.values()][0]?.chosen).toBe(messages[2]?.id);
    expect(chat.title).toBe('a river?');

    await tabTo('May be used for training');
    await page.keyboard.press('Space');
    await spoken(/may not be used for training/);
    expect(only().chat.training).toBe(false);
    await page.keyboard.press('Escape');
  });

  it('picks, votes, edits, answers again and stops by single keys, which can be turned off', async () => {
    await say('a river?');
    await spoken(/2 answers/);
    await page.locator('body').click({ position: { x: 600, y: 400 } });
    await page.keyboard.press('1');
    await spoken(/Answer A picked/);
    await page.evaluate('document.activeElement.blur()');
    await page.keyboard.press('+');
    await spoken(/Answer A: good/);
    await page.keyboard.press('-');
    await spoken(/Answer A: bad/);
    await page.keyboard.press('r');
    await spoken(/2 answers/);
    first.hold(3);
    await page.keyboard.press('e');
    await page.keyboard.type(' wide');
    await page.keyboard.press('Control+Enter');
    await spoken(/Answering/);
    await page.evaluate('document.activeElement.blur()');
    await page.keyboard.press('s');
    await spoken(/Stopped/);
    const { messages } = only();
    expect(messages.filter(({ role }) => role === 'user').map((one) => one.text)).toEqual([
      'a river?',
      'a river? wide',
    ]);
    expect(messages.map((one) => ('state' in one ? one.state : ''))).toEqual([
      ...['', 'complete', 'complete', 'complete', 'complete', '', 'stopped', 'stopped'],
    ]);
    await page.keyboard.press('?');
    expect(await page.getByRole('dialog', { name: 'Keys' }).getByRole('row').count()).toBe(12);
    await page.getByLabel('Use single keys').uncheck();
    await page.keyboard.press('Escape');
    await page.keyboard.press('n');
    await named('Keys').click();
    await page.getByLabel('Use single keys').check();
    await page.keyboard.press('Escape');
    await page.keyboard.press('n');
    await spoken(/^New chat$/);
    expect(store.chats(5)).toHaveLength(2); // by the second n alone
  });

  it('shows answers as they grow, goes from branch to branch, and comes back to the same place after a reload', async () => {
    await say('first');
    await spoken(/2 answers/);
    await named('Go on from B').click();
    await spoken(/Going on from answer B/);
    first.script = (_, conversation) => [`after ${conversation.length}`];
    await say('second');
    await spoken(/2 answers: pick/);
    expect(first.asked.at(-1)?.conversation.map((one) => one.text)).toEqual(['first', 'answer 2 of several', 'second']);
    await named('Edit').first().click();
    await page.getByLabel('Edited message').fill('first, edited');
    await named('Send as a new branch').click();
    await page.getByText('first, edited').waitFor();
    await page.getByRole('button', { name: 'Previous: Versions of the message' }).click();
    await page.getByText('second').waitFor();
    expect(await page.getByText('after 3').count()).toBe(2);
    await named('Answer again').click();
    await page.getByText('2 of 2').last().waitFor();
    await page.getByRole('button', { name: 'Previous: Answers' }).click();
    await page.getByText('1 of 2').last().waitFor();
    await page.getByLabel('Message', { exact: true }).fill('not sent yet');
    const before = await page.locator('.thread').textContent();
    await page.reload();
    await page.getByText('second').waitFor();
    expect(await page.locator('.thread').textContent()).toBe(before);
    expect(await page.getByLabel('Message', { exact: true }).inputValue()).toBe('not sent yet');
  });

  it('lets a vote come while answers are written, which stops them', async () => {
    first.hold(5);
    await say('a river?');
    await page.getByText('answer 1 of').waitFor();
    await named('Bad: B').click();
    await page.getByText('stopped').first().waitFor();
    const answers = only().messages.slice(1);
    expect(answers.map((one) => 'state' in one && one.state)).toEqual(['stopped', 'stopped']);
    expect([...only().votes.values()]).toEqual([-1]);
    await named('Send').isEnabled();
  });

  it('has settings that are kept, and a command that is copied', async () => {
    await named('Settings').click();
    const dialog = page.getByRole('dialog');
    await dialog.getByLabel('second').check();
    await dialog.getByLabel('Answers to each message').fill('3');
    await dialog.getByLabel('Temperature').fill('0.5');
    await dialog.getByLabel('System message').fill("Don't.");
    await dialog.getByLabel('Stop strings').fill('x\ny');
    await named('Save').click();
    await spoken(/Settings saved/);
    const sampling = { temperature: 0.5, stop: ['x', 'y'] };
    expect(only().chat.parameters).toEqual({ models: ['org/first', 'second'], n: 3, system: "Don't.", sampling });
    await say('a river?');
    await spoken(/3 answers/);
    await named('Pick C').click();
    await spoken(/Answer C picked/);
    await page.context().grantPermissions(['clipboard-read', 'clipboard-write']);
    await named('Copy as curl: C').click();
    await spoken(/Copied/);
    const command = await page.evaluate('navigator.clipboard.readText()');
    expect(command).toContain(`curl ${server.url}/v1/chat/completions`);
    expect(command).toContain(`"content":"Don'\\''t."`);
    await named('Settings').click();
    await page.getByRole('dialog').getByLabel('Temperature').fill('9');
    await named('Save').click();
    expect(await page.getByRole('dialog').isVisible()).toBe(true);
    await page.keyboard.press('Escape');
  });

  it('asks before it deletes a chat, and renames one', async () => {
    await page.getByLabel('Title of the chat').fill('Rivers');
    await page.keyboard.press('Tab');
    await spoken(/Renamed to Rivers/);
    await named('Delete').click();
    await page.keyboard.press('Escape');
    expect(store.chats(5).map((one) => one.title)).toEqual(['Rivers']);
    await named('Delete').click();
    await named('Delete for good').click();
    await spoken(/New chat/);
    expect(store.chats(5).map((one) => one.title)).toEqual(['New chat']);
  });

  it('gives a message back that could not be sent, and says why', async () => {
    first.error = new Error('planted');
    await say('a river?');
    await page.getByRole('alert').filter({ hasText: 'the server failed to answer' }).waitFor();
    expect(opened.faults.splice(0)).toEqual(['Error: planted']);
    expect(await page.getByLabel('Message', { exact: true }).inputValue()).toBe('a river?');
    expect(only().messages).toEqual([]);
  });

  it('shows what there is of an answer when the server goes away, and goes on when it is there again', async () => {
    first.hold(3);
    await say('a river?');
    await page.getByText('answer 1').waitFor();
    const { port } = new URL(server.url);
    await server.close(0);
    await page.getByRole('alert').filter({ hasText: 'cannot be reached' }).waitFor();
    first.release();
    await serve([], Number(port));
    await page.reload();
    await page.getByText('stopped').first().waitFor();
    await named('Answer again').click();
    await spoken(/2 answers: pick/);
    expect(await page.getByText('2 of 2').count()).toBe(1);
  });

  it('needs the key that its address has, and takes it out of there', async () => {
    await opened[Symbol.asyncDispose]();
    await server.close(0);
    await serve(['secret']);
    opened = await openPage(browser, server.url);
    await opened.page.getByRole('alert').filter({ hasText: 'needs a key' }).waitFor();
    await opened[Symbol.asyncDispose]();
    await visit({}, '#key=secret');
    await say('a river?');
    await spoken(/2 answers/);
    expect(page.url()).not.toContain('secret');
  });
});

describe('what a model writes', () => {
  const hostile = [
    '<script>document.title="pwned"</script>',
    '<img src=x onerror="document.title=1">',
    '</textarea><b>bold</b> [link](javascript:document.title=2)',
    'left \u202e right-to-left override, and then \u0000 and \u001b[31m red',
  ];

  it('is only text, in answers, in messages and in titles', async () => {
    first.script = (index) => [hostile[index] as string];
    await named('Settings').click();
    await page.getByRole('dialog').getByLabel('Answers to each message').fill('4');
    await named('Save').click();
    await say(hostile.slice(0, 2).join(' '));
    await spoken(/4 answers/);
    for (const [i, one] of hostile.entries()) expect(await text(cards().nth(i))).toBe(one);
    expect(await page.locator('.thread img, .thread script, .thread b, .thread a').count()).toBe(0);
    expect(await page.locator('.chats img, .chats script').count()).toBe(0);
    expect(await page.title()).toBe('Chats');
    // An override ends with the text that has it: labels beside it read as they are written.
    const isolated = await page.evaluate(`getComputedStyle(document.querySelectorAll('.card .text')[3]).unicodeBidi`);
    expect(isolated).toMatch(/isolate/);
    expect(await page.evaluate(OVERFLOW)).toBeLessThanOrEqual(0);
  });

  it('may be a line of a megabyte', async () => {
    const line = 'x'.repeat(2 ** 20);
    first.script = (index) => (index === 0 ? [line] : ['short']);
    await say('a river?');
    await spoken(/2 answers/);
    expect((await text(cards().first()))?.length).toBe(line.length);
    expect(await page.evaluate(OVERFLOW)).toBeLessThanOrEqual(0);
    await named('Pick B').click();
    await spoken(/Answer B picked/);
  });
});

describe.each([
  ['a phone', PHONE],
  ['a desktop', DESKTOP],
])('on %s', (name, viewport) => {
  it.each(['light', 'dark'] as const)('nothing is found by axe, in %s', async (colorScheme) => {
    await opened[Symbol.asyncDispose]();
    await visit({ viewport, colorScheme });
    const picture = async (what: string) => {
      const { PALM_SCREENSHOTS: place } = process.env;
      if (place !== undefined) await page.screenshot({ path: join(place, `chat ${name} ${colorScheme} ${what}.png`) });
    };
    const check = async (what: string) => {
      await picture(what);
      expect(await violations(page)).toEqual([]);
      expect(await page.evaluate(OVERFLOW)).toBeLessThanOrEqual(0);
    };
    await check('new');
    first.script = (index) => [`Answer ${index + 1}: a river flows from its source to its mouth. `.repeat(3 + index)];
    await say('What does a river do?');
    await spoken(/2 answers/);
    await check('pick');
    await named('Pick B').click();
    await spoken(/picked/);
    await say('And a lake?');
    await spoken(/2 answers/);
    await check('picked');
    await named('Edit').last().click();
    await check('edit');
    await named('Cancel').click();
    await named('Settings').click();
    await check('settings');
    await page.keyboard.press('Escape');
    await named('Keys').click();
    await check('keys');
    await page.keyboard.press('Escape');
    if (name === 'a phone') {
      await named('Chats').click();
      await check('list');
    }
    first.error = new Error('planted');
    await say('more');
    await page.getByRole('alert').filter({ hasText: 'failed' }).waitFor();
    expect(opened.faults.splice(0)).toEqual(['Error: planted']);
    const box = await page.getByRole('alert').boundingBox();
    expect([(box?.y ?? -1) >= 0, (box?.y ?? 0) + (box?.height ?? 0) <= viewport.height]).toEqual([true, true]);
    await check('error');
  });
});
