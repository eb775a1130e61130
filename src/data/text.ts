import { ArgumentError, FileError, printable } from '../errors.ts';
import { COUNT, checkKind, LIST, PATH, TOKENIZER, TOKENS } from '../checks/kinds.ts';
import type { Tokenizer } from '../tokenizer/tokenizer.ts';
import { readWholeText } from '../files/regular-file.ts';
import { checkFraction } from './hold-out.ts';

/**
 * Loads the tokens of a plain-text file in UTF-8, without an eos.
 * @throws FileError if the file cannot be read, is not UTF-8, contains a NUL, is larger than 512 MiB, or has no tokens.
 */
export async function loadText(path: string, tokenizer: Tokenizer): Promise<Int32Array> {
  checkKind('path', path, PATH);
  checkKind('tokenizer', tokenizer, TOKENIZER);
  const tokens = encodeInPieces(readText(path), tokenizer);
  if (tokens.length > 0) return tokens;
  throw new FileError({ argument: path, received: 'no text', expected: 'text to train on', fix: 'Check the path.' });
}

/** Maximum size of a text in bytes: more does not fit into a string. */
const MAX_TEXT_BYTES = 512 * 1024 * 1024 - 24;

function readText(path: string): string {
  const expected = 'a readable text file';
  const text = readWholeText(path, { expected, most: MAX_TEXT_BYTES });
  const nul = text.indexOf('\0');
  if (nul < 0) return text;
  const fix = 'If it is UTF-16, convert it to UTF-8, for example with iconv.';
  throw new FileError({ argument: path, received: `a NUL at character ${nul}`, expected: 'text', fix });
}

/** Number of characters encoded at once: an array of all tokens of a large file would not fit into the heap. */
const PIECE = 2 ** 24;

function encodeInPieces(text: string, tokenizer: Tokenizer): Int32Array {
  const pieces: Int32Array[] = [];
  for (let begin = 0; begin < text.length; ) {
    const end = pieceEnd(text, begin);
    pieces.push(Int32Array.from(tokenizer.encode(text.slice(begin, end), { continues: begin > 0 })));
    begin = end;
  }
  return joinTokens(pieces);
}

/** Concatenates the pieces. */
export function joinTokens(pieces: readonly Int32Array[]): Int32Array {
  const tokens = new Int32Array(pieces.reduce((length, piece) => length + piece.length, 0));
  let at = 0;
  for (const piece of pieces) {
    tokens.set(piece, at);
    at += piece.length;
  }
  return tokens;
}

/**
 * The end of the next piece: after the last newline that fits, as tokenizers rarely join across it; in a longer line,
 * never inside a surrogate pair.
 */
function pieceEnd(text: string, begin: number): number {
  const max = begin + PIECE;
  if (max >= text.length) return text.length;
  const line = text.lastIndexOf('\n', max - 1) + 1;
  if (line > begin) return line;
  return /[\ud800-\udbff]/.test(text.charAt(max - 1)) ? max - 1 : max;
}

/**
 * Splits tokens in two: the last `fraction` is held out for validation, the rest is for training. Both are views.
 * @throws ArgumentError unless 0 <= fraction < 1.
 */
export function holdOut(tokens: Int32Array, fraction: number): { train: Int32Array; validation: Int32Array } {
  checkKind('tokens', tokens, TOKENS);
  checkFraction(fraction);
  const train = tokens.length - Math.floor(tokens.length * fraction);
  return { train: tokens.subarray(0, train), validation: tokens.subarray(train) };
}

/** Training rows by number: tokens of shape [B, T]. */
export interface Sequences {
  /** The number of sequences. */
  readonly size: number;
  rows(numbers: readonly number[]): { tokens: Int32Array; shape: [rows: number, length: number] };
}

/**
 * A text split into training sequences of `length` targets. Each starts with the token before its first target, so that
 * every token but the very first is a target once. The incomplete sequence at the end is dropped.
 */
export class Windows implements Sequences {
  readonly size: number;
  /** Targets per window. */
  readonly length: number;
  private readonly tokens: Int32Array;

  /** @throws ArgumentError if `tokens` are too few for one window; `argument` names them in the error. */
  constructor(tokens: Int32Array, length: number, argument = 'text') {
    checkKind('tokens', tokens, TOKENS);
    checkKind('length', length, COUNT);
    this.size = Math.floor((tokens.length - 1) / length);
    this.length = length;
    this.tokens = tokens;
    if (this.size >= 1) return;
    throw new ArgumentError({
      argument,
      received: `${tokens.length} tokens`,
      expected: `at least ${length + 1}, one more than sequenceLength`,
      fix: 'Use a longer text, or a smaller sequenceLength.',
    });
  }

  /** Returns the windows with these numbers: tokens of shape [B, length + 1]. */
  rows(windows: readonly number[]): ReturnType<Sequences['rows']> {
    checkKind('windows', windows, LIST);
    const missing = windows.find((window) => !(Number.isInteger(window) && window >= 0 && window < this.size));
    if (missing !== undefined) {
      const expected = `integers from 0 to ${this.size - 1}`;
      throw new ArgumentError({ argument: 'windows', received: printable(missing), expected });
    }
    const shape: [number, number] = [windows.length, this.length + 1];
    const tokens = new Int32Array(shape[0] * shape[1]);
    windows.forEach((window, row) => {
      const begin = window * this.length;
      tokens.set(this.tokens.subarray(begin, begin + shape[1]), row * shape[1]);
    });
    return { tokens, shape };
  }
}
