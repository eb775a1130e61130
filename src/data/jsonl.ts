import { type FileHandle, open } from 'node:fs/promises';
import { DataError, printable } from '../errors.ts';
import { asFileError } from '../files/file-error.ts';
import { JsonError, parseJson } from '../files/json.ts';
import { checkRegular, cutShort, invalidUtf8, notText, READ_FLAGS } from '../files/regular-file.ts';

/** A line of a JSONL file: its 1-based number and its object. */
export interface JsonlLine {
  line: number;
  value: Record<string, unknown>;
}

/** Maximum size of a line in bytes, and maximum number of values in it. */
const MAX_LINE_BYTES = 16 * 1024 * 1024;
const MAX_LINE_VALUES = 1_000_000;
const PIECE_BYTES = 256 * 1024;
const EXPECTED = 'a readable JSONL file';

/**
 * Reads the objects of a JSONL file with one line in memory at a time. Blank lines, CRLF and byte order marks at the
 * start of a line (as in concatenated files) are skipped; data appended after the file was opened is not read.
 * @throws FileError if the file cannot be read or is truncated meanwhile.
 * @throws DataError naming `file:line` if a line is not a JSON object in UTF-8, has a duplicate key, is larger than 16
 * MiB or has over a million values.
 */
export async function* readJsonl(path: string): AsyncGenerator<JsonlLine> {
  let line = 0;
  for await (const bytes of readLines(path)) {
    line++;
    const text = decodeLine(bytes, `${path}:${line}`);
    if (text.trim() !== '') yield { line, value: parseObject(text, `${path}:${line}`) };
  }
}

/** Splits lines as bytes: `node:readline` would also split at U+2028 and lone CRs, which JSON may contain. */
async function* readLines(path: string): AsyncGenerator<Buffer> {
  let pieces: Buffer[] = [];
  let pending = 0;
  let line = 1;
  for await (const chunk of readPieces(path)) {
    let begin = 0;
    for (let end = chunk.indexOf(10); end >= 0; end = chunk.indexOf(10, begin)) {
      yield Buffer.concat([...pieces, chunk.subarray(begin, end)]);
      pieces = [];
      pending = 0;
      begin = end + 1;
      line++;
    }
    pieces.push(chunk.subarray(begin));
    pending += chunk.length - begin;
    if (pending > MAX_LINE_BYTES) throw tooLong(`${path}:${line}`);
  }
  yield Buffer.concat(pieces);
}

/** Reads the bytes that the file had when it was opened. */
async function* readPieces(path: string, expected = EXPECTED): AsyncGenerator<Buffer> {
  let file: FileHandle | undefined;
  try {
    file = await open(path, READ_FLAGS);
    const stats = await file.stat();
    checkRegular(stats, path, expected);
    for (let at = 0; at < stats.size; ) {
      const piece = Buffer.allocUnsafe(Math.min(PIECE_BYTES, stats.size - at));
      const { bytesRead } = await file.read(piece, 0, piece.length, at);
      if (bytesRead === 0) throw cutShort(path, at, stats.size);
      yield piece.subarray(0, bytesRead);
      at += bytesRead;
    }
  } catch (error) {
    throw asFileError(error, path, expected);
  } finally {
    await file?.close();
  }
}

function decodeLine(bytes: Buffer, place: string): string {
  const wrong = invalidUtf8(bytes);
  if (wrong === undefined) return new TextDecoder().decode(bytes);
  throw new DataError({
    argument: place,
    ...notText(bytes, `starting at byte ${wrong} of the line`),
    expected: 'a JSON object',
  });
}

function parseObject(text: string, place: string): Record<string, unknown> {
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

function tooLong(place: string): DataError {
  const received = `a line longer than ${MAX_LINE_BYTES} bytes`;
  const fix = 'Write one JSON object per line, not a single list.';
  return new DataError({ argument: place, received, expected: 'a JSON object', fix });
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
