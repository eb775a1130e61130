/** The chat page: a list of chats, the thread of one, and where the next message is written. */
import { beginSession } from '../../web/browser/session.ts';
import { App } from './app.ts';
import { Cards } from './cards.ts';
import { confirmFirst } from './dialogs.ts';
import { button, el, redraw } from './dom.ts';
import { bindKeys, openKeys } from './keys.ts';
import { openSettings } from './settings.ts';
import { canPick, letterOf } from './thread.ts';

const status = el('div', { role: 'status', class: 'spoken' });
const alert = el('div', { role: 'alert', class: 'alert' });
const list = el('ul', { class: 'chats' });
const older = button('Older chats', () => void app.older());
const title = el('input', { class: 'title', 'aria-label': 'Title of the chat', maxlength: 200 });
const training = el('input', { type: 'checkbox', role: 'switch', id: 'training' });
const composer = el('textarea', { id: 'composer', 'aria-label': 'Message', rows: 3 });
const hint = el('p', { class: 'hint', id: 'hint' });
const sendButton = el('button', { type: 'submit', class: 'primary' }, 'Send');
const stopButton = button('Stop', () => void app.stop());
const sidebar = el('nav', { 'aria-label': 'Chats', id: 'list' });
const toggle = button('Chats', () => toggleList(), {
  class: 'toggle',
  'aria-expanded': false,
  'aria-controls': 'list',
});

const app: App = new App({
  draw,
  grow,
  say,
  fail: (text) =>
    redraw(
      alert,
      text,
      button('Dismiss', () => redraw(alert)),
    ),
  focusComposer: () => composer.focus(),
});
const cards = new Cards(app);

function layOut(): void {
  const header = el(
    'header',
    {},
    toggle,
    title,
    el('label', { class: 'check', for: 'training' }, training, ' May be used for training'),
    button('Settings', () => openSettings(app)),
    button('Delete', askToDelete),
    button('Keys', openKeys),
  );
  const form = el(
    'form',
    { class: 'composer' },
    alert,
    composer,
    el('div', { class: 'actions' }, sendButton, stopButton, hint),
  );
  form.addEventListener('submit', (event) => {
    event.preventDefault();
    void sendMessage();
  });
  sidebar.append(
    button('New chat', () => void app.create(), { class: 'primary' }),
    list,
    older,
  );
  const main = el('main', {}, el('h1', { class: 'spoken' }, 'Chat'), header, cards.element, form);
  document.getElementById('page')?.append(sidebar, main, status);
}

/** Draws everything but what people are writing. */
function draw(): void {
  const { tree, isLive } = app;
  drawList();
  if (document.activeElement !== title) title.value = tree?.title ?? '';
  training.checked = tree?.training ?? false;
  const isNear = document.documentElement.scrollHeight - innerHeight - scrollY < 80;
  cards.draw();
  if (isNear) scrollTo(0, document.documentElement.scrollHeight);
  hint.textContent = hintOf();
  sendButton.disabled = isLive || tree === undefined;
  stopButton.disabled = !isLive;
  if (tree !== undefined && composer.dataset.chat !== tree.id) {
    composer.dataset.chat = tree.id;
    composer.value = localStorage.getItem(draftOf(tree.id)) ?? '';
    if (new URL(location.href).searchParams.get('chat') !== tree.id) history.pushState(null, '', `?chat=${tree.id}`);
  }
}

/** What can be done now that does not show by itself. */
function hintOf(): string {
  if (app.isLive) return 'Answering. A vote or a pick stops it, too.';
  const last = app.thread.at(-1);
  if (last?.on.state === 'failed' || last?.on.state === 'lost')
    return 'This answer has no end: have the message answered again.';
  if (last !== undefined && canPick(last.answers)) {
    return `Pick the best answer, or go on from ${letterOf(last.on)} without picking.`;
  }
  return continuesText() ? 'The model continues text: what you write is put directly behind it.' : '';
}

function drawList(): void {
  const items = app.chats.map(({ id, title: name }) => {
    const open = () => {
      toggleList(false);
      void app.open(id);
    };
    return el(
      'li',
      {},
      button(name, open, { key: `chat ${id}`, 'aria-current': id === app.tree?.id ? 'page' : undefined }),
    );
  });
  redraw(list, ...items);
  older.hidden = !app.more;
}

function grow(id: string, text: string): void {
  const isNear = document.documentElement.scrollHeight - innerHeight - scrollY < 80;
  cards.grow(id, text);
  if (isNear) scrollTo(0, document.documentElement.scrollHeight);
}

/** Screen readers read what is new in the element, also if it is what they have just read. */
function say(text: string): void {
  status.textContent = '';
  requestAnimationFrame(() => {
    status.textContent = text;
  });
}

function continuesText(): boolean {
  const names = app.tree?.parameters.models ?? [];
  const asked = names.length === 0 ? app.models.slice(0, 1) : app.models.filter(({ name }) => names.includes(name));
  return asked.some(({ form }) => form === 'text');
}

async function sendMessage(): Promise<void> {
  const text = composer.value;
  const chat = app.tree?.id;
  if (text.trim() === '' || chat === undefined || app.isLive) return;
  composer.value = '';
  // The text is given back unless the server has it.
  if (await app.sendText(text)) localStorage.removeItem(draftOf(chat));
  else if (app.tree?.id === chat && composer.value === '') composer.value = text;
}

function askToDelete(): void {
  const { tree } = app;
  if (tree === undefined) return;
  const text = `“${tree.title}”, its answers and what was said about them will be gone.`;
  confirmFirst('Delete this chat?', text, 'Delete for good', () => void app.remove());
}

/** On a phone, shows the list, or hides it. */
function toggleList(isOpen = !sidebar.classList.contains('open')): void {
  sidebar.classList.toggle('open', isOpen);
  toggle.setAttribute('aria-expanded', `${isOpen}`);
  if (isOpen) list.querySelector('button')?.focus();
}

function draftOf(chat: string): string {
  return `draft of ${chat}`;
}

function listen(): void {
  composer.addEventListener('input', () => localStorage.setItem(draftOf(composer.dataset.chat ?? ''), composer.value));
  composer.addEventListener('keydown', (event) => {
    // A keyboard on glass has no Shift+Enter for a new line: there only the button sends.
    if (event.key !== 'Enter' || event.shiftKey || event.isComposing || matchMedia('(pointer: coarse)').matches) return;
    event.preventDefault();
    void sendMessage();
  });
  title.addEventListener('change', () => void app.rename(title.value.trim() || 'New chat'));
  training.addEventListener('change', () => void app.allowTraining(training.checked));
  addEventListener('popstate', () => {
    const id = new URL(location.href).searchParams.get('chat');
    if (id !== null && id !== app.tree?.id) void app.open(id);
  });
  const startEdit = () =>
    cards.element.querySelector<HTMLButtonElement>('li:last-child > .user button[data-key^=edit]')?.click();
  bindKeys(app, { focusComposer: () => composer.focus(), startEdit });
}

layOut();
listen();
await beginSession();
await app.begin(new URL(location.href).searchParams.get('chat'));
