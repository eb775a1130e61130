/** Files that are open: read at places, never as a whole, and waited for until they are on the disk. */
import { fsync } from 'node:fs';
import type { FileHandle } from 'node:fs/promises';
import { promisify } from 'node:util';

/** An open file that is read at places, never as a whole. Close it, or use `await using`. */
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
 * Waits until `file` is on the disk. By its descriptor: package managers that put their own files in place of the system's
 * leave out `FileHandle.sync`.
 */
export async function syncFile(file: FileHandle): Promise<void> {
  await sync(file.fd);
}

/** Fills `target` with the bytes of `file` from `position` on; gives how many there were, fewer where the file ends before. */
export async function fill(file: FileHandle, position: number, target: Uint8Array): Promise<number> {
  let done = 0;
  while (done < target.length) {
    const { bytesRead } = await file.read(target, done, target.length - done, position + done);
    if (bytesRead === 0) break;
    done += bytesRead;
  }
  return done;
}
