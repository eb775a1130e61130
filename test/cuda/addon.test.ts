/**
 * The addon takes the ways that it takes on CUDA, its kernels emulated on the CPU: what follows from their tables, scratch sizes
 * and partial sums is tested by the files that test it on a device. `npm run test:cuda` runs all such files.
 */
import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, it } from 'vitest';

const run = promisify(execFile);
const folder = mkdtempSync(join(tmpdir(), 'palm-emulated-'));
afterAll(() => rmSync(folder, { recursive: true }));

// The emulator switches stacks by x64 instructions.
describe.runIf(process.arch === 'x64')('with emulated CUDA kernels', () => {
  beforeAll(() => run('test/cuda/addon/build.sh', [folder]), 300_000);

  it.each(['kernels', 'recompute', 'decode', 'decode-step', 'ppo'])('%s.test.ts holds', async (name) => {
    const env = { ...process.env, PALM_EMULATE_CUDA: '1', PALM_RLHF_PREBUILD: folder };
    await run(process.execPath, ['node_modules/vitest/vitest.mjs', 'run', `test/${name}.test.ts`], { env });
  });
});
