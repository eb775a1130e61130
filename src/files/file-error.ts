import { existsSync } from 'node:fs';
import { FileError, PalmError, printable } from '../errors.ts';

const PROBLEMS: Record<string, { problem: string; fix?: string }> = {
  ENOENT: { problem: 'no such file or folder' },
  ENOTDIR: { problem: 'part of the path is not a folder' },
  EISDIR: { problem: 'is a folder', fix: 'Name a file.' },
  EACCES: { problem: 'permission denied', fix: 'Change its permissions, or run as another user.' },
  EPERM: { problem: 'permission denied', fix: 'Change its permissions, or run as another user.' },
  EROFS: { problem: 'the file system is read-only', fix: 'Choose a writable folder.' },
  ENOSPC: { problem: 'the disk is full', fix: 'Free some space, or choose another disk.' },
  EDQUOT: { problem: 'the disk quota is used up', fix: 'Free some space, or choose another disk.' },
  EEXIST: { problem: 'already exists', fix: 'Choose another name, or move it away.' },
  ERR_FS_FILE_TOO_LARGE: { problem: 'is 2 GiB or larger', fix: 'Split it.' },
};

/**
 * Turns what the file system threw into a FileError that names `path`; a PalmError passes through unchanged. `expected`
 * describes the file that was wanted, such as `a readable JSONL file`.
 */
export function asFileError(error: unknown, path: string, expected: string): PalmError {
  if (error instanceof PalmError) return error;
  return new FileError({ argument: path, received: reasonOf(error), expected, ...problemOf(error), cause: error });
}

/** Keeps a command from replacing a file. @throws FileError if something exists at `path`, which it is about to write. */
export function checkVacant(path: string): void {
  if (existsSync(path)) throw asFileError({ code: 'EEXIST' }, path, 'a name that is not taken');
}

/** The reason for a file-system error, in words. */
export function reasonOf(error: unknown): string {
  if (error instanceof PalmError) return error.received ?? error.message;
  return problemOf(error)?.problem ?? printable((error as Error | undefined)?.message ?? error);
}

function problemOf(error: unknown) {
  return PROBLEMS[(error as NodeJS.ErrnoException | undefined)?.code ?? ''];
}
