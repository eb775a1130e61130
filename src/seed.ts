/** Seeds: a fresh one where none is asked for, and distinct ones for several things that are drawn from one. */
import { randomInt } from 'node:crypto';

/** A seed that nobody can predict, from 0 to 2^32 - 1. */
export function randomSeed(): number {
  return randomInt(2 ** 32);
}

/** The seed of the thing called `name` among those that share `seed`: FNV-1a over both. From 0 to 2^32 - 1. */
export function seedFor(seed: number, name: string): number {
  let hash = 0x811c9dc5;
  for (const byte of Buffer.from(`${seed}:${name}`)) hash = Math.imul(hash ^ byte, 0x01000193);
  return hash >>> 0;
}
