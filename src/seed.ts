/** Seeds: a fresh one where none is asked for, and distinct ones derived from one where several draws need their own. */

/** A seed that nobody can foretell, from 0 to 2^32 - 1. */
export function randomSeed(): number {
  return Math.floor(Math.random() * 2 ** 32);
}

/** The seed of one of several things that share `seed`, told apart by `name`: FNV-1a over both. From 0 to 2^32 - 1. */
export function derivedSeed(seed: number, name: string): number {
  let hash = 0x811c9dc5;
  for (const byte of Buffer.from(`${seed}:${name}`)) hash = Math.imul(hash ^ byte, 0x01000193);
  return hash >>> 0;
}
