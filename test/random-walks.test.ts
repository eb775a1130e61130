import { describe, expect, it } from 'vitest';
import {
  letterTokenizer,
  neighbours,
  optimality,
  randomWalks,
  shortest,
  walkPrompts,
} from '../src/demo/random-walks.ts';

describe('the graph', () => {
  it('has the 51 edges of seed 1000, and only d and n lead to the goal', () => {
    expect([...neighbours.values()].join('')).toHaveLength(51);
    expect(walkPrompts.filter((node) => neighbours.get(node)?.includes('a'))).toEqual(['d', 'n']);
    expect(walkPrompts.join('')).toBe('bcdefghijklmnopqrstu');
  });

  it('has the shortest walks of the original', () => {
    expect(walkPrompts.map((node) => shortest.get(node)).join('')).toBe('34243553334425444344');
  });
});

describe('randomWalks', () => {
  const walks = randomWalks({ count: 1000, seed: 0 });

  it('follows edges, stops at the goal and has at most 10 nodes', () => {
    for (const walk of walks) {
      expect(walk.indexOf('a') === walk.length - 1 || (walk.length === 10 && !walk.includes('a'))).toBe(true);
      for (let i = 1; i < walk.length; i++) expect(neighbours.get(walk.charAt(i - 1))).toContain(walk.charAt(i));
    }
    expect(new Set(walks.map((walk) => walk.charAt(0)))).toEqual(new Set(walkPrompts));
  });

  it('depends only on the seed', () => {
    expect(randomWalks({ count: 20, seed: 0 })).toEqual(walks.slice(0, 20));
    expect(randomWalks({ count: 20, seed: 1 })).not.toEqual(walks.slice(0, 20));
  });

  it('has the expected mean optimality of 0.3462, within the error of 1000 walks', () => {
    const mean = walks.reduce((sum, walk) => sum + optimality(walk), 0) / walks.length;
    expect(Math.abs(mean - expectedOptimality())).toBeLessThan(0.04);
  });
});

/** What a uniform choice among neighbours expects, by carrying the probability of every node along. */
function expectedOptimality(): number {
  let total = 0;
  for (const start of walkPrompts) {
    let at = new Map([[start, 1]]);
    for (let length = 2; length <= 10; length++) {
      const next = new Map<string, number>();
      for (const [node, probability] of at) {
        const choices = neighbours.get(node) as string;
        for (const to of choices) next.set(to, (next.get(to) ?? 0) + probability / choices.length);
      }
      total += ((next.get('a') ?? 0) * (10 - length)) / (10 - (shortest.get(start) as number));
      next.delete('a');
      at = next;
    }
  }
  return total / walkPrompts.length;
}

describe('optimality', () => {
  it('is exactly 0.3462 in expectation over uniform walks', () => {
    expect(expectedOptimality()).toBeCloseTo(0.3462, 4);
  });

  it.each([
    ['sda', 1],
    ['bda', 1],
    ['na', 1],
    ['lbda', 1],
    ['jnbjna', 4 / 7],
    ['hckna', 1],
    ['sdtkgusda', 1 / 7],
    ['ebjnbdtkna', 0],
    ['hcorguidtk', 0],
  ])('of %s is %d', (walk, expected) => {
    expect(optimality(walk)).toBe(expected);
    expect(optimality(letterTokenizer.encode(walk))).toBe(expected);
  });

  it.each(['', 'a', 'aa', 'ada', 'n', 'nn', 'ba', 'n|a', 'NA', 'z', 'jnbjnbjnbda'])('of %j is 0', (walk) => {
    expect(optimality(walk)).toBe(0);
  });

  it('ignores nodes after the goal', () => {
    expect(optimality('na??')).toBe(1);
    expect(optimality('nabda')).toBe(1);
  });

  it('ends ids at eos or padding', () => {
    const { eosToken, padToken, encode } = letterTokenizer;
    expect(optimality([...encode('na'), eosToken as number, padToken as number])).toBe(1);
    expect(optimality([...encode('n'), eosToken as number, ...encode('a')])).toBe(0);
    expect(optimality([eosToken as number])).toBe(0);
    expect(optimality([])).toBe(0);
  });
});

describe('letterTokenizer', () => {
  it('numbers the letters, then eos and padding', () => {
    expect(letterTokenizer).toMatchObject({ vocabSize: 23, eosToken: 21, padToken: 22 });
    expect(letterTokenizer.encode('abu')).toEqual([0, 1, 20]);
    expect(letterTokenizer.decode([0, 1, 20, 21, 22])).toBe('abu');
  });

  it('refuses characters that are not letters of the graph', () => {
    expect(() => letterTokenizer.encode('abz')).toThrow(/letterTokenizer.*"z".*letters from a to u/);
  });
});
