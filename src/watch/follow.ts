/** A file that another process appends lines to, cuts back when it resumes a run, and may remove. */
import { type FileHandle, open, stat } from 'node:fs/promises';
import { DataError } from '../errors.ts';
import { asFileError } from '../files/file-error.ts';

/** What gets the lines of a file. */
export interface Lines {
  /** Forgets all lines: the file begins again. */
  reset(): void;
  /** Adds lines, each with its newline, that are at `offset` in the file. The bytes are good until it returns. */
  add(bytes: Buffer, offset: number): void;
}

/** What has happened to a file since it was read before. */
export interface Advance {
  /** Bytes of whole lines that were read. */
  read: number;
  /** Whether what was known has been forgotten: the file was cut back, replaced or removed. */
  again: boolean;
}

/** Bytes that are read at once. */
const CHUNK = 4 * 2 ** 20;
/** The longest line. */
const MOST_LINE = 64 * 2 ** 20;
/** Bytes before the end that are compared when there are more, because a file may be cut back and grow again in between. */
const TAIL = 256;

/** Reads of a file what is new. */
export class FollowedFile {
  readonly #path: string;
  readonly #lines: Lines;
  /** The end of the last whole line that was read. */
  #offset = 0;
  /** The size at which there was nothing more to read. */
  #size = 0;
  #inode: number | undefined;
  #changed = 0;
  #tail = Buffer.alloc(0);

  constructor(path: string, lines: Lines) {
    this.#path = path;
    this.#lines = lines;
  }

  /**
   * Reads the lines that were added since, up to the size that the file has now. The last one waits until it is whole.
   * @throws FileError if the file cannot be read.
   * @throws DataError for a line of more than 64 MiB.
   */
  async advance(): Promise<Advance> {
    try {
      const found = await stat(this.#path);
      const same = found.ino === this.#inode && found.size === this.#size && found.mtimeMs === this.#changed;
      if (same) return { read: 0, again: false };
      const file = await open(this.#path);
      try {
        return await this.#read(file);
      } finally {
        await file.close();
      }
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return { read: 0, again: this.#forget() };
      throw asFileError(error, this.#path, 'a file of lines to follow');
    }
  }

  async #read(file: FileHandle): Promise<Advance> {
    const { ino, size, mtimeMs } = await file.stat();
    const same = ino === this.#inode && size >= this.#size && (await this.#hasTail(file));
    const again = same ? false : this.#forget();
    this.#inode = ino;
    const begin = this.#offset;
    let buffer: Buffer = Buffer.allocUnsafe(Math.min(CHUNK, Math.max(1, size - begin)));
    let held = 0;
    for (let at = begin; at < size; ) {
      const { bytesRead } = await file.read(buffer, held, Math.min(buffer.length - held, size - at), at);
      if (bytesRead === 0) break; // cut back meanwhile, which the next call notices
      at += bytesRead;
      held += bytesRead;
      const whole = buffer.lastIndexOf(10, held - 1) + 1;
      if (whole > 0) {
        this.#take(buffer.subarray(0, whole));
        buffer.copyWithin(0, whole, held);
        held -= whole;
      } else if (held === buffer.length && at < size) buffer = this.#longer(buffer);
    }
    this.#size = size;
    this.#changed = mtimeMs;
    return { read: this.#offset - begin, again };
  }

  #take(lines: Buffer): void {
    this.#lines.add(lines, this.#offset);
    this.#offset += lines.length;
    const tail = lines.subarray(Math.max(0, lines.length - TAIL));
    this.#tail = Buffer.from(tail);
  }

  /** Whether what precedes the next line is what was read there. */
  async #hasTail(file: FileHandle): Promise<boolean> {
    const found = Buffer.alloc(this.#tail.length);
    await file.read(found, 0, found.length, this.#offset - found.length);
    return found.equals(this.#tail);
  }

  #longer(buffer: Buffer): Buffer {
    if (buffer.length < MOST_LINE) return Buffer.concat([buffer], 2 * buffer.length);
    const received = `a line of more than ${MOST_LINE} bytes at byte ${this.#offset}`;
    throw new DataError({
      argument: this.#path,
      received,
      expected: 'shorter lines',
      fix: 'Check that it is the file of a run.',
    });
  }

  /** Begins again; whether anything was known. */
  #forget(): boolean {
    const known = this.#offset > 0;
    this.#offset = 0;
    this.#size = 0;
    this.#inode = undefined;
    this.#tail = Buffer.alloc(0);
    if (known) this.#lines.reset();
    return known;
  }
}
