import { checkByteLevel } from './pre-tokenizers.ts';
import { printable } from '../../errors.ts';
import { isObject, type Json, type Step } from './step.ts';

/** Special tokens that a post-processor puts around a text. */
export interface Around {
  readonly before: readonly number[];
  readonly after: readonly number[];
}

export const NOTHING_AROUND: Around = { before: [], after: [] };

/**
 * The special tokens that a post-processor adds to a single text; offsets, which some change, do not exist here.
 * @throws Error if it does anything else.
 */
export function readPostProcessor(step: Step): Around {
  switch (step.type) {
    case 'Sequence':
      return onlyOne(step.steps('processors').map(readPostProcessor));
    case 'TemplateProcessing':
      return readTemplate(step);
    case 'BertProcessing':
    case 'RobertaProcessing':
      return { before: [pairOf(step, 'cls')], after: [pairOf(step, 'sep')] };
    case 'ByteLevel':
      checkByteLevel(step);
      return NOTHING_AROUND;
    default:
      throw step.unknown('post_processor');
  }
}

/** The Rust library takes what the first of several adds for texts of their own, and gives them to the next as a pair. */
function onlyOne(all: readonly Around[]): Around {
  const [first = NOTHING_AROUND, ...others] = all.filter(({ before, after }) => before.length + after.length > 0);
  if (others.length > 0) throw new Error('several post-processors that add special tokens');
  return first;
}

/** The id in a pair such as `["</s>", 2]`. */
function pairOf(step: Step, key: string): number {
  const [name, id] = step.list(key);
  if (typeof name === 'string' && isId(id)) return id;
  throw new Error(`${printable(id)} as the id of ${key} in ${step.type}`);
}

/** A template might contain the text twice or not at all, or refer to the second text of a pair. */
function readTemplate(step: Step): Around {
  step.list('pair');
  const special = step.object('special_tokens');
  const parts = step.list('single').filter(isObject);
  const texts = parts.flatMap((part, place) => (isObject(part.Sequence) ? [{ place, id: part.Sequence.id }] : []));
  const [text] = texts;
  if (text === undefined || texts.length > 1)
    throw new Error(`a TemplateProcessing with the text ${texts.length} times`);
  if (text.id !== 'A') throw new Error(`a TemplateProcessing of the text ${printable(text.id)}, not "A"`);
  const ids = (some: Json[]) => some.flatMap((part) => idsOf(part, special));
  return { before: ids(parts.slice(0, text.place)), after: ids(parts.slice(text.place + 1)) };
}

function idsOf(part: Json, special: Json): number[] {
  const name = isObject(part.SpecialToken) ? part.SpecialToken.id : undefined;
  const token = typeof name === 'string' && Object.hasOwn(special, name) ? special[name] : undefined;
  const ids = isObject(token) ? token.ids : undefined;
  if (Array.isArray(ids) && ids.every(isId)) return ids;
  throw new Error(`the special token ${printable(name)} in a TemplateProcessing, which does not give its ids`);
}

function isId(value: unknown): value is number {
  return Number.isInteger(value) && (value as number) >= 0;
}
