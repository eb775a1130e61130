import { type FileHandle, open } from 'node:fs/promises';
import { DataError, printable } from '../errors.ts';
import { asFileError } from '../files/file-error.ts';
import { JsonError, parseJson } from '../files/json.ts';
import { checkRegular, cutShort, invalidUtf8, notText, READ_FLAGS } from '../files/regular-file.ts';

/** A line of a JSONL file: its number, counted from 1, and its object. */
export interface JsonlLine {
  line: number;
  value: Record<string, unknown>;
}

/** The most bytes that a line may have, and the most values. */
const MAX_LINE_BYTES = 16 * 1024 * 1024;
const MAX_LINE_VALUES = 1_000_000;
const PIECE_BYTES = 256 * 1024;
const EXPECTED = 'a readable JSONL file';

/**
 * The objects of a JSONL file, one line in memory at a time. Blank lines, CRLF and byte order marks at the beginning of a line
 * (of files that were joined) are passed over; what is written to the file after it was opened is not read.
 * @throws FileError when the file cannot be read or is cut short meanwhile, DataError naming `file:line` when a line is not a
 * JSON object in UTF-8, has a key twice, more than 16 MiB or a million values.
 */
export async function* readJsonl(path: string): AsyncGenerator<JsonlLine> {
  let line = 0;
  for await (const bytes of readLines(path)) {
    line++;
    const text = decodeLine(bytes, `${path}:${line}`);
    if (text.trim() !== '') yield { line, value: parseObject(text, `${path}:${line}`) };
  }
}

/** Lines as bytes: JSON may hold U+2028 and lone CRs, at which `node:readline` would split. */
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

/** All bytes that the file has when it is opened. */
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
    ...notText(bytes, `from byte ${wrong} of the line on`),
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
  const fix = 'Write one JSON object on each line, or delete this line.';
  return new DataError({ argument: place, received, expected: 'a JSON object', fix, cause });
}

function tooLong(place: string): DataError {
  const received = `a line of more than ${MAX_LINE_BYTES} bytes`;
  const fix = 'Write one JSON object on each line, not a list of all.';
  return new DataError({ argument: place, received, expected: 'a JSON object', fix });
}

const ROWS = /\.(jsonl|ndjson|json)$/i;
/** As much of a text as is looked at: a first line that is longer is no row of what people say. */
const LOOK_BYTES = 1024 * 1024;

/** What a file of text turns out to hold. */
export type TextKind = 'rows' | 'text' | 'text like rows';

/**
 * Whether the file `path` holds rows: by its name (.jsonl, .ndjson, .json), or because its first line is a JSON object with
 * `key`. Text whose first line is another JSON value with parts is told apart: it may not be what was meant.
 * @throws FileError when it cannot be read.
 */
export async function kindOfText(path: string, key: string): Promise<TextKind> {
  if (ROWS.test(path)) return 'rows';
  const line = await firstLine(path);
  if (line === '{' || line === '[') return 'text like rows'; // JSON over several lines
  const value = parseFirst(line);
  if (typeof value !== 'object' || value === null) return 'text';
  return Object.hasOwn(value, key) ? 'rows' : 'text like rows';
}

/** The first line that is not blank, or as much of it as is looked at. */
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
