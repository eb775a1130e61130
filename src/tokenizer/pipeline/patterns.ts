import { createRequire } from 'node:module';
import { printable } from '../../errors.ts';
import { withoutAtomic } from './atomic.ts';
import { withoutFolding } from './folding.ts';
import type { Step } from './step.ts';

/** What is used of the library; its types lack it. */
interface Library {
  SplitPreTokenizer: new (config: object) => { pattern: RegExp | null };
}

/** The library, loaded with the first expression: programs that have none start faster. */
const library = () => createRequire(import.meta.url)('@huggingface/tokenizers') as Library;

/**
 * The pattern of a Split or Replace, for `matchAll`: a literal text, or an Oniguruma regular expression, which the
 * library translates.
 */
export function patternOf(step: Step): RegExp {
  const pattern = step.object('pattern');
  const { String: text, Regex: source } = pattern;
  if (Object.keys(pattern).length !== 1)
    throw new Error(`the pattern ${printable(pattern)}, which is not one text or expression`);
  if (typeof text === 'string') return new RegExp(text.replace(/[\\^$.*+?()[\]{}|/]/g, '\\$&'), 'gu');
  if (typeof source === 'string') return translate(source);
  throw new Error(`the pattern of ${step.type}`);
}

/** Escapes that the library translates incorrectly: the end of the last match, and properties with a value. */
const MISREAD = /(?<!\\)(?:\\\\)*\\(?:G|[pP]\{[^}]*=)/;

function translate(source: string): RegExp {
  if (MISREAD.test(source)) throw new Error(`the regular expression ${printable(source)}`);
  const { SplitPreTokenizer } = library();
  const { pattern } = new SplitPreTokenizer({ pattern: { Regex: withoutAtomic(withoutFolding(source)) } });
  if (pattern instanceof RegExp) return pattern;
  throw new Error(`the regular expression ${printable(source)}`);
}
