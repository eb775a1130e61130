/** Folders to write to. */
import { existsSync, mkdirSync, statSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { FileError } from '../errors.ts';
import { asFileError } from './file-error.ts';

const EXPECTED = 'a folder to write to';

/**
 * Makes the folder `path`, and those above it that are missing, one at a time: the recursion of `mkdir` never ends where the
 * system refuses with ENOENT, as in /proc, and tells ENOENT of a disk that is read-only.
 * @throws FileError naming `path` for whatever the system says.
 */
export function makeFolder(path: string): void {
  const missing: string[] = [];
  for (let at = resolve(path); !existsSync(at); at = dirname(at)) missing.unshift(at);
  try {
    for (const folder of missing) makeOne(folder);
    if (statSync(path).isDirectory()) return;
  } catch (error) {
    throw asFileError(error, path, EXPECTED);
  }
  throw new FileError({ argument: path, received: 'a file', expected: EXPECTED, fix: 'Choose another place.' });
}

/** Another process may have made it in between. */
function makeOne(folder: string): void {
  try {
    mkdirSync(folder);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
  }
}
