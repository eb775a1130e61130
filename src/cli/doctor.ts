/** `palm doctor`: reports what this machine has, what the package found on it, and how to fix what is missing. */
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { availableParallelism, cpus, freemem, totalmem } from 'node:os';
import { Command } from 'commander';
import type { Libtorch } from '../native/libtorch.ts';
import { addon } from '../native/addon.ts';
import { packageVersion } from '../package.ts';
import { libtorchInUse } from './libtorch.ts';
import { type Row, table } from './table.ts';

/** `cudaDevices` counts the devices that libtorch can use; `devices` lists those that the driver reports. */
interface Gpu {
  cudaDevices?: number;
  devices: string[];
  driver: string | undefined;
  /** Whether the addon was compiled with its own CUDA kernels. */
  ownKernels?: boolean;
  /** libtorch's attention backend: `cudnn`, `flash`, `efficient`, or `math`, which is slow. */
  attention?: { float32: string; bfloat16: string };
}

/** The output of `palm doctor --json`. Sizes are in bytes. */
export interface DoctorReport {
  ok: boolean;
  /** Why the addon cannot be loaded, and how to fix it. */
  problem?: string;
  versions: { palm: string; node: string; platform: string; glibc: string | undefined };
  libtorch?: Libtorch;
  cpu: {
    model: string;
    cores: number;
    features: string[];
    threads?: number;
    capability?: string;
    float32Precision?: string;
  };
  memory: { total: number; free: number; limit: number | undefined };
  gpu: Gpu;
}

/** The `doctor` command. Sets exit code 1 if the addon or libtorch cannot be loaded. */
export function doctorCommand(): Command {
  return new Command('doctor')
    .description('print versions, hardware and the search for libtorch')
    .option('--json', 'print JSON')
    .action(async ({ json = false }: { json?: boolean }) => {
      const report = await examine();
      console.log(json ? JSON.stringify(report, null, 2) : format(report));
      if (!report.ok) process.exitCode = 1;
    });
}

/** Examines the machine; never throws because something is missing. */
export async function examine(): Promise<DoctorReport> {
  const report: DoctorReport = {
    ok: false,
    versions: {
      palm: packageVersion(),
      node: process.versions.node,
      platform: `${process.platform}-${process.arch}`,
      glibc: glibc(),
    },
    cpu: { model: cpus()[0]?.model ?? 'unknown', cores: availableParallelism(), features: cpuFeatures() },
    memory: { total: totalmem(), free: freemem(), limit: memoryLimit() },
    gpu: gpus(),
  };
  try {
    report.libtorch = libtorchInUse();
    const { threads, cpuCapability, float32Precision, cudaDevices } = addon().info();
    Object.assign(report.cpu, { threads, capability: cpuCapability, float32Precision });
    report.gpu.cudaDevices = cudaDevices;
    if (cudaDevices > 0) {
      const { ownKernels, float32Attention, bfloat16Attention } = await addon().cudaInfo();
      Object.assign(report.gpu, { ownKernels, attention: { float32: float32Attention, bfloat16: bfloat16Attention } });
    }
    report.ok = true;
  } catch (error) {
    report.problem = error instanceof Error ? error.message : String(error);
  }
  return report;
}

function glibc(): string | undefined {
  const { header } = process.report.getReport() as { header: { glibcVersionRuntime?: string } };
  return header.glibcVersionRuntime;
}

const FEATURES = ['avx', 'avx2', 'fma', 'f16c', 'avx512f', 'avx512_bf16', 'amx_bf16', 'asimd', 'sve', 'bf16'];

/** The instruction sets in /proc/cpuinfo that matter to libtorch. */
function cpuFeatures(): string[] {
  const flags = new Set(
    read('/proc/cpuinfo')
      .match(/^(?:flags|Features)\s*: (.*)$/m)?.[1]
      ?.split(' '),
  );
  return FEATURES.filter((feature) => flags.has(feature));
}

/** The cgroup's memory limit, if it is below the machine's memory. */
function memoryLimit(): number | undefined {
  const limit = process.constrainedMemory();
  return limit > 0 && limit < totalmem() ? limit : undefined;
}

/** What the NVIDIA driver reports, from nvidia-smi and /proc. */
function gpus(): Gpu {
  const driver = read('/proc/driver/nvidia/version').match(/Kernel Module.*?(\d+\.[\d.]+)/)?.[1];
  const query = ['--query-gpu=name,memory.total', '--format=csv,noheader'];
  const { status, stdout } = spawnSync('nvidia-smi', query, { encoding: 'utf8', timeout: 10_000, cwd: '/' });
  return { devices: status === 0 ? stdout.trim().split('\n').filter(Boolean) : [], driver };
}

function read(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}

/** Formats the report as aligned lines, followed by advice. */
export function format({ problem, versions, libtorch, cpu, memory, gpu }: DoctorReport): string {
  const gigabytes = (bytes: number): string => `${(bytes / 2 ** 30).toFixed(1)} GiB`;
  const rows: Row[] = [
    ['palm-rlhf', versions.palm],
    ['node', `${versions.node} (${versions.platform})`],
    ['glibc', versions.glibc],
    ['libtorch', libtorch ? `${libtorch.version}+${libtorch.variant}` : 'not found'],
    ['  path', libtorch?.path],
    ...(libtorch?.trace ?? []).map(({ source, place, outcome }): [string, string] => [
      `  ${source}`,
      `${place}: ${outcome}`,
    ]),
    ['cpu', `${cpu.model}, ${cpu.cores} ${cpu.cores === 1 ? 'core' : 'cores'}`],
    ['  features', cpu.features.join(' ') || undefined],
    ['  libtorch uses', cpu.capability],
    ['  threads', cpu.threads],
    ['  float32 products', cpu.float32Precision],
    ['memory', `${gigabytes(memory.total)}, ${gigabytes(memory.free)} free`],
    ['  limit (cgroup)', memory.limit === undefined ? 'none' : gigabytes(memory.limit)],
    ['gpu', gpu.devices.join('; ') || 'none'],
    ['  driver', gpu.driver],
    ['  usable by libtorch', gpu.cudaDevices],
    ['  own kernels', gpu.ownKernels === undefined ? undefined : gpu.ownKernels ? 'yes' : 'no'],
    ['  attention', gpu.attention && `${gpu.attention.bfloat16} in bfloat16, ${gpu.attention.float32} in float32`],
  ];
  return [table(rows), ...(problem === undefined ? advice(gpu) : [problem])].join('\n\n');
}

/** Advice on what makes the GPU slower than it could be. */
function advice({ ownKernels, attention }: Gpu): string[] {
  const found: string[] = [];
  if (ownKernels === false) {
    found.push(
      'The addon has no CUDA kernels of its own. In a clone, install nvcc, delete build/ and run `npm run build:native`.',
    );
  }
  if (attention?.bfloat16 === 'math') {
    found.push(
      'libtorch has no fused attention for this GPU in bfloat16, so training and scoring are slow. It needs compute\n' +
        'capability 8.0 or later, and its own cuDNN: check that no other cuDNN precedes it on LD_LIBRARY_PATH.',
    );
  }
  return found;
}
