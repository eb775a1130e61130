/** Every method of training keeps the contract of a trainer; its own tests say with what. */
import { readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';
import { methods } from '../src/methods.ts';

const folder = fileURLToPath(new URL('.', import.meta.url));
const files = readdirSync(folder).filter((name) => name.endsWith('.test.ts'));
const called = files.flatMap((file) => {
  const calls = readFileSync(`${folder}${file}`, 'utf8').matchAll(/^trainerContract\('([^']+)'/gm);
  return [...calls].map(([, name]) => name as string);
});

it('holds each method to the contract of contracts/trainer.ts', () => {
  expect([...new Set(called)].sort()).toEqual(Object.keys(methods).sort());
});
