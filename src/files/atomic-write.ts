/** Atomic writes: temporary file, fsync, rename. */
import { randomBytes } from 'node:crypto';
import { open, readdir, rename, rm } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { FileError } from '../errors.ts';
import { asFileError } from './file-error.ts';
import { syncFile } from './open-file.ts';

const PREFIX = '.tmp-';

/** An unused file name in the folder of `path`. */
export function temporaryPath(path: string): string {
  return join(dirname(path), `${PREFIX}${process.pid}-${randomBytes(4).toString('hex')}-${basename(path)}`);
}

/**
 * Lets `write` fill a temporary file, then renames it to `path`, which holds either the old file or all of the new one.
 * @throws FileError naming `path`, which is then unchanged.
 */
export async function writeAtomically(path: string, write: (aside: string) => Promise<void>): Promise<void> {
  const aside = temporaryPath(path);
  try {
    await write(aside);
    await rename(aside, path);
    await syncFolder(dirname(path));
  } catch (error) {
    await discard(aside);
    const ofAside = error instanceof FileError && error.argument === aside;
    throw asFileError(ofAside ? error.cause : error, path, 'a file to write to');
  }
}

/** Removes what a failed write left at `path`. Ignores errors: the first failure is the one to report. */
export async function discard(path: string): Promise<void> {
  await rm(path, { recursive: true, force: true }).catch(() => undefined);
}

/** Removes the folder `path` atomically: it is never partly there. */
export async function removeFolder(path: string): Promise<void> {
  const aside = temporaryPath(path);
  await rename(path, aside);
  await rm(aside, { recursive: true, force: true });
}

/**
 * Removes the temporary files of killed processes from `directory` and returns their names. This process must be the
 * only writer.
 */
export async function removeLeftovers(directory: string): Promise<string[]> {
  const leftovers = (await readdir(directory)).filter((name) => name.startsWith(PREFIX));
  for (const name of leftovers) await rm(join(directory, name), { recursive: true, force: true });
  return leftovers;
}

/** Waits until the directory entries of `path` are on disk. */
export async function syncFolder(path: string): Promise<void> {
  const folder = await open(path, 'r');
  try {
    await syncFile(folder);
  } finally {
    await folder.close();
  }
}
