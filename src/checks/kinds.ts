/** Checks of arguments that do not need a schema: each kind is a predicate and a phrase that describes it. */
import { ArgumentError, printable } from '../errors.ts';

export interface Kind {
  readonly is: (value: unknown) => boolean;
  readonly words: string;
}

export const LIST: Kind = { is: Array.isArray, words: 'an array' };
export const LISTS: Kind = {
  is: (value) => Array.isArray(value) && value.every((item) => Array.isArray(item) || ArrayBuffer.isView(item)),
  words: 'an array of arrays of token ids',
};
export const TOKENS: Kind = { is: (value) => value instanceof Int32Array, words: 'an Int32Array' };
export const NUMBER: Kind = { is: Number.isFinite, words: 'a finite number' };
export const POSITIVE: Kind = { is: (value) => Number.isFinite(value) && (value as number) > 0, words: 'a number > 0' };
export const SHARE: Kind = {
  is: (value) => Number.isFinite(value) && (value as number) >= 0 && (value as number) <= 1,
  words: 'a number from 0 to 1',
};
export const COUNT: Kind = {
  is: (value) => Number.isSafeInteger(value) && (value as number) >= 1,
  words: 'an integer >= 1',
};
export const BOOLEAN: Kind = { is: (value) => typeof value === 'boolean', words: 'true or false' };
export const WHOLE: Kind = {
  is: (value) => Number.isSafeInteger(value) && (value as number) >= 0,
  words: 'an integer >= 0',
};
export const TEXT: Kind = { is: (value) => typeof value === 'string', words: 'text' };
export const PATH: Kind = { is: (value) => typeof value === 'string' && value !== '', words: 'a path' };
export const DECODER = having('a tokenizer, from loadTokenizer', 'decode');
export const TOKENIZER = having('a tokenizer, from loadTokenizer', 'encode', 'decode');

/** Structural, so that any AbortSignal implementation is accepted. */
export const SIGNAL = having('an AbortSignal', 'throwIfAborted', 'addEventListener', 'removeEventListener');
export const FUNCTION: Kind = { is: (value) => typeof value === 'function', words: 'a function' };

/** An instance of a class. */
export function instanceOf(type: { name: string; [Symbol.hasInstance](value: unknown): boolean }): Kind {
  const article = /^[AEIO]/.test(type.name) ? 'an' : 'a';
  return { is: (value) => type[Symbol.hasInstance](value), words: `${article} ${type.name}` };
}

export const ITERABLE: Kind = {
  is: (value) => typeof Object(value)[Symbol.iterator] === 'function',
  words: 'an array or another iterable',
};

/** Any object with these methods, whatever its class. */
export function having(words: string, ...methods: string[]): Kind {
  return { is: (value) => methods.every((name) => typeof Object(value)[name] === 'function'), words };
}

export function either(...kinds: Kind[]): Kind {
  return { is: (value) => kinds.some((kind) => kind.is(value)), words: kinds.map(({ words }) => words).join(' or ') };
}

export function optional({ is, words }: Kind): Kind {
  return { is: (value) => value === undefined || is(value), words: `${words} or undefined` };
}

/** @throws ArgumentError unless `value` is of this kind. */
export function checkKind(argument: string, value: unknown, { is, words }: Kind): void {
  if (is(value)) return;
  throw new ArgumentError({ argument, received: value === undefined ? 'nothing' : printable(value), expected: words });
}

/** @throws ArgumentError naming the field unless `value` is an object whose fields are of these kinds. */
export function checkKinds(argument: string, value: unknown, kinds: Readonly<Record<string, Kind>>): void {
  const words = `an object with ${Object.keys(kinds).join(', ')}`;
  checkKind(argument, value, { is: (given) => typeof given === 'object' && given !== null, words });
  for (const [name, kind] of Object.entries(kinds)) {
    checkKind(`${argument}.${name}`, (value as Record<string, unknown>)[name], kind);
  }
}
