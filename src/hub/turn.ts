/** Takes turns between processes: one downloads into a repository's folder, the others wait and find what it fetched. */
import { readFile, stat, utimes } from 'node:fs/promises';
import { join } from 'node:path';
import { LockedError } from '../errors.ts';
import { makeFolder } from '../files/folder.ts';
import { lock, removeLock } from '../files/lock.ts';
import { rest } from './client.ts';

/** Milliseconds. */
export interface Turns {
  /** Between looks at the lock of another process. */
  look: number;
  /** Between the holder's signs of life. */
  beat: number;
  /** Without a sign of life, until the lock counts as left behind. */
  dead: number;
}

const TURNS: Turns = { look: 200, beat: 5000, dead: 60_000 };

/**
 * Runs `work` while no other process does in `folder`. The lock of a process that has ended is replaced at once; that of one
 * on another machine, or of one that has stopped, once it has shown no sign of life for a minute by this machine's clock.
 * @throws FileError if the folder cannot be written; what `work` throws; the reason of `signal`.
 */
export async function inTurn<T>(
  folder: string,
  signal: AbortSignal | undefined,
  work: () => Promise<T>,
  turns = TURNS,
): Promise<T> {
  makeFolder(folder);
  const unlock = await waited(folder, signal, turns);
  const path = join(folder, 'lock');
  const beating = setInterval(() => void utimes(path, new Date(), new Date()).catch(() => undefined), turns.beat);
  try {
    return await work();
  } finally {
    clearInterval(beating);
    await unlock();
  }
}

async function waited(folder: string, signal: AbortSignal | undefined, turns: Turns): Promise<() => Promise<void>> {
  const path = join(folder, 'lock');
  let [seen, since] = ['', performance.now()];
  for (;;) {
    try {
      return await lock(folder);
    } catch (error) {
      if (!(error instanceof LockedError)) throw error;
    }
    const life = await signOfLife(path);
    if (life?.mark !== seen) [seen, since] = [life?.mark ?? '', performance.now()];
    else if (life !== undefined && performance.now() - since > turns.dead) await removeLock(path, life.text);
    await rest(turns.look, signal);
  }
}

/** The text of a lock, and what changes when its holder shows that it is alive. */
async function signOfLife(path: string): Promise<{ text: string; mark: string } | undefined> {
  try {
    const text = await readFile(path, 'utf8');
    return { text, mark: `${(await stat(path)).mtimeMs} ${text}` };
  } catch {
    return undefined;
  }
}
