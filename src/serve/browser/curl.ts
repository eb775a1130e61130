/** The command that gives an answer again. */
import type { ShownAnswer, ShownRequest } from '../chats/shown.ts';
import type { App } from './app.ts';
import { openDialog } from './dialogs.ts';
import { button, el } from './dom.ts';

/** A command for a shell; which of the choices in its response is meant stands in a comment. */
export function curlOf(origin: string, { path, body, choice }: ShownRequest): string {
  const quoted = `'${JSON.stringify(body).replaceAll("'", "'\\''")}'`;
  return [
    `# choice ${choice} of the response`,
    `curl ${origin}${path} \\`,
    `  -H 'content-type: application/json' -H "authorization: Bearer $PALM_API_KEY" \\`,
    `  --data-raw ${quoted}`,
  ].join('\n');
}

/** Copies the command; where the browser does not allow that, shows it. */
export async function copyAsCurl(app: App, answer: ShownAnswer): Promise<void> {
  const request = await app.requestOf(answer);
  if (request === undefined) return;
  const command = curlOf(location.origin, request);
  try {
    await navigator.clipboard.writeText(command);
    app.say('Copied');
  } catch {
    const area = el('textarea', { readonly: true, rows: 8, 'aria-label': 'Command' });
    area.value = command;
    openDialog('Copy as curl', (close) => [area, el('div', { class: 'actions' }, button('Close', close))]);
    area.select();
  }
}
