import { FileError, PalmError, printable } from '../errors.ts';

const PROBLEMS: Record<string, { received: string; fix: string }> = {
  ENOENT: { received: 'nothing: it does not exist', fix: 'Check the path.' },
  ENOTDIR: { received: 'nothing: part of its path is not a folder', fix: 'Check the path.' },
  EISDIR: { received: 'a folder', fix: 'Name a file.' },
  EACCES: { received: 'a refusal: permission denied', fix: 'Change its permissions, or run as a user who may.' },
  EPERM: { received: 'a refusal: permission denied', fix: 'Change its permissions, or run as a user who may.' },
  EROFS: { received: 'a refusal: the file system is read-only', fix: 'Choose a folder that can be written.' },
  ENOSPC: { received: 'a refusal: the disk is full', fix: 'Free some space, or choose another disk.' },
  EDQUOT: { received: 'a refusal: the disk quota is used up', fix: 'Free some space, or choose another disk.' },
  EEXIST: { received: 'something of that name that is in the way', fix: 'Choose another name, or move it away.' },
  ERR_FS_FILE_TOO_LARGE: { received: 'a file of 2 GiB or more', fix: 'Split it.' },
};

/**
 * What the file system threw, as a FileError that names `path`; a PalmError passes through unchanged.
 * `expected` is what the file was wanted for, such as `a readable JSONL file`.
 */
export function asFileError(error: unknown, path: string, expected: string): PalmError {
  if (error instanceof PalmError) return error;
  const fix = problemOf(error)?.fix;
  const received = reasonOf(error);
  return new FileError({ argument: path, received, expected, ...(fix === undefined ? {} : { fix }), cause: error });
}

/** What the file system has against something, in words. */
export function reasonOf(error: unknown): string {
  if (error instanceof PalmError) return error.received ?? error.message;
  return problemOf(error)?.received ?? printable((error as Error | undefined)?.message ?? error);
}

function problemOf(error: unknown) {
  return PROBLEMS[(error as NodeJS.ErrnoException | undefined)?.code ?? ''];
}
