/** Random numbers for everything that is drawn in TypeScript: reproducible on every machine, unlike Math.random. */
import { ArgumentError, printable } from '../errors.ts';

/** A seeded xoshiro128** generator (Blackman and Vigna 2018): four 32-bit words of state, period 2^128 - 1. */
export class Random {
  private words: Uint32Array;

  /** @param seed an integer from 0 to 2^53 - 1. */
  constructor(seed: number) {
    this.words = Uint32Array.from([1, 2, 3, 4], (part) => lowWord(deriveSeed(seed, part)));
    // All zeros is the one state that the generator never leaves.
    if (this.words.every((word) => word === 0)) this.words[0] = 1;
  }

  /** A number in [0, 1), a multiple of 2^-53. */
  next(): number {
    const high = this.word() >>> 5;
    const low = this.word() >>> 6;
    return (high * 2 ** 26 + low) / 2 ** 53;
  }

  /** An integer in [0, n), for n from 1 to 2^32; the relative bias is below 2^-21. */
  int(n: number): number {
    return Math.floor(this.next() * n);
  }

  /** Shuffles `array` in place (Fisher-Yates) and returns it. */
  shuffle<T extends { length: number; [index: number]: unknown }>(array: T): T {
    for (let i = array.length - 1; i > 0; i--) {
      const j = this.int(i + 1);
      [array[i], array[j]] = [array[j], array[i]];
    }
    return array;
  }

  /** The complete state: four integers, for a checkpoint. */
  state(): number[] {
    return [...this.words];
  }

  /** Continues from a `state()`. @throws ArgumentError for anything else. */
  restore(state: readonly number[]): void {
    const words = Uint32Array.from(state);
    if (words.length !== 4 || words.some((word, i) => word !== state[i]) || words.every((word) => word === 0)) {
      throw new ArgumentError({
        argument: 'state',
        received: printable(state),
        expected: 'a value returned by state()',
      });
    }
    this.words = words;
  }

  private word(): number {
    const words = this.words as unknown as [number, number, number, number];
    const result = Math.imul(rotateLeft(Math.imul(words[1], 5), 7), 9) >>> 0;
    const shifted = words[1] << 9;
    words[2] ^= words[0];
    words[3] ^= words[1];
    words[1] ^= words[2];
    words[0] ^= words[3];
    words[2] ^= shifted;
    words[3] = rotateLeft(words[3], 11);
    return result;
  }
}

/**
 * Derives a separate seed for each purpose: an integer from 0 to 2^53 - 1 that depends on `seed` and on all parts and
 * their order, as in `deriveSeed(config.seed, epoch)`. Each part is an integer from 0 to 2^53 - 1.
 */
export function deriveSeed(seed: number, ...parts: number[]): number {
  // Two 32-bit chains; each number is mixed completely into both before the next one.
  let a = 0x9e3779b9;
  let b = 0x85ebca6b;
  for (const part of [seed, ...parts]) {
    checkSeed(part);
    const low = lowWord(part);
    const high = Math.floor(part / 2 ** 32);
    a = mix(a ^ mix(low + 0x6a09e667) ^ Math.imul(high + 1, 0x01000193));
    b = mix(b ^ mix(high + 0x3c6ef372) ^ Math.imul(low + 1, 0x5bd1e995) ^ a);
  }
  return (b >>> 11) * 2 ** 32 + (a >>> 0);
}

function checkSeed(seed: number): void {
  if (Number.isSafeInteger(seed) && seed >= 0) return;
  throw new ArgumentError({ argument: 'seed', received: printable(seed), expected: 'an integer from 0 to 2^53 - 1' });
}

function lowWord(value: number): number {
  return (value % 2 ** 32) >>> 0;
}

/** The finaliser of MurmurHash3: every output bit depends on every input bit. */
function mix(word: number): number {
  let h = word | 0;
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return h ^ (h >>> 16);
}

function rotateLeft(word: number, bits: number): number {
  return ((word << bits) | (word >>> (32 - bits))) >>> 0;
}
