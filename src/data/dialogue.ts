/** Preferences as two whole dialogues: where the prompt that they share ends. */
import { type Row, readStrings } from './row.ts';

/** A preference as text. */
export interface Dialogue {
  prompt: string;
  chosen: string;
  rejected: string;
}

const ANSWER = '\n\nAssistant:';

/**
 * Splits two whole dialogues into their common prompt and their responses. The prompt ends with the last
 * `\n\nAssistant:` that both share, or else before the last white space of their common prefix. Returns undefined if
 * that leaves no prompt or an empty response, as it does for equal dialogues.
 */
export function splitDialogue(chosen: string, rejected: string): Dialogue | undefined {
  const common = commonLength(chosen, rejected);
  const answer = common < ANSWER.length ? -1 : chosen.lastIndexOf(ANSWER, common - ANSWER.length);
  const end = answer >= 0 ? answer + ANSWER.length : whiteSpaceBefore(chosen.slice(0, common));
  const split = { prompt: chosen.slice(0, end), chosen: chosen.slice(end), rejected: rejected.slice(end) };
  const usable = end > 0 && chosen !== rejected && Object.values(split).every((text) => text.trim() !== '');
  return usable ? split : undefined;
}

function commonLength(a: string, b: string): number {
  let length = 0;
  while (length < a.length && length < b.length && a[length] === b[length]) length++;
  return length;
}

/** The position of the last run of white space in `text`; 0 if there is none. */
function whiteSpaceBefore(text: string): number {
  let end = text.length;
  while (end > 0 && text.charAt(end - 1).trim() !== '') end--;
  return text.slice(0, end).trimEnd().length;
}

/** The texts of a row of either form, or the reason it has none. */
export function readDialogue(value: Record<string, unknown>): Row<Dialogue> {
  if (!Object.hasOwn(value, 'prompt')) return readWhole(value);
  const row = readStrings(value, ['prompt', 'chosen', 'rejected']);
  if ('skip' in row) return row;
  const { prompt, chosen, rejected } = row.use;
  if (chosen === rejected) return { skip: 'its responses are equal' };
  const empty = Object.entries({ prompt, chosen, rejected }).find(([, text]) => text.trim() === '');
  return empty === undefined ? row : { skip: `"${empty[0]}" is empty` };
}

function readWhole(value: Record<string, unknown>): Row<Dialogue> {
  const row = readStrings(value, ['chosen', 'rejected']);
  if ('skip' in row) return row;
  const { chosen, rejected } = row.use;
  if (chosen === rejected) return { skip: 'its dialogues are equal' };
  const split = splitDialogue(chosen, rejected);
  return split === undefined ? { skip: 'its dialogues share no prompt, or one has no response' } : { use: split };
}
