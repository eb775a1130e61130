import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { DoctorReport } from '../src/cli/doctor.ts';

let printed: string[];

beforeEach(() => {
  printed = [];
  vi.spyOn(console, 'log').mockImplementation((text: string) => void printed.push(text));
  vi.spyOn(console, 'error').mockImplementation(() => undefined);
  // The addon is loaded once; with modules of its own each test looks for libtorch anew.
  vi.resetModules();
});

afterEach(() => {
  vi.restoreAllMocks();
  vi.unstubAllEnvs();
  process.exitCode = undefined;
});

async function palm(...words: string[]): Promise<string> {
  const { doctorCommand } = await import('../src/cli/doctor.ts');
  const { libtorchCommand } = await import('../src/cli/libtorch.ts');
  const command = words[0] === 'doctor' ? doctorCommand() : libtorchCommand();
  await command.parseAsync(words.slice(1), { from: 'user' });
  return printed.join('\n');
}

/** A user who has never fetched libtorch, and no Python. */
function withoutLibtorch(): void {
  const empty = mkdtempSync(join(tmpdir(), 'palm-doctor-'));
  for (const name of ['HOME', 'XDG_CONFIG_HOME', 'XDG_CACHE_HOME', 'PATH']) vi.stubEnv(name, empty);
  vi.stubEnv('PALM_LIBTORCH', undefined);
  rmSync(empty, { recursive: true });
}

describe('palm doctor', () => {
  it('reports versions, hardware and the search for libtorch', async () => {
    const report = JSON.parse(await palm('doctor', '--json')) as DoctorReport;
    expect(report.ok).toBe(true);
    expect(report.versions).toMatchObject({ palm: '0.1.0', node: process.versions.node });
    expect(report.versions.glibc).toMatch(/^2\.\d+$/);
    expect(report.libtorch?.version).toMatch(/^2\.1[1-4]\.\d+$/);
    expect(report.libtorch?.trace.at(-1)?.source).toBe(report.libtorch?.source);
    expect(report.cpu.threads).toBeGreaterThan(0);
    expect(report.memory.total).toBeGreaterThan(report.memory.free);
    expect(report.gpu.cudaDevices).toBeGreaterThanOrEqual(0);
    const fused = report.gpu.cudaDevices ? expect.stringMatching(/^(cudnn|flash|efficient)$/) : undefined;
    expect(report.gpu.attention?.bfloat16).toEqual(fused);
    expect(process.exitCode).toBeUndefined();
  });

  it('prints aligned lines', async () => {
    const lines = (await palm('doctor')).split('\n');
    const column = (name: string) => lines.find((line) => line.startsWith(name))?.match(/^\S+ {2,}/)?.[0].length;
    expect(column('palm-rlhf')).toBeGreaterThan(0);
    expect(column('libtorch')).toBe(column('palm-rlhf'));
  });

  it('warns of a GPU that is slower than it could be', async () => {
    const { examine, format } = await import('../src/cli/doctor.ts');
    const report = await examine();
    const on = (gpu: Partial<DoctorReport['gpu']>) => format({ ...report, gpu: { ...report.gpu, ...gpu } });
    const attention = { float32: 'efficient', bfloat16: 'cudnn' };
    expect(on({ ownKernels: true, attention })).toMatch(
      /own kernels +yes\n +attention +cudnn in bfloat16, efficient in .*$/,
    );
    expect(on({ ownKernels: false, attention })).toMatch(
      /\n\nThe addon has no CUDA kernels .*`npm run build:native`\.$/,
    );
    expect(on({ ownKernels: true, attention: { ...attention, bfloat16: 'math' } })).toContain('no fused attention');
  });

  it('says what to do and exits with 1 if there is no libtorch', async () => {
    withoutLibtorch();
    const text = await palm('doctor');
    expect(text).toContain('not found');
    expect(text).toContain('no such command');
    expect(text).toContain('`npx palm-rlhf libtorch install`');
    expect(process.exitCode).toBe(1);
  });
});

describe('palm libtorch where', () => {
  it('prints the folder of the libtorch in use', async () => {
    const folder = await palm('libtorch', 'where');
    const report = JSON.parse(await palm('doctor', '--json').then((text) => text.slice(folder.length))) as DoctorReport;
    expect(folder).toBe(report.libtorch?.path);
  });

  it('fails if there is none', async () => {
    withoutLibtorch();
    await expect(palm('libtorch', 'where')).rejects.toMatchObject({ code: 'ERR_LIBTORCH' });
  });
});

describe('palm libtorch use', () => {
  it('refuses a folder that holds no libtorch', async () => {
    withoutLibtorch();
    await expect(palm('libtorch', 'use', tmpdir())).rejects.toMatchObject({ code: 'ERR_LIBTORCH', argument: 'PATH' });
  });
});
