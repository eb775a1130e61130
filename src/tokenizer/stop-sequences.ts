import { ArgumentError } from '../errors.ts';
import type { Tokenizer } from './tokenizer.ts';

/** The token sequences of `--stop`. @throws ArgumentError if the text has no tokens. */
export function stopSequences(text: string | undefined, tokenizer: Pick<Tokenizer, 'encode'>): number[][] {
  if (text === undefined) return [];
  const tokens = tokenizer.encode(text, { continues: true });
  if (tokens.length === 0) throw new ArgumentError({ argument: '--stop', problem: 'needs at least one token' });
  return [tokens];
}
