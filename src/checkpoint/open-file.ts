import type { FileHandle } from 'node:fs/promises';

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
