import { type FileHandle, open } from 'node:fs/promises';
import { DataError, printable } from '../errors.ts';
import { asFileError } from '../file-error.ts';
import { JsonError, parseJson } from '../json.ts';
import { checkRegular, cutShort, invalidUtf8, READ_FLAGS, UTF8_FIX } from '../whole-file.ts';

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
 * The objects of a JSONL file, one line in memory at a time. Blank lines, a byte order mark and CRLF are passed over; what is
 * written to the file after it was opened is not read.
 * @throws FileError when the file cannot be read or is cut short meanwhile, DataError naming `file:line` when a line is not a
 * JSON object in UTF-8, has a key twice, more than 16 MiB or a million values.
 */
export async function* readJsonl(path: string): AsyncGenerator<JsonlLine> {
  let line = 0;
  for await (const bytes of readLines(path)) {
    line++;
    const text = decodeLine(bytes, `${path}:${line}`, line === 1);
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
async function* readPieces(path: string): AsyncGenerator<Buffer> {
  let file: FileHandle | undefined;
  try {
    file = await open(path, READ_FLAGS);
    const stats = await file.stat();
    checkRegular(stats, path, EXPECTED);
    for (let at = 0; at < stats.size; ) {
      const piece = Buffer.allocUnsafe(Math.min(PIECE_BYTES, stats.size - at));
      const { bytesRead } = await file.read(piece, 0, piece.length, at);
      if (bytesRead === 0) throw cutShort(path, at, stats.size);
      yield piece.subarray(0, bytesRead);
      at += bytesRead;
    }
  } catch (error) {
    throw asFileError(error, path, EXPECTED);
  } finally {
    await file?.close();
  }
}

function decodeLine(bytes: Buffer, place: string, first: boolean): string {
  const wrong = invalidUtf8(bytes);
  if (wrong === undefined) return new TextDecoder('utf-8', { ignoreBOM: !first }).decode(bytes);
  const received = `bytes that are not UTF-8, from byte ${wrong} of the line on`;
  throw new DataError({ argument: place, received, expected: 'a JSON object', fix: UTF8_FIX });
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
