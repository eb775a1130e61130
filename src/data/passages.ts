/** Plain text in passages, as rows to learn. */
import type { Tokenizer } from '../tokenizer/tokenizer.ts';
import type { MarkedText } from './completions.ts';
import type { FormOptions } from './forms/read.ts';
import { unpackedPieces, upTo } from './pieces.ts';
import { formatOf, type Paths, pathsOf } from './records.ts';
import { loadText } from './text.ts';

/** Whether a file is plain text: it has no rows of any format. */
export async function isText(path: string, { map }: FormOptions): Promise<boolean> {
  if ((await formatOf(path, map)) !== 'jsonl') return false;
  const begin = new TextDecoder().decode(await upTo(unpackedPieces(path), 64)).trimStart();
  return !begin.startsWith('{');
}

/**
 * The passages of some texts: at most `maxLength` tokens each, the first of which ends the passage before, so that every token of a
 * text but its first is learned once. No eos is added.
 * @throws FileError as loadText does
 */
export async function loadPassages(paths: Paths, tokenizer: Tokenizer, maxLength: number): Promise<MarkedText[]> {
  const passages: MarkedText[] = [];
  for (const path of pathsOf(paths)) {
    const tokens = await loadText(path, tokenizer);
    for (let begin = 0; begin === 0 || begin + 1 < tokens.length; begin += maxLength - 1)
      passages.push({ tokens: Array.from(tokens.subarray(begin, begin + maxLength)) });
  }
  return passages;
}
