/**
 * Reads untrusted files whole: only regular files of limited size, whatever the path names and whoever writes to it.
 */
import { closeSync, constants, fstatSync, openSync, readSync, type Stats } from 'node:fs';
import { isUtf8 } from 'node:buffer';
import { FileError } from '../errors.ts';
import { asFileError } from './file-error.ts';

/** The size limit of a file, and what is expected there, such as `a readable text file`. */
export interface Wanted {
  expected: string;
  /** Maximum size in bytes. */
  most: number;
}

/**
 * Flags for opening: O_NONBLOCK lets a named pipe without a writer open at once, to be rejected by `checkRegular`,
 * instead of blocking.
 */
export const READ_FLAGS = constants.O_RDONLY | constants.O_NONBLOCK;

/**
 * Reads the file `path`, up to the size it had when it was opened.
 * @throws FileError if it is missing, unreadable, not a regular file, too large, or truncated while it is read.
 */
export function readWholeFile(path: string, { expected, most }: Wanted): Buffer {
  let file: number | undefined;
  try {
    file = openSync(path, READ_FLAGS);
    const stats = fstatSync(file);
    checkRegular(stats, path, expected);
    if (stats.size > most) throw tooLarge(path, stats.size, most);
    const bytes = Buffer.allocUnsafe(stats.size);
    for (let done = 0; done < bytes.length; ) {
      const read = readSync(file, bytes, done, bytes.length - done, done);
      if (read === 0) throw cutShort(path, done, bytes.length);
      done += read;
    }
    return bytes;
  } catch (error) {
    throw asFileError(error, path, expected);
  } finally {
    if (file !== undefined) closeSync(file);
  }
}

/**
 * Reads the file `path` as text, without a byte order mark.
 * @throws FileError as `readWholeFile` does, or naming the first byte that is not UTF-8.
 */
export function readWholeText(path: string, wanted: Wanted): string {
  const bytes = readWholeFile(path, wanted);
  const wrong = invalidUtf8(bytes);
  if (wrong === undefined) return new TextDecoder().decode(bytes);
  throw new FileError({ argument: path, ...notText(bytes, `starting at byte ${wrong}`), expected: wanted.expected });
}

/** Signatures of binary files that are often mistaken for the text inside them. */
const PACKED: readonly [magic: string, name: string, fix: string][] = [
  ['1f8b', 'gzip', 'Unpack it with gunzip.'],
  ['504b0304', 'a zip archive', 'Unpack it with unzip.'],
  ['28b52ffd', 'zstd', 'Unpack it with unzstd.'],
  ['fd377a585a00', 'xz', 'Unpack it with unxz.'],
  ['425a68', 'bzip2', 'Unpack it with bunzip2.'],
  ['50415231', 'parquet', 'Write its rows as JSONL.'],
];

/**
 * Describes a file that is not UTF-8, and what to do about it. `begin` holds its first bytes; `place` says where the
 * invalid bytes are.
 */
export function notText(begin: Uint8Array, place: string): { received: string; fix: string } {
  const hex = Buffer.from(begin.subarray(0, 8)).toString('hex');
  const [, name, fix] = PACKED.find(([magic]) => hex.startsWith(magic)) ?? [];
  if (name !== undefined && fix !== undefined) return { received: `${name}, not text`, fix };
  const convert = 'Convert it to UTF-8, for example with iconv.';
  return { received: `bytes that are not UTF-8, ${place}`, fix: convert };
}

/** Rejects folders, pipes and devices, which have no size and may never end. @throws FileError */
export function checkRegular(stats: Stats, path: string, expected: string): void {
  if (stats.isFile()) return;
  const [received, fix] = stats.isDirectory()
    ? ['a folder', 'Name a file.']
    : ['a pipe, socket or device', 'Save it to a file first.'];
  throw new FileError({ argument: path, received, expected, fix });
}

/** The error for a file that had `size` bytes when it was opened but ended after `end`. */
export function cutShort(path: string, end: number, size: number): FileError {
  const received = `end of file at byte ${end}`;
  const fix = 'Another process changed it meanwhile: try again when that is done.';
  return new FileError({ argument: path, received, expected: `the ${size} bytes it had when it was opened`, fix });
}

/** The offset of the first byte that is not UTF-8; undefined if there is none. */
export function invalidUtf8(bytes: Uint8Array): number | undefined {
  if (isUtf8(bytes)) return undefined;
  for (let at = 0; ; ) {
    const length = characterLength(bytes, at);
    if (length === 0) return at;
    at += length;
  }
}

/** The length in bytes of the character at `at`; 0 if it is invalid. See table 3-7 of the Unicode standard. */
function characterLength(bytes: Uint8Array, at: number): number {
  const first = bytes[at] ?? 0xff;
  if (first < 0x80) return 1;
  const length = first < 0xc2 ? 0 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : first < 0xf5 ? 4 : 0;
  const min = first === 0xe0 ? 0xa0 : first === 0xf0 ? 0x90 : 0x80;
  const max = first === 0xed ? 0x9f : first === 0xf4 ? 0x8f : 0xbf;
  for (let i = 1; i < length; i++) {
    const next = bytes[at + i] ?? 0;
    if (i === 1 ? next < min || next > max : next < 0x80 || next > 0xbf) return 0;
  }
  return length;
}

function tooLarge(path: string, size: number, max: number): FileError {
  const fix = 'Check that it is the right file, or split it.';
  return new FileError({ argument: path, received: `${size} bytes`, expected: `at most ${max}`, fix });
}
