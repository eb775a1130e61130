/** The script of the page: exchanges its content for a newer one when there is news, and tells numbers of steps and tokens. */
import { beginSession } from '../../web/browser/session.ts';
import { followPointer, showReading } from './crosshair.ts';
import { morph } from './morph.ts';
import { chooseTokens } from './tokens.ts';

/** News are gathered for so long; the page is never busy for more than a fifth of the time. */
const GATHER_MS = 1000;
const SHARE = 4;
/** A browser gives up after a refusal, which may be that of a server that has just begun. */
const AGAIN_MS = 10_000;

const page = document.querySelector('#page') as HTMLElement;
let wanted = false;
let busy = false;
let status = '';

/** Fetches the content for the address as it is now, and puts it in place. */
async function refresh(): Promise<void> {
  wanted = true;
  if (busy) return;
  busy = true;
  while (wanted) {
    wanted = false;
    const began = performance.now();
    await exchange().catch(() => say('the server does not answer: trying again'));
    await delay(Math.max(GATHER_MS, SHARE * (performance.now() - began)));
  }
  busy = false;
}

async function exchange(): Promise<void> {
  const response = await fetch(`/page${location.search}`);
  if (!response.ok) {
    say(((await response.json()) as { error: { message: string } }).error.message);
    return;
  }
  const { title, content } = (await response.json()) as { title: string; content: string };
  const template = document.createElement('template');
  template.innerHTML = `<div id="page">${content}</div>`;
  document.title = title;
  tell(template.content);
  morph(page, template.content.firstElementChild as Element);
  showReading();
}

/** Says whether news arrive, also in contents that come later. */
function say(text: string): void {
  status = text;
  tell(document);
}

function tell(place: ParentNode): void {
  const live = place.querySelector('#live');
  if (live !== null && live.textContent !== status) live.textContent = status;
}

function delay(milliseconds: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}

/** Follows links to other views without loading the page again, so that it stays where it is. */
function followLinks(): void {
  document.addEventListener('click', (event) => {
    const link = (event.target as Element).closest('a[href^="?"]');
    if (link === null || event.ctrlKey || event.metaKey || event.shiftKey || event.button !== 0) return;
    event.preventDefault();
    const { search, hash } = new URL((link as HTMLAnchorElement).href);
    history.pushState(null, '', `${search || location.pathname}${hash}`);
    void exchange().then(() => {
      const target = hash === '' ? null : document.querySelector(hash);
      target?.scrollIntoView({ block: 'start' });
    });
  });
  addEventListener('popstate', () => void exchange());
}

/** Listens for news; a browser connects again by itself when the server has been away. */
function listen(): void {
  const source = new EventSource('/events');
  source.addEventListener('hello', () => {
    say('live');
    void refresh();
  });
  for (const name of ['step', 'sample', 'restart', 'state']) source.addEventListener(name, () => void refresh());
  source.addEventListener('error', () => {
    say('the server does not answer: trying again');
    if (source.readyState !== EventSource.CLOSED) return;
    void refresh();
    setTimeout(listen, AGAIN_MS);
  });
}

followLinks();
followPointer();
chooseTokens();
await beginSession();
listen();
