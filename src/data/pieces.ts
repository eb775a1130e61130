/** The bytes of a file in pieces, unpacked if they are gzip, and its lines. */
import { type FileHandle, open } from 'node:fs/promises';
import { pipeline, Readable } from 'node:stream';
import { createGunzip } from 'node:zlib';
import { DataError, FileError } from '../errors.ts';
import { asFileError } from '../files/file-error.ts';
import { checkRegular, cutShort, READ_FLAGS } from '../files/regular-file.ts';

/** Maximum size of a line or a row in bytes. */
export const MAX_ROW_BYTES = 16 * 1024 * 1024;
export const PIECE_BYTES = 256 * 1024;
const EXPECTED = 'a readable JSONL file';

/** Reads the bytes that the file had when it was opened. @throws FileError */
export async function* readPieces(path: string, expected = EXPECTED): AsyncGenerator<Buffer> {
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

/** The bytes of the file `path`, or of what is packed in it if it begins as a gzip file does. @throws FileError */
export async function* unpackedPieces(path: string): AsyncGenerator<Buffer> {
  if (!(await beginning(path, 2)).equals(GZIP)) return yield* readPieces(path);
  const unzip = createGunzip();
  pipeline(Readable.from(readPieces(path)), unzip, () => {}); // a failure reaches the loop below
  try {
    for await (const piece of unzip) yield piece as Buffer;
  } catch (error) {
    throw error instanceof FileError ? error : damaged(path, error);
  }
}

const GZIP = Buffer.from([0x1f, 0x8b]);

/** The first `bytes` bytes of the file `path`, or all of it if it is shorter. @throws FileError */
export async function beginning(path: string, bytes: number): Promise<Buffer> {
  return await upTo(readPieces(path), bytes);
}

/** The first `bytes` bytes of `pieces`. */
export async function upTo(pieces: AsyncGenerator<Buffer>, bytes: number): Promise<Buffer> {
  let found = Buffer.alloc(0);
  for await (const piece of pieces) {
    found = Buffer.concat([found, piece]);
    if (found.length >= bytes) break;
  }
  return found.subarray(0, bytes);
}

/**
 * Splits lines as bytes: `node:readline` would also split at U+2028 and lone CRs, which JSON may contain.
 * @throws DataError naming `file:line` for a line over 16 MiB.
 */
export async function* splitLines(pieces: AsyncGenerator<Buffer>, path: string): AsyncGenerator<Buffer> {
  let parts: Buffer[] = [];
  let pending = 0;
  let line = 1;
  for await (const piece of pieces) {
    let begin = 0;
    for (let end = piece.indexOf(10); end >= 0; end = piece.indexOf(10, begin)) {
      yield Buffer.concat([...parts, piece.subarray(begin, end)]);
      parts = [];
      pending = 0;
      begin = end + 1;
      line++;
    }
    parts.push(piece.subarray(begin));
    pending += piece.length - begin;
    if (pending > MAX_ROW_BYTES) throw tooLong(`${path}:${line}`, 'a line');
  }
  yield Buffer.concat(parts);
}

/** The error for a `what` (a line, a row) that is larger than any that is read. */
export function tooLong(place: string, what: string): DataError {
  const received = `${what} longer than ${MAX_ROW_BYTES} bytes`;
  const fix = 'Write one JSON object per line, not a single list.';
  return new DataError({ argument: place, received, expected: 'a JSON object', fix });
}

function damaged(path: string, cause: unknown): FileError {
  const received = `gzip data that cannot be unpacked (${(cause as Error).message})`;
  const fix = 'Download it again, or test it with gunzip -t.';
  return new FileError({ argument: path, received, expected: 'a complete gzip file', fix, cause });
}
