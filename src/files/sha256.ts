/** Hashes of files. */
import { createHash } from 'node:crypto';
import { open } from 'node:fs/promises';
import { READ_FLAGS } from './regular-file.ts';

/** Files are read in slices of this size, so that hashing blocks the event loop for only a millisecond. */
const SLICE_BYTES = 1024 * 1024;

/** The SHA-256 of a file, in hexadecimal digits. Errors are those of the file system. */
export async function sha256OfFile(path: string): Promise<string> {
  const hash = createHash('sha256');
  const file = await open(path, READ_FLAGS);
  try {
    const buffer = new Uint8Array(SLICE_BYTES);
    for (let read = -1; read !== 0; ) {
      ({ bytesRead: read } = await file.read(buffer, 0, buffer.length, null));
      hash.update(buffer.subarray(0, read));
    }
  } finally {
    await file.close();
  }
  return hash.digest('hex');
}
