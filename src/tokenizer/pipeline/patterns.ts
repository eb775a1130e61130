import * as library from '@huggingface/tokenizers';
import { printable } from '../../errors.ts';
import { withoutAtomic } from './atomic.ts';
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
  const { String: text, Regex: source } = step.object('pattern');
  if (typeof text === 'string') return new RegExp(text.replace(/[\\^$.*+?()[\]{}|/]/g, '\\$&'), 'gu');
  if (typeof source === 'string') return translate(source);
  throw new Error(`the pattern of ${step.type}`);
}

function translate(source: string): RegExp {
  const { pattern } = new SplitPreTokenizer({ pattern: { Regex: withoutAtomic(source) } });
  if (pattern instanceof RegExp) return pattern;
  throw new Error(`the regular expression ${printable(source)}`);
}
