/** The CUDA kernels as they are, run on the CPU by an emulator: against double, under random schedules. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';

const folder = mkdtempSync(join(tmpdir(), 'palm-cuda-'));
const program = join(folder, 'cuda-kernels');
const run = (...words: string[]) => execFileSync(program, words, { encoding: 'utf8' }).trim();

// The emulator switches stacks by x64 instructions.
const onX64 = it.runIf(process.arch === 'x64');

beforeAll(() => {
  if (process.arch === 'x64') execFileSync('test/cuda/build.sh', [program]);
}, 300_000);
afterAll(() => rmSync(folder, { recursive: true }));

onX64('give what double gives, at odd, misaligned and production sizes', () => {
  expect(run('1')).toBe('0 failed');
});

onX64('would not pass with a missing barrier, one that threads pass by, or a launch beyond the limits', () => {
  expect(run('planted')).toBe('0 failed');
});
