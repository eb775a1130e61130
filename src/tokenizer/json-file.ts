import { createHash } from 'node:crypto';
import { FileError, printable } from '../errors.ts';
import { JsonError, parseJson } from '../files/json.ts';
import { readWholeText } from '../files/regular-file.ts';
import { isObject, type Json } from './pipeline/step.ts';

/** Twice the size of the largest files in use: 260,000 tokens and 500,000 merges of two. */
const MAX_BYTES = 64 * 1024 * 1024;
const MAX_VALUES = 4_000_000;

export interface JsonFile {
  object: Json;
  /** SHA-256 of the text. */
  hash: string;
}

/** What a file should be, and what to do if it is not. */
export interface ExpectedFile {
  expected: string;
  fix?: string;
}

/** Reads the object in a JSON file. @throws FileError if it cannot be read, or is not one */
export function readObject(path: string, { expected, fix }: ExpectedFile): JsonFile {
  const text = readWholeText(path, { expected: 'a readable JSON file', most: MAX_BYTES });
  const wrong = (received: string, cause?: unknown) =>
    new FileError({ argument: path, received, expected, ...(fix === undefined ? {} : { fix }), cause });
  let value: unknown;
  try {
    value = parseJson(text, MAX_VALUES);
  } catch (error) {
    if (!(error instanceof JsonError)) throw error;
    throw wrong(text === '' ? 'an empty file' : error.message, error);
  }
  if (isObject(value)) return { object: value, hash: sha256(text) };
  throw wrong(`${printable(value)}, which is not a JSON object`);
}

export function sha256(text: string): string {
  return createHash('sha256').update(text).digest('hex');
}
