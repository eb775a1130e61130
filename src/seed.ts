/** Seeds: a random one if none is given, and distinct ones derived from a single seed. */
import { randomInt } from 'node:crypto';

/** An unpredictable seed from 0 to 2^32 - 1. */
export function randomSeed(): number {
  return randomInt(2 ** 32);
}

/** Derives the seed of the thing called `name` from a shared `seed`: FNV-1a over both, from 0 to 2^32 - 1. */
export function seedFor(seed: number, name: string): number {
  let hash = 0x811c9dc5;
  for (const byte of Buffer.from(`${seed}:${name}`)) hash = Math.imul(hash ^ byte, 0x01000193);
  return hash >>> 0;
}
