/**
 * Limits on the steps of a tokenizer.json (normalizer, pre_tokenizer, ...) that could otherwise run forever or exhaust
 * the memory.
 */
import { printable } from '../errors.ts';

/** Over ten times the length of any pattern in use. */
const MAX_PATTERN = 10_000;
/** Limit against denial of service: each step is another pass over the text. */
const MAX_STEPS = 500;
/** How many times longer the replacements may make a text. REPLACEMENT_KEYS lists the keys that hold replacements. */
const MAX_GROWTH = 2 ** 20;
const REPLACEMENT_KEYS = ['content', 'prepend', 'replacement'];
/** WordPiece treats longer words as unknown. Its time is cubic in this limit; 100 is usual. */
const MAX_WORD = 1000;

type Json = Record<string, unknown>;

/**
 * Rejects steps that exceed the limits, and reports whether encoding and decoding use the file's own regular
 * expressions.
 * @throws Error that describes the problem.
 */
export function checkSteps(json: Json): { encode: boolean; decode: boolean } {
  const before = objectsIn([json.normalizer, json.pre_tokenizer, json.post_processor]);
  const after = objectsIn([json.decoder]);
  const all = [...before, ...after];
  if (all.length > MAX_STEPS) throw new Error(`${all.length} steps, more than ${MAX_STEPS}`);
  for (const step of all) checkStep(step);
  const growth = all.flatMap((step) => REPLACEMENT_KEYS.map((key) => 1 + sizeOf(step[key]))).reduce((a, b) => a * b, 1);
  if (growth > MAX_GROWTH) throw new Error(`replacements that could make a text ${growth} times as long`);
  const longest = (json.model as Json).max_input_chars_per_word ?? 0;
  if (!((longest as number) <= MAX_WORD)) throw new Error(`words of up to ${printable(longest)} characters`);
  return { encode: before.some(hasPattern), decode: after.some(hasPattern) };
}

/** All objects in `values`, at any depth. */
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

/** The length of a string, or 0 for other values. */
function sizeOf(value: unknown): number {
  if (value === undefined) return 0;
  return typeof value === 'string' ? value.length : Number.POSITIVE_INFINITY;
}
