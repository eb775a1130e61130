/** Folders that are there as a whole, or not at all. */
import { mkdir, open, rename } from 'node:fs/promises';
import { dirname } from 'node:path';
import { discard, syncFolder, temporaryPath } from './atomic-write.ts';
import { asFileError, checkVacant } from './file-error.ts';
import { makeFolder } from './folder.ts';
import { syncFile } from './open-file.ts';

/**
 * Creates the folder `path`, which must not exist, with what `write` writes to the folder that it is given.
 * @throws FileError if `path` exists or cannot be written.
 */
export async function createFolder(path: string, write: (aside: string) => Promise<void>): Promise<void> {
  checkVacant(path);
  makeFolder(dirname(path));
  const aside = temporaryPath(path);
  try {
    await mkdir(aside);
    await write(aside);
    await syncFolder(aside);
    await rename(aside, path);
    await syncFolder(dirname(path));
  } catch (error) {
    await discard(aside);
    throw asFileError(error, path, 'a folder to write to');
  }
}

/** Writes a file of a new folder. */
export async function writeText(path: string, text: string): Promise<void> {
  await using file = await open(path, 'w');
  await file.writeFile(text);
  await syncFile(file);
}
