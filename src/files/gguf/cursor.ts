/** Reads the header of a GGUF file front to back through a small window: its length stands nowhere in the file. */
import { isUtf8 } from 'node:buffer';
import { readSync } from 'node:fs';
import { GgufError, type GgufReason, printable } from '../../errors.ts';
import { asFileError } from '../file-error.ts';

/** Maximum size of a header in bytes: twice that of the largest vocabularies in use, as for a tokenizer.json. */
export const MAX_HEADER_BYTES = 64 * 1024 * 1024;
const WINDOW_BYTES = 256 * 1024;
const DAMAGED = 'The file is damaged or not GGUF: copy it again.';

/** The error for a file; `position` is the byte offset. */
export function badFile(
  reason: GgufReason,
  argument: string,
  received: string,
  expected: string,
  { position, fix = DAMAGED }: { position?: number; fix?: string } = {},
): GgufError {
  return new GgufError({ argument, received, expected, fix, reason, position });
}

/** The header of an open file, read from its beginning. Nothing is allocated for a length that exceeds the file. */
export class Cursor {
  readonly path: string;
  private readonly fd: number;
  private readonly size: number;
  private window: Buffer = Buffer.alloc(0);
  /** The position of the window in the file, and that of the cursor in the window. */
  private begin = 0;
  private at = 0;

  constructor(path: string, fd: number, size: number) {
    this.path = path;
    this.fd = fd;
    this.size = size;
  }

  /** The position in the file. */
  get position(): number {
    return this.begin + this.at;
  }

  /** The next `length` bytes; the next call may overwrite them. */
  bytes(length: number): Buffer {
    const at = this.take(length);
    return this.window.subarray(at, at + length);
  }

  uint32(): number {
    return this.window.readUInt32LE(this.take(4));
  }

  /** A length or a count. @throws GgufError if it is more than what is left can hold, in pieces of `each` bytes. */
  count(each: number, what: string): number {
    const at = this.take(8);
    const count = this.window.readUInt32LE(at) + 2 ** 32 * this.window.readUInt32LE(at + 4);
    const left = Math.floor((this.size - this.position) / each);
    if (count <= left) return count;
    const received = `${this.window.readBigUInt64LE(at)} ${what}`;
    const expected = `at most the ${left} that the rest of the file can hold`;
    throw this.bad('truncated', received, expected, this.position - 8);
  }

  /** A text of at most `max` bytes. */
  text(max: number): string {
    const { position } = this;
    const length = this.count(1, 'bytes of text');
    if (length > max) throw this.bad('bad-string', `a text of ${length} bytes`, `at most ${max} bytes`, position);
    // There may be millions of texts: those that are valid are read without an object for their bytes.
    const at = this.take(length);
    const text = this.window.toString('utf8', at, at + length);
    if (!text.includes('\ufffd') || isUtf8(this.window.subarray(at, at + length))) return text;
    throw this.bad('bad-string', `${printable(text)}, which is not UTF-8`, 'a text in UTF-8', position);
  }

  bad(reason: GgufReason, received: string, expected: string, position: number): GgufError {
    return badFile(reason, this.path, `${received} at byte ${position}`, expected, { position });
  }

  /** Passes over `length` bytes and returns where in the window they begin. */
  private take(length: number): number {
    if (this.at + length > this.window.length) this.refill(length);
    this.at += length;
    return this.at - length;
  }

  /** Moves the window so that it begins here and holds `length` bytes or more. */
  private refill(length: number): void {
    const { position } = this;
    if (position + length > this.size) {
      const received = `${this.size} bytes`;
      throw badFile('truncated', this.path, received, `at least ${position + length}`, { position: this.size });
    }
    if (position + length > MAX_HEADER_BYTES) {
      const received = `a header of more than ${MAX_HEADER_BYTES} bytes`;
      throw badFile('header-too-large', this.path, received, 'a smaller one', { position });
    }
    const wanted = Math.min(Math.max(length, WINDOW_BYTES), this.size - position);
    const target = wanted <= this.window.length ? this.window.subarray(0, wanted) : Buffer.allocUnsafeSlow(wanted);
    for (let done = 0; done < wanted; ) {
      const read = this.readPiece(target, done, position + done);
      if (read === 0)
        throw this.bad('truncated', 'the end of the file', `${wanted - done} more bytes`, position + done);
      done += read;
    }
    [this.window, this.begin, this.at] = [target, position, 0];
  }

  private readPiece(target: Buffer, done: number, position: number): number {
    try {
      return readSync(this.fd, target, done, target.length - done, position);
    } catch (error) {
      throw asFileError(error, this.path, 'a readable GGUF file');
    }
  }
}
