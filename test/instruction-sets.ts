import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { it } from 'vitest';
import { cpuKernels } from './device.ts';

const run = promisify(execFile);

/** Runs a whole test file again in processes that have older instructions, and one thread or more than there are cores. */
export function againWithOtherInstructions(file: string): void {
  if (process.env.PALM_TEST_AGAIN !== undefined || !cpuKernels) return;
  it.each([
    { capability: 'default', threads: '1' },
    { capability: 'avx2', threads: '3' },
  ])('all of this holds with $capability instructions and $threads threads', async ({ capability, threads }) => {
    const other = { PALM_TEST_AGAIN: '1', ATEN_CPU_CAPABILITY: capability, OMP_NUM_THREADS: threads };
    await run(process.execPath, ['node_modules/vitest/vitest.mjs', 'run', file], { env: { ...process.env, ...other } });
  });
}
