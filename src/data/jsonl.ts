import { DataError, printable } from '../errors.ts';
import { JsonError, parseJson } from '../files/json.ts';
import { invalidUtf8, notText } from '../files/regular-file.ts';
import { PIECE_BYTES, readPieces, splitLines } from './pieces.ts';

/** A line of a JSONL file: its 1-based number and its object. */
export interface JsonlLine {
  line: number;
  value: Record<string, unknown>;
}

/** Maximum number of values in a line. */
const MAX_LINE_VALUES = 1_000_000;

/**
 * Reads the objects of a JSONL file, whose bytes are `pieces`, with one line in memory at a time. Blank lines, CRLF and byte order marks at the
 * start of a line (as in concatenated files) are skipped; data appended after the file was opened is not read.
 * @throws FileError if the file cannot be read or is truncated meanwhile.
 * @throws DataError naming `file:line` if a line is not a JSON object in UTF-8, has a duplicate key, is larger than 16
 * MiB or has over a million values.
 */
export async function* readJsonl(path: string, pieces = readPieces(path)): AsyncGenerator<JsonlLine> {
  let line = 0;
  for await (const bytes of splitLines(pieces, path)) {
    line++;
    const text = decodeLine(bytes, `${path}:${line}`);
    if (text.trim() !== '') yield { line, value: parseObject(text, `${path}:${line}`) };
  }
}

/** The text of a line. @throws DataError naming `place` unless it is UTF-8. */
export function decodeLine(bytes: Buffer, place: string): string {
  const wrong = invalidUtf8(bytes);
  if (wrong === undefined) return new TextDecoder().decode(bytes);
  throw new DataError({
    argument: place,
    ...notText(bytes, `starting at byte ${wrong} of the line`),
    expected: 'a JSON object',
  });
}

/** The object that `text` is. @throws DataError naming `place` for anything else. */
export function parseObject(text: string, place: string): Record<string, unknown> {
  let value: unknown;
  try {
    value = parseJson(text, MAX_LINE_VALUES);
  } catch (cause) {
    throw cause instanceof JsonError ? notObject(place, cause.message, cause) : cause;
  }
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as Record<string, unknown>;
  throw notObject(place, printable(value));
}

function notObject(place: string, received: string, cause?: unknown): DataError {
  const fix = 'Write one JSON object per line, or delete this line.';
  return new DataError({ argument: place, received, expected: 'a JSON object', fix, cause });
}

const ROWS = /\.(jsonl|ndjson|json)$/i;
/** How much of a text to examine: a longer first line is not a row of prompts or preferences. */
const LOOK_BYTES = 1024 * 1024;

/** The kind of content in a text file. */
export type TextKind = 'rows' | 'text' | 'text like rows';

/**
 * Whether the file `path` holds rows: judged by its extension (.jsonl, .ndjson, .json), or because its first line is a
 * JSON object with `key`. If the first line is another JSON object or list, the result is 'text like rows', as the file
 * may not be what was meant.
 * @throws FileError if it cannot be read.
 */
export async function kindOfText(path: string, key: string): Promise<TextKind> {
  if (ROWS.test(path)) return 'rows';
  const line = await firstLine(path);
  if (line === '{' || line === '[') return 'text like rows'; // JSON over several lines
  const value = parseFirst(line);
  if (typeof value !== 'object' || value === null) return 'text';
  return Object.hasOwn(value, key) ? 'rows' : 'text like rows';
}

/** The first non-blank line, or the examined part of it. */
async function firstLine(path: string): Promise<string> {
  const pieces: Buffer[] = [];
  for await (const piece of readPieces(path, 'a readable file of text or JSONL')) {
    if (pieces.push(piece) * PIECE_BYTES >= LOOK_BYTES) break;
  }
  const text = new TextDecoder().decode(Buffer.concat(pieces)).trimStart();
  return (text.split('\n', 1)[0] as string).trimEnd();
}

function parseFirst(line: string): unknown {
  try {
    return parseJson(line, MAX_LINE_VALUES);
  } catch (error) {
    if (error instanceof JsonError) return undefined;
    throw error;
  }
}
