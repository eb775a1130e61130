/** One writer to a folder at a time: a file that names the process that holds it. */
import { readFileSync } from 'node:fs';
import { link, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { LockedError, printable } from '../errors.ts';
import { asFileError } from '../files/file-error.ts';
import { temporaryPath } from '../files/atomic-write.ts';

/** Who holds a lock. `started` tells processes apart that had the same id one after the other. */
interface Holder {
  pid: number;
  started: string | undefined;
  host: string;
}

/**
 * Takes the lock of `directory`, that of a process which has ended as well, and gives how to let go of it.
 * @throws LockedError naming the process that holds it, FileError when the folder cannot be written.
 */
export async function lock(directory: string): Promise<() => Promise<void>> {
  const path = join(directory, 'lock');
  const own = JSON.stringify({ pid: process.pid, started: startOf(process.pid), host: hostname() } satisfies Holder);
  const aside = temporaryPath(path);
  try {
    // A link is there with its text or not at all, and never replaces another.
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

// Of two that do this at once, the holder may take the other's file for a leftover and remove it.
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
  const aside = temporaryPath(path);
  // Moved before it is removed: another process may have done all this in between, and then this is its own lock.
  await rename(path, aside).catch(ignoreMissing);
  const moved = await textOf(aside);
  if (moved !== undefined && moved !== text) await linked(aside, path);
  await rm(aside, { force: true });
}

function held(path: string, { pid, host }: Holder): LockedError {
  const elsewhere = host === hostname() ? '' : ` on ${printable(host)}`;
  return new LockedError({
    argument: path,
    received: `a lock that process ${pid}${elsewhere} holds`,
    expected: 'one that is free',
    fix: elsewhere ? 'Remove the file if that process has ended.' : 'Wait for that process, or end it.',
  });
}

// Of a process on another machine nothing is known: it may be alive.
function isAlive({ pid, started, host }: Holder): boolean {
  if (host !== hostname()) return true;
  return !hasEnded(pid) && (started === undefined || started === startOf(pid));
}

/** Whether there is no process `pid` on this machine. */
function hasEnded(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return false;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'ESRCH';
  }
}

/** When a process was started, in ticks since the machine was; undefined where the system does not tell. */
function startOf(pid: number): string | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    // Field 22; the second one, the name, may hold spaces and parentheses.
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
    // What is no lock of ours holds nothing.
  }
  return undefined;
}

async function textOf(path: string): Promise<string | undefined> {
  return (await readFile(path, 'utf8').catch(ignoreMissing)) ?? undefined;
}

function ignoreMissing(error: NodeJS.ErrnoException): undefined {
  if (error.code !== 'ENOENT') throw error;
}
