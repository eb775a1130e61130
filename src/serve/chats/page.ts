/** The chat page: its shell, and the script and style that fill it. */
import { Hono } from 'hono';
import { assetRoutes, builtAssets } from '../../web/assets.ts';
import { pageShell } from '../../web/page.ts';

/** What is answered without a key: nothing of it says anything about chats. */
export const OPEN_PATHS = ['GET /', 'GET /assets/*'];

const NOSCRIPT = '<noscript><p>This page needs JavaScript. The API below /v1 does not.</p></noscript>';

/** Routes of the page at /. */
export function chatPage(): Hono {
  const page = pageShell({ title: 'Chats', name: 'serve', body: `<div id="page"></div>${NOSCRIPT}` });
  const app = new Hono();
  app.get('/', (context) => context.html(page));
  app.route('/', assetRoutes(builtAssets('serve')));
  return app;
}
