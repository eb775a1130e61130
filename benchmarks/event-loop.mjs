/**
 * How long JavaScript has to wait while the package works: the event loop's delay while it trains, generates, uploads and
 * saves, beside that of plain JavaScript that sleeps or copies. `node benchmarks/event-loop.mjs [device] [rounds]` prints a table and
 * writes results/event-loop.json. The workloads take turns, and each number is the median over the rounds.
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { availableParallelism, cpus, loadavg, tmpdir } from 'node:os';
import { join } from 'node:path';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { setImmediate, setTimeout } from 'node:timers/promises';
import { AdamW, maskedMean, PaLM, Tensor } from '../dist/index.js';
import { addon } from '../dist/internal.js';

const [device = 'cpu', rounds = '5'] = process.argv.slice(2);
const folder = mkdtempSync(join(tmpdir(), 'palm-event-loop-'));

const palm = new PaLM({ numTokens: 4096, dim: 256, depth: 6, heads: 8, dimHead: 32, device });
const optimizer = new AdamW(palm.parameters(), { lr: 1e-4 });
const large = new Float32Array(64 * 1024 * 1024).fill(1); // 256 MiB
const row = (length) => Array.from({ length }, (_, t) => (7 * t) % 4096);

const workloads = {
  'sleep (control)': () => setTimeout(500),
  'copy 3 × 256 MiB in JavaScript (control)': async () => {
    for (let time = 0; time < 3; time++) {
      const copy = new Float32Array(large.length);
      for (let begin = 0; begin < large.length; begin += 2 ** 20) {
        copy.set(large.subarray(begin, begin + 2 ** 20), begin);
        await setImmediate();
      }
    }
  },
  train: async () => {
    const tokens = Tensor.from(
      Int32Array.from({ length: 8 * 256 }, (_, t) => (7 * t) % 4096),
      { shape: [8, 256], device },
    );
    for (let step = 0; step < 3; step++) {
      const loss = await palm.loss(tokens);
      await loss.backward();
      await optimizer.step({ maxGradNorm: 1 });
      optimizer.zeroGrad();
      loss.dispose();
    }
    tokens.dispose();
  },
  generate: async () => {
    const out = await palm.generate({ prompts: Array.from({ length: 8 }, () => row(64)), maxNewTokens: 96, seed: 1 });
    await out.sequences.data();
    out.dispose();
  },
  stream: async () => {
    for await (const _ of palm.stream({ prompt: row(64), maxNewTokens: 96, seed: 1 }));
  },
  'Tensor.from, 3 × 256 MiB': async () => {
    for (let time = 0; time < 3; time++) {
      const tensor = Tensor.from(large, { shape: [1024, 64 * 1024], device });
      const means = await maskedMean(tensor);
      await means.data();
      tensor.dispose();
      means.dispose();
    }
  },
  save: () => palm.save(join(folder, 'palm.safetensors')),
};

/** p50, p99 and max of the delays during `work`, in milliseconds. */
async function delays(work) {
  const histogram = monitorEventLoopDelay({ resolution: 1 });
  histogram.enable();
  const began = performance.now();
  await work();
  const seconds = (performance.now() - began) / 1000;
  histogram.disable();
  const [p50, p99] = [50, 99].map((percent) => histogram.percentile(percent) / 1e6);
  return { p50, p99, max: histogram.max / 1e6, seconds };
}

function median(values) {
  const sorted = values.toSorted((a, b) => a - b);
  return Number(((sorted[(sorted.length - 1) >> 1] + sorted[sorted.length >> 1]) / 2).toFixed(2));
}

const measured = Object.fromEntries(Object.keys(workloads).map((name) => [name, []]));
for (const work of Object.values(workloads)) await work(); // once without measuring: allocators and threads warm up
const loadBefore = loadavg()[0];
for (let round = 0; round < Number(rounds); round++) {
  for (const [name, work] of Object.entries(workloads)) measured[name].push(await delays(work));
}
rmSync(folder, { recursive: true });

const results = Object.entries(measured).map(([workload, runs]) => ({
  workload,
  p50: median(runs.map(({ p50 }) => p50)),
  p99: median(runs.map(({ p99 }) => p99)),
  max: median(runs.map(({ max }) => max)),
  seconds: median(runs.map(({ seconds }) => seconds)),
}));
console.table(results);

const { libtorch, threads } = addon().info();
const report = {
  date: new Date().toISOString().slice(0, 10),
  machine: { cpu: cpus()[0]?.model, cores: availableParallelism(), device, loadBefore },
  versions: { node: process.versions.node, libtorch, threads },
  rounds: Number(rounds),
  unit: 'ms, with 1 ms between two looks',
  results,
};
const file = `event-loop${device === 'cpu' ? '' : '-cuda'}.json`;
writeFileSync(new URL(`results/${file}`, import.meta.url), `${JSON.stringify(report, null, 2)}\n`);
