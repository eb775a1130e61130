/** What src/native/exports.ts and losses.ts promise is what the addon exports, no more and no less. */
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { addon } from '../src/native/addon.ts';

const source = ['exports', 'losses']
  .map((stem) => readFileSync(new URL(`../src/native/${stem}.ts`, import.meta.url), 'utf8'))
  .join('\n');

/** The methods of the interfaces `Native` and `NativeLosses`. */
function declared(): string[] {
  const bodies = [...source.matchAll(/^export interface Native\w* .*\{\n([\s\S]*?)^\}$/gm)].map(
    ([, body]) => body as string,
  );
  return bodies.flatMap((body) => [...body.matchAll(/^ {2}(\w+)\(/gm)].map(([, name]) => name as string));
}

describe('the interface Native', () => {
  it('has exactly the functions that the addon exports', () => {
    expect(declared().length).toBeGreaterThan(40);
    expect(declared().sort()).toEqual(Object.keys(addon()).sort());
  });

  it('has only functions, each under the name that errors show', () => {
    for (const [name, value] of Object.entries(addon())) {
      expect(value).toBeTypeOf('function');
      expect((value as () => void).name).toBe(name);
    }
  });

  it('names every C++ chapter', () => {
    const chapters = [...source.matchAll(/\(native\/binding\/([\w-]+\.cc)\)/g)].map(([, file]) => file as string);
    const table = readFileSync(new URL('../native/binding/addon.cc', import.meta.url), 'utf8');
    const called = [...table.matchAll(/^ {2}\w+_rows\(table\);$/gm)];
    expect(new Set(chapters).size).toBe(chapters.length);
    expect(called).toHaveLength(chapters.length);
  });
});
