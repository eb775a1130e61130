/** Reward modules: JavaScript or TypeScript files whose default export scores answers. */
import { createHash } from 'node:crypto';
import { readFileSync, statSync } from 'node:fs';
import { resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { ArgumentError, FileError, printable } from '../errors.ts';
import { asFileError } from '../files/file-error.ts';
import type { TextReward } from './text-reward.ts';

const WANTED = 'a module with a default export (answers) => numbers';

/**
 * The reward function that the module at `path` exports by default.
 * @throws FileError if it is missing or cannot be loaded.
 * @throws ArgumentError for TypeScript on a Node that cannot run it.
 * @throws ArgumentError if its default export is no function.
 */
export async function loadModule(path: string): Promise<TextReward> {
  checkFile(path);
  const { default: reward } = await importModule(path);
  if (typeof reward === 'function') return reward as TextReward;
  throw new ArgumentError({
    argument: path,
    received: reward === undefined ? 'no default export' : `the default export ${printable(reward)}`,
    expected: WANTED,
    fix: 'Write, for example: export default (answers) => answers.map(({ response }) => response.length);',
  });
}

/** The SHA-256 of the module at `path`, in hexadecimal. @throws FileError if it is missing. */
export function hashOf(path: string): string {
  checkFile(path);
  return createHash('sha256').update(readFileSync(path)).digest('hex');
}

function checkFile(path: string): void {
  try {
    if (statSync(path).isFile()) return;
  } catch (error) {
    throw asFileError(error, path, WANTED);
  }
  throw new FileError({ argument: path, received: 'a folder', expected: WANTED });
}

async function importModule(path: string): Promise<{ default?: unknown }> {
  try {
    return (await import(pathToFileURL(resolve(path)).href)) as { default?: unknown };
  } catch (cause) {
    throw unloadable(path, cause);
  }
}

/** The error for a module that cannot be imported because of `cause`. */
export function unloadable(path: string, cause: unknown): ArgumentError | FileError {
  const { code, name = 'Error', message = cause } = Object(cause) as NodeJS.ErrnoException;
  if (code === 'ERR_UNKNOWN_FILE_EXTENSION') {
    return new ArgumentError({
      argument: path,
      received: `TypeScript on Node ${process.versions.node}`,
      expected: 'Node 22.18 or later, which runs TypeScript',
      fix: 'Rename it to .mjs with the types left out, or run the command by tsx: node --import tsx …',
      cause,
    });
  }
  return new FileError({ argument: path, received: printable(`${name}: ${message}`), expected: WANTED, cause });
}
