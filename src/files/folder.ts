/** Creating folders. */
import { existsSync, mkdirSync, statSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { FileError } from '../errors.ts';
import { asFileError } from './file-error.ts';

const EXPECTED = 'a folder to write to';
const IS_FILE = { received: 'a file', problem: 'is a file, not a folder' };

/**
 * Creates the folder `path` and its missing parents one at a time: recursive `mkdir` loops forever where the system
 * refuses with ENOENT, as in /proc, and reports ENOENT on a read-only disk.
 * @throws FileError naming `path`.
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
  throw new FileError({ argument: path, ...IS_FILE, expected: EXPECTED, fix: 'Choose another folder.' });
}

/** Ignores EEXIST: another process may have created the folder in the meantime. */
function makeOne(folder: string): void {
  try {
    mkdirSync(folder);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
  }
}
