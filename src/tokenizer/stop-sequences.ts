import { ArgumentError } from '../errors.ts';
import type { Tokenizer } from './tokenizer.ts';

/** The sequences of tokens that `--stop` means. @throws ArgumentError for a text without tokens. */
export function stopSequences(text: string | undefined, tokenizer: Pick<Tokenizer, 'encode'>): number[][] {
  if (text === undefined) return [];
  const tokens = tokenizer.encode(text, { continues: true });
  if (tokens.length === 0) throw new ArgumentError({ argument: '--stop', received: 'a text without tokens' });
  return [tokens];
}
