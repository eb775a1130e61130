/** Files from outside that are read whole: regular files of a limited size, whatever the path names and whoever writes to it. */
import { closeSync, constants, fstatSync, openSync, readSync, type Stats } from 'node:fs';
import { isUtf8 } from 'node:buffer';
import { FileError } from '../errors.ts';
import { asFileError } from './file-error.ts';

/** What a file may be and is wanted for, such as `a readable text file`. */
export interface Wanted {
  expected: string;
  /** The most bytes that it may have. */
  most: number;
}

/** For opening: a named pipe without a writer opens at once, and is refused by `checkRegular`, instead of waiting for one. */
export const READ_FLAGS = constants.O_RDONLY | constants.O_NONBLOCK;

/**
 * The bytes of the file `path`, as many as it had when it was opened.
 * @throws FileError for what is missing, unreadable, no regular file, too large, or cut short while it is read.
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

/** The same as text, without a byte order mark. @throws FileError for bytes that are not UTF-8, naming the first. */
export function readWholeText(path: string, wanted: Wanted): string {
  const bytes = readWholeFile(path, wanted);
  const wrong = invalidUtf8(bytes);
  if (wrong === undefined) return new TextDecoder().decode(bytes);
  throw new FileError({ argument: path, ...notText(bytes, `from byte ${wrong} on`), expected: wanted.expected });
}

/** How the files begin that people take for the text in them. */
const PACKED: readonly [magic: string, name: string, fix: string][] = [
  ['1f8b', 'gzip', 'Unpack it with gunzip.'],
  ['504b0304', 'a zip archive', 'Unpack it with unzip.'],
  ['28b52ffd', 'zstd', 'Unpack it with unzstd.'],
  ['fd377a585a00', 'xz', 'Unpack it with unxz.'],
  ['425a68', 'bzip2', 'Unpack it with bunzip2.'],
  ['50415231', 'parquet', 'Write its rows as JSONL.'],
];

/**
 * What a file of other bytes than UTF-8 is, and what to do about it; `begin` is the beginning of the file, `place` where the
 * first of these bytes stands.
 */
export function notText(begin: Uint8Array, place: string): { received: string; fix: string } {
  const hex = Buffer.from(begin.subarray(0, 8)).toString('hex');
  const [, name, fix] = PACKED.find(([magic]) => hex.startsWith(magic)) ?? [];
  if (name !== undefined && fix !== undefined) return { received: `${name}, not text`, fix };
  const convert = 'Convert it to UTF-8, for example with iconv.';
  return { received: `bytes that are not UTF-8, ${place}`, fix: convert };
}

/** @throws FileError for a folder, a pipe, a device: what has no size, and may never end. */
export function checkRegular(stats: Stats, path: string, expected: string): void {
  if (stats.isFile()) return;
  const [received, fix] = stats.isDirectory()
    ? ['a folder', 'Name a file.']
    : ['something that is not a regular file', 'Write it to a file first.'];
  throw new FileError({ argument: path, received, expected, fix });
}

/** The error about a file that had `size` bytes when it was opened, and ends after `end`. */
export function cutShort(path: string, end: number, size: number): FileError {
  const received = `its end at byte ${end}`;
  const fix = 'Something wrote to it in the meantime: read it when that is done.';
  return new FileError({ argument: path, received, expected: `the ${size} bytes that it had when it was opened`, fix });
}

/** The place of the first byte that is not UTF-8; undefined where all are. */
export function invalidUtf8(bytes: Uint8Array): number | undefined {
  if (isUtf8(bytes)) return undefined;
  for (let at = 0; ; ) {
    const length = characterLength(bytes, at);
    if (length === 0) return at;
    at += length;
  }
}

/** Bytes of the character at `at`; 0 where none is. Table 3-7 of the Unicode standard. */
function characterLength(bytes: Uint8Array, at: number): number {
  const first = bytes[at] ?? 0xff;
  if (first < 0x80) return 1;
  const length = first < 0xc2 ? 0 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : first < 0xf5 ? 4 : 0;
  const least = first === 0xe0 ? 0xa0 : first === 0xf0 ? 0x90 : 0x80;
  const most = first === 0xed ? 0x9f : first === 0xf4 ? 0x8f : 0xbf;
  for (let i = 1; i < length; i++) {
    const next = bytes[at + i] ?? 0;
    if (i === 1 ? next < least || next > most : next < 0x80 || next > 0xbf) return 0;
  }
  return length;
}

function tooLarge(path: string, size: number, most: number): FileError {
  const fix = 'Check that it is the right file, or split it.';
  return new FileError({ argument: path, received: `${size} bytes`, expected: `at most ${most}`, fix });
}
