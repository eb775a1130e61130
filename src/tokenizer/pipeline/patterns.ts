import * as library from '@huggingface/tokenizers';
import { printable } from '../../errors.ts';
import { withoutAtomic } from './atomic.ts';
import { withoutFolding } from './folding.ts';
import type { Step } from './step.ts';

/** Its types do not name it. */
const { SplitPreTokenizer } = library as unknown as {
  SplitPreTokenizer: new (config: object) => { pattern: RegExp | null };
};

/**
 * The pattern of a Split or Replace, for `matchAll`: a text that is found as it is, or one of Oniguruma's regular expressions,
 * which the library translates.
 */
export function patternOf(step: Step): RegExp {
  const pattern = step.object('pattern');
  const { String: text, Regex: source } = pattern;
  if (Object.keys(pattern).length !== 1)
    throw new Error(`the pattern ${printable(pattern)}, not one text or expression`);
  if (typeof text === 'string') return new RegExp(text.replace(/[\\^$.*+?()[\]{}|/]/g, '\\$&'), 'gu');
  if (typeof source === 'string') return translate(source);
  throw new Error(`the pattern of ${step.type}`);
}

/** What the library translates into something else: the place where the last match ended, and properties with a value. */
const MISREAD = /(?<!\\)(?:\\\\)*\\(?:G|[pP]\{[^}]*=)/;

function translate(source: string): RegExp {
  if (MISREAD.test(source)) throw new Error(`the regular expression ${printable(source)}`);
  const { pattern } = new SplitPreTokenizer({ pattern: { Regex: withoutAtomic(withoutFolding(source)) } });
  if (pattern instanceof RegExp) return pattern;
  throw new Error(`the regular expression ${printable(source)}`);
}
