/** The steps of a tokenizer.json (normalizer, pre_tokenizer, ...): which of them could run without end, or fill the memory. */
import { printable } from '../errors.ts';

/** No pattern in use has a tenth of it. */
const MAX_PATTERN = 10_000;
/** More than that is no tokenizer, but an attempt to go through a text very often. */
const MAX_STEPS = 500;
/** How many times longer a text may become by what is put in for its parts: what these keys hold. */
const MAX_GROWTH = 2 ** 20;
const PUT_IN = ['content', 'prepend', 'replacement'];
/** Words of more characters are unknown to WordPiece, which takes the cube of their number; 100 is usual. */
const MAX_WORD = 1000;

type Json = Record<string, unknown>;

/**
 * Refuses steps without end, and tells whether encoding or decoding has regular expressions of the file's own.
 * @throws Error that says what is wrong
 */
export function checkSteps(json: Json): { encode: boolean; decode: boolean } {
  const before = objectsIn([json.normalizer, json.pre_tokenizer, json.post_processor]);
  const after = objectsIn([json.decoder]);
  const all = [...before, ...after];
  if (all.length > MAX_STEPS) throw new Error(`${all.length} steps, more than ${MAX_STEPS}`);
  for (const step of all) checkStep(step);
  const growth = all.flatMap((step) => PUT_IN.map((key) => 1 + sizeOf(step[key]))).reduce((a, b) => a * b, 1);
  if (growth > MAX_GROWTH) throw new Error(`replacements that could make a text ${growth} times as long`);
  const longest = (json.model as Json).max_input_chars_per_word ?? 0;
  if (!((longest as number) <= MAX_WORD)) throw new Error(`words of up to ${printable(longest)} characters`);
  return { encode: before.some(hasPattern), decode: after.some(hasPattern) };
}

/** All objects in `values`, however deep. */
function objectsIn(values: unknown[]): Json[] {
  const found: Json[] = [];
  const open = [...values];
  while (open.length > 0) {
    const value = open.pop();
    if (typeof value !== 'object' || value === null) continue;
    if (!Array.isArray(value)) found.push(value as Json);
    for (const inner of Object.values(value)) open.push(inner);
  }
  return found;
}

function checkStep(step: Json): void {
  if (step.type === 'FixedLength' && !(Number.isInteger(step.length) && (step.length as number) > 0)) {
    throw new Error(`pieces of length ${printable(step.length)}`);
  }
  const { pattern } = step as { pattern?: Json };
  const splits = pattern !== undefined || step.type === 'Split' || step.type === 'Replace';
  if (splits && typeof pattern?.String !== 'string' && typeof pattern?.Regex !== 'string') {
    throw new Error(`the pattern ${printable(pattern)}`);
  }
  if (hasPattern(step) && !(String(step.Regex).length <= MAX_PATTERN)) {
    throw new Error(`a regular expression of more than ${MAX_PATTERN} characters`);
  }
}

function hasPattern(step: Json): boolean {
  return Object.hasOwn(step, 'Regex');
}

/** Characters of a string; no limit for what is none. */
function sizeOf(value: unknown): number {
  if (value === undefined) return 0;
  return typeof value === 'string' ? value.length : Number.POSITIVE_INFINITY;
}
