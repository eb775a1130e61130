/** What is written beside its place first, and moved there once it is whole and on the disk. */
import { randomBytes } from 'node:crypto';
import { open, readdir, rename, rm } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';

const PREFIX = '.tmp-';

/** A free name in the folder of `path`. */
export function asideName(path: string): string {
  return join(dirname(path), `${PREFIX}${process.pid}-${randomBytes(4).toString('hex')}-${basename(path)}`);
}

/** Removes what a failure left at `path`: what failed first is what to report. */
export async function discard(path: string): Promise<void> {
  await rm(path, { recursive: true, force: true }).catch(() => undefined);
}

/** Removes the folder `path` so that it is never there in part. */
export async function removeFolder(path: string): Promise<void> {
  const aside = asideName(path);
  await rename(path, aside);
  await rm(aside, { recursive: true, force: true });
}

/** Removes what killed processes left in `directory`, whose only writer this one is, and gives the names. */
export async function removeLeftovers(directory: string): Promise<string[]> {
  const leftovers = (await readdir(directory)).filter((name) => name.startsWith(PREFIX));
  for (const name of leftovers) await rm(join(directory, name), { recursive: true, force: true });
  return leftovers;
}

/** Waits until the names in the folder `path` are on the disk. */
export async function syncFolder(path: string): Promise<void> {
  const folder = await open(path, 'r');
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}
