/** The README's program for a model that others trained does what it says. */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, it } from 'vitest';
import { smollm2 } from '../smollm2.ts';

const root = join(import.meta.dirname, '../..');
const folder = mkdtempSync(join(tmpdir(), 'palm-readme-'));
afterAll(() => rmSync(folder, { recursive: true }));

it('fine-tunes SmolLM2, which then answers in the tone of the examples', { timeout: 900_000 }, () => {
  const readme = readFileSync(join(root, 'README.md'), 'utf8');
  const [, program = ''] = /## A model that others trained[\s\S]*?```ts\n([\s\S]*?)```/.exec(readme) ?? [];
  const file = join(folder, 'opposites.mts');
  writeFileSync(file, program);
  mkdirSync(join(folder, 'node_modules'));
  symlinkSync(root, join(folder, 'node_modules/palm-rlhf'));
  const loader = join(root, 'node_modules/tsx/dist/loader.mjs');
  const { stdout, stderr, status } = spawnSync(process.execPath, ['--import', loader, file, smollm2()], {
    cwd: folder,
    encoding: 'utf8',
  });
  expect(status, stderr).toBe(0);
  expect(stdout).toContain('slow!');
  expect(existsSync(join(folder, 'opposites.safetensors'))).toBe(true);
});
