/** What `palm inspect MODEL --chat FILE` prints, at most 80 columns wide. */
import { readKind } from '../data/forms/read.ts';
import type { RowOf } from '../data/forms/rows.ts';
import { chatTurns, type TokenSpan } from '../data/chat-rows.ts';
import { FileError } from '../errors.ts';
import type { Chat } from '../tokenizer/chat.ts';
import { openTokenizer } from '../tokenizer/open.ts';
import { GREEN, GREY, RESET, visible, WIDTH, wrap } from './columns.ts';
import { table } from './table.ts';

const CONVERSATIONS = 3;
const LEARNED = 'learned';
const MARGIN = ' │ ';

/**
 * The first conversations of a file as the chat template of `model` writes them, with what is learned marked.
 * @throws FileError if the model has no chat template, or one that does not tell what the assistant wrote.
 */
export async function chatText(model: string, file: string, { color }: { color: boolean }): Promise<string> {
  const { chat } = await openTokenizer(model);
  if (chat === undefined) {
    const fix = 'Add a chat_template.jinja: the model page of an instruction-tuned version has one.';
    throw new FileError({ argument: model, received: 'no chat template', expected: 'a model for conversations', fix });
  }
  const { rows } = await readKind('turns', file);
  const shown = [];
  for (const { at, row } of rows.slice(0, CONVERSATIONS)) shown.push(await conversation(chat, at, row, color));
  return [await about(chat), ...shown].join('\n\n');
}

async function about(chat: Chat): Promise<string> {
  const apart = (await chat.encodesApart()) ? 'otherwise than in the whole text' : 'as in the whole text';
  const [first = '', ...more] = wrap(chat.template.name, WIDTH - 19, 0);
  return table([
    ['chat template', first],
    ...more.map((line): [string, string] => ['', line]),
    ['answers found by', await chat.template.spanRule()],
    ['answers encoded', apart],
  ]);
}

async function conversation(chat: Chat, at: string, row: RowOf<'turns'>, color: boolean): Promise<string> {
  const found = await chatTurns(chat, row);
  if ('skip' in found)
    return [`${at}: left out`, ...wrap(found.skip, WIDTH - 2, 0).map((line) => `  ${line}`)].join('\n');
  const all = count(found.use);
  const targets = count(found.use.filter(({ target }) => target));
  const title = `${at}: ${all} tokens, ${targets} learned (${((100 * targets) / all).toFixed(1)} %)`;
  return [title, ...found.use.flatMap((span) => lines(span, color))].join('\n');
}

function count(spans: readonly TokenSpan[]): number {
  return spans.reduce((sum, { tokens }) => sum + tokens.length, 0);
}

/** A span in lines of its own, which end where the text's lines do. */
function lines({ text, target }: TokenSpan, color: boolean): string[] {
  const own = text.split(/(?<=\n)/).filter((line) => line !== '');
  const shown = own.flatMap((line) => wrap(visible(line), WIDTH - LEARNED.length - MARGIN.length, 0));
  const [on, off] = color ? [target ? GREEN : GREY, RESET] : ['', ''];
  return shown.map((line) => `${(target ? LEARNED : '').padEnd(LEARNED.length)}${MARGIN}${on}${line}${off}`);
}
