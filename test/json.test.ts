import { describe, expect, it } from 'vitest';
import { Random } from '../src/data/random.ts';
import { JsonError, parseJson } from '../src/files/json.ts';
import { mutated } from './faults/mutate.ts';

function errorOf(text: string, most = 1000): JsonError {
  try {
    parseJson(text, most);
  } catch (error) {
    expect(error).toBeInstanceOf(JsonError);
    return error as JsonError;
  }
  throw new Error(`${text} was read`);
}

describe('parseJson', () => {
  it('accepts what JSON.parse accepts, except duplicate keys', () => {
    const original = Buffer.from(
      '{"a": [1, -2.5e+3, {"b\\u0041": null, "c": ""}], "d\\"": {"a": true}, "e": [[], {}]}',
    );
    const random = new Random(5);
    let [good, twice] = [0, 0];
    for (let i = 0; i < 20_000; i++) {
      const changed = mutated(original, random).toString();
      const renamed = original.toString().replace(/"[a-e]"/g, () => `"${'abcdefghijklmno'[random.int(15)]}"`);
      const text = i % 2 === 0 ? changed : renamed;
      let expected: unknown;
      try {
        expected = JSON.parse(text);
      } catch {
        errorOf(text);
        continue;
      }
      try {
        expect(parseJson(text, 1000)).toEqual(expected);
        good++;
      } catch (error) {
        expect((error as JsonError).problem, text).toBe('a duplicate key');
        twice++;
      }
    }
    expect(good).toBeGreaterThan(100);
    expect(twice).toBeGreaterThan(10);
  });

  it.each([
    ['', 0, 'the end'],
    [' {"a":1,}', 8, '"}"'],
    ['[1 2]', 3, '"2]"'],
    ['[1,', 3, 'the end'],
    ['{"a" 1}', 5, '"1}"'],
    ['"a\\q"', 2, '"\\\\q\\""'],
    ['"\ud800', 2, 'the end'],
    ['01', 1, '"1"'],
    ['{"a":1}}', 7, '"}"'],
    ['{"a":{"b":1},"a":2}', 13, 'a duplicate key'],
  ])('refuses %j at character %i', (text, at, problem) => {
    expect(errorOf(text)).toMatchObject({ at, problem });
  });

  it('limits the depth and the number of values', () => {
    const nested = (depth: number) => `${'['.repeat(depth)}${']'.repeat(depth)}`;
    expect(parseJson(nested(1000), 1000)).toHaveLength(1);
    expect(errorOf(nested(1001), 2000)).toMatchObject({ at: 1000, problem: 'nesting deeper than 1000' });
    expect(parseJson('[1,{"a":2}]', 4)).toEqual([1, { a: 2 }]);
    expect(errorOf('[1,{"a":2}]', 3)).toMatchObject({ at: 8, problem: 'too many values' });
  });
});
