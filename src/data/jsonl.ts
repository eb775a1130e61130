import { createReadStream } from 'node:fs';
import { DataError, printable } from '../errors.ts';
import { asFileError } from '../file-error.ts';

/** A line of a JSONL file: its number, counted from 1, and its object. */
export interface JsonlLine {
  line: number;
  value: Record<string, unknown>;
}

/**
 * The objects of a JSONL file, one line in memory at a time. Blank lines, a byte order mark and CRLF are passed over.
 * @throws FileError when the file cannot be read, DataError naming `file:line` when a line is not a JSON object in UTF-8.
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
  try {
    for await (const chunk of createReadStream(path) as AsyncIterable<Buffer>) {
      let begin = 0;
      for (let end = chunk.indexOf(10); end >= 0; end = chunk.indexOf(10, begin)) {
        yield Buffer.concat([...pieces, chunk.subarray(begin, end)]);
        pieces = [];
        begin = end + 1;
      }
      pieces.push(chunk.subarray(begin));
    }
  } catch (error) {
    throw asFileError(error, path, 'a readable JSONL file');
  }
  yield Buffer.concat(pieces);
}

function decodeLine(bytes: Buffer, place: string, first: boolean): string {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: !first }).decode(bytes);
  } catch (cause) {
    const fix = 'Convert the file to UTF-8, for example with iconv.';
    throw new DataError({
      argument: place,
      received: 'bytes that are not UTF-8',
      expected: 'a JSON object',
      fix,
      cause,
    });
  }
}

function parseObject(text: string, place: string): Record<string, unknown> {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw notObject(place, printable(text.trim().slice(0, 80)), cause);
  }
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as Record<string, unknown>;
  throw notObject(place, printable(value));
}

function notObject(place: string, received: string, cause?: unknown): DataError {
  const fix = 'Write one JSON object on each line, or delete this line.';
  return new DataError({ argument: place, received, expected: 'a JSON object', fix, cause });
}
