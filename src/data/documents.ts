import { checkKind, TOKENIZER } from '../checks/kinds.ts';
import type { Tokenizer } from '../tokenizer/tokenizer.ts';
import { type Row, readStrings, type Skipped } from './row.ts';
import { readRows } from './rows.ts';
import { joinTokens } from './text.ts';

/**
 * Loads the chosen side of preferences as one text to train on: prompt, chosen response and eos (if the tokenizer has
 * one) of every row, concatenated. Rows are `{prompt, chosen}` or hh-rlhf's whole dialogues `{chosen}`; other rows are
 * skipped and listed in `skipped`.
 * @throws FileError if the file cannot be read or has no usable row.
 * @throws DataError if a line is not a JSON object.
 */
export async function loadDocuments(
  path: string,
  tokenizer: Tokenizer,
): Promise<{ tokens: Int32Array; skipped: Skipped[] }> {
  checkKind('tokenizer', tokenizer, TOKENIZER);
  const end = tokenizer.eosToken === undefined ? [] : [tokenizer.eosToken];
  const { used, skipped } = await readRows(path, (value): Row<Int32Array> => {
    const row = readStrings(value, Object.hasOwn(value, 'prompt') ? ['prompt', 'chosen'] : ['chosen']);
    if ('skip' in row) return row;
    const { prompt = '', chosen } = row.use as { prompt?: string; chosen: string };
    if (chosen.trim() === '') return { skip: '"chosen" is empty' };
    const begin = prompt === '' ? [] : tokenizer.encode(prompt, { special: 'begin' });
    const response = tokenizer.encode(chosen, prompt === '' ? { special: 'begin' } : { continues: true });
    return { use: Int32Array.from([...begin, ...response, ...end]) };
  });
  return { tokens: joinTokens(used), skipped };
}
