/** What single keys do outside of text fields; the sheet is made of the table that binds them. */
import type { App } from './app.ts';
import { openDialog } from './dialogs.ts';
import { button, el } from './dom.ts';
import { canPick } from './thread.ts';

/** Where it is kept that somebody does not want single keys. */
const OFF = 'chats: no single keys';

interface Key {
  key: string;
  does: string;
  act: (app: App, page: Page) => void;
}
/** What keys do besides what the app does. */
export interface Page {
  focusComposer(): void;
  startEdit(): void;
}

const pickKey = (place: number): Key => ({
  key: `${place + 1}`,
  does: `pick answer ${'ABCD'[place]}`,
  act: (app) => {
    const answer = app.thread.at(-1)?.answers[place];
    if (answer !== undefined && canPick(app.thread.at(-1)?.answers ?? [])) void app.pick(answer);
  },
});
const voteKey = (key: string, value: 1 | -1, does: string): Key => ({
  key,
  does: `${does} the answer that the thread goes on from`,
  act: (app) => {
    const answer = app.thread.at(-1)?.on;
    if (answer !== undefined) void app.vote(answer, answer.vote === value ? 0 : value);
  },
});

const KEYS: readonly Key[] = [
  ...[0, 1, 2, 3].map(pickKey),
  voteKey('+', 1, 'call good'),
  voteKey('-', -1, 'call bad'),
  { key: 's', does: 'stop the answers', act: (app) => void app.stop() },
  {
    key: 'r',
    does: 'have the last message answered again',
    act: (app) => {
      const user = app.thread.at(-1)?.user;
      if (user !== undefined) void app.again(user.id);
    },
  },
  { key: 'e', does: 'edit the last message', act: (_, page) => page.startEdit() },
  { key: 'n', does: 'begin a new chat', act: (app) => void app.create() },
  { key: '/', does: 'write a message', act: (_, page) => page.focusComposer() },
  { key: '?', does: 'show this sheet', act: () => openKeys() },
];

/** Binds the keys. */
export function bindKeys(app: App, page: Page): void {
  document.addEventListener('keydown', (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing || isOff()) return;
    const { target } = event;
    if (target instanceof Element && target.closest('input, textarea, select, dialog') !== null) return;
    const found = KEYS.find(({ key }) => key === event.key);
    if (found === undefined) return;
    event.preventDefault();
    found.act(app, page);
  });
}

/** Shows which keys do what. */
export function openKeys(): void {
  const box = el('input', { type: 'checkbox' });
  box.checked = !isOff();
  box.addEventListener('change', () => {
    if (box.checked) localStorage.removeItem(OFF);
    else localStorage.setItem(OFF, 'yes');
  });
  const rows = KEYS.map(({ key, does }) =>
    el('tr', {}, el('th', { scope: 'row' }, el('kbd', {}, key)), el('td', {}, does)),
  );
  openDialog('Keys', (close) => [
    el('p', {}, 'In the message: Enter sends, Shift+Enter begins a line. Elsewhere:'),
    el('table', {}, el('tbody', {}, ...rows)),
    el('label', { class: 'check' }, box, ' Use single keys'),
    el('div', { class: 'actions' }, button('Close', close)),
  ]);
}

function isOff(): boolean {
  return localStorage.getItem(OFF) !== null;
}
