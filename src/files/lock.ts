/** A lock that allows one writer to a folder: a file that names the process holding it. */
import { readFileSync } from 'node:fs';
import { link, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { LockedError, printable } from '../errors.ts';
import { temporaryPath } from './atomic-write.ts';
import { asFileError } from './file-error.ts';

/** The holder of a lock. `started` distinguishes processes that had the same id at different times. */
interface Holder {
  pid: number;
  started: string | undefined;
  host: string;
}

/**
 * Locks `directory`, replacing the lock of a process that has ended, and returns a function that unlocks it.
 * @throws LockedError naming the process that holds the lock.
 * @throws FileError if the folder cannot be written.
 */
export async function lock(directory: string): Promise<() => Promise<void>> {
  const path = join(directory, 'lock');
  const own = JSON.stringify({ pid: process.pid, started: startOf(process.pid), host: hostname() } satisfies Holder);
  const aside = temporaryPath(path);
  try {
    // link(2) is atomic and fails if the lock exists.
    for (await writeFile(aside, own); !(await linked(aside, path)); await writeFile(aside, own)) {
      await takeFromEnded(path);
    }
  } catch (error) {
    throw asFileError(error, path, 'a file to write to');
  } finally {
    await rm(aside, { force: true }).catch(() => undefined);
  }
  return async () => {
    if ((await textOf(path)) === own) await rm(path, { force: true });
  };
}

// ENOENT: when two processes race, the winner may remove the other's temporary file as a leftover.
async function linked(from: string, to: string): Promise<boolean> {
  try {
    await link(from, to);
    return true;
  } catch (error) {
    if (['EEXIST', 'ENOENT'].includes((error as NodeJS.ErrnoException).code ?? '')) return false;
    throw error;
  }
}

/** Removes the lock at `path` if its holder has ended. */
async function takeFromEnded(path: string): Promise<void> {
  const text = await textOf(path);
  if (text === undefined) return;
  const holder = parseHolder(text);
  if (holder !== undefined && isAlive(holder)) throw held(path, holder);
  await removeLock(path, text);
}

/** Removes the lock file at `path` if it still holds `text`. */
export async function removeLock(path: string, text: string): Promise<void> {
  const aside = temporaryPath(path);
  // Rename before removing: another process may have replaced the lock in the meantime, and then it must be put back.
  await rename(path, aside).catch(ignoreMissing);
  const moved = await textOf(aside);
  if (moved !== undefined && moved !== text) await linked(aside, path);
  await rm(aside, { force: true });
}

function held(path: string, { pid, host }: Holder): LockedError {
  const elsewhere = host === hostname() ? '' : ` on ${printable(host)}`;
  return new LockedError({
    argument: path,
    received: `a lock held by process ${pid}${elsewhere}`,
    expected: 'a free lock',
    fix: elsewhere ? 'Remove the file if that process has ended.' : 'Wait for that process, or stop it.',
  });
}

// Processes on other machines cannot be checked, so they count as alive.
function isAlive({ pid, started, host }: Holder): boolean {
  if (host !== hostname()) return true;
  return !hasEnded(pid) && (started === undefined || started === startOf(pid));
}

/** Whether no process `pid` exists on this machine. */
function hasEnded(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return false;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'ESRCH';
  }
}

/** The start time of a process, in clock ticks since boot; undefined if the system does not report it. */
function startOf(pid: number): string | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    // Field 22. Field 2, the name, may contain spaces and parentheses.
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19];
  } catch {
    return undefined;
  }
}

function parseHolder(text: string): Holder | undefined {
  try {
    const { pid, started, host } = JSON.parse(text) as Record<string, unknown>;
    const known = started === undefined || typeof started === 'string';
    if (Number.isSafeInteger(pid) && (pid as number) > 0 && known && typeof host === 'string') {
      return { pid: pid as number, started: started as string | undefined, host };
    }
  } catch {
    // Not one of our locks, so nothing is held.
  }
  return undefined;
}

async function textOf(path: string): Promise<string | undefined> {
  return (await readFile(path, 'utf8').catch(ignoreMissing)) ?? undefined;
}

function ignoreMissing(error: NodeJS.ErrnoException): undefined {
  if (error.code !== 'ENOENT') throw error;
}

/** Whether a process that has not ended holds the lock of `directory`; one on another machine counts as alive. */
export async function isLocked(directory: string): Promise<boolean> {
  const text = await readFile(join(directory, 'lock'), 'utf8').catch(() => undefined);
  const holder = text === undefined ? undefined : parseHolder(text);
  return holder !== undefined && isAlive(holder);
}
