/** Open files, read by position and never as a whole, and flushed to disk. */
import { fsync } from 'node:fs';
import type { FileHandle } from 'node:fs/promises';
import { promisify } from 'node:util';

/** An open file that is read by position, never as a whole. Close it, or use `await using`. */
export abstract class OpenFile implements AsyncDisposable {
  readonly path: string;
  protected readonly file: FileHandle;

  constructor(path: string, file: FileHandle) {
    this.path = path;
    this.file = file;
  }

  async close(): Promise<void> {
    await this.file.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}

const sync = promisify(fsync);

/**
 * Waits until `file` is on disk. Uses the descriptor because package managers that replace the file system module leave
 * out `FileHandle.sync`.
 */
export async function syncFile(file: FileHandle): Promise<void> {
  await sync(file.fd);
}

/**
 * Fills `target` with the bytes of `file` starting at `position`; returns their number, which is smaller if the file
 * ends early.
 */
export async function fill(file: FileHandle, position: number, target: Uint8Array): Promise<number> {
  let done = 0;
  while (done < target.length) {
    const { bytesRead } = await file.read(target, done, target.length - done, position + done);
    if (bytesRead === 0) break;
    done += bytesRead;
  }
  return done;
}
