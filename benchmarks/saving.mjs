/**
 * What saving costs a run: steps with a checkpoint in the middle of every 100 against steps without, in turns. A checkpoint is
 * copied between two steps and written during the next ones; the time of both is in here.
 *
 *   node benchmarks/saving.mjs [rounds]
 */
import { mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { cpus, loadavg, tmpdir } from 'node:os';
import { join } from 'node:path';
import { AdamW, latestCheckpoint, openCheckpoints, PaLM, Tensor } from '../dist/index.js';

const STEPS = 100;
const rounds = Number(process.argv[2] ?? 5);
const models = {
  tiny: { shape: { dim: 128, depth: 4, heads: 2, dimHead: 64 }, rows: [4, 65] },
  small: { shape: { dim: 256, depth: 4, heads: 8, dimHead: 32 }, rows: [4, 257] },
};

const median = (values) => values.toSorted((a, b) => a - b)[values.length >> 1];
const load = loadavg()[0];
const results = [];
for (const [name, { shape, rows }] of Object.entries(models)) {
  const folder = mkdtempSync(join(tmpdir(), 'palm-saving-'));
  const model = new PaLM({ numTokens: 256, ...shape, dtype: 'bfloat16' });
  const optimizer = new AdamW(model.parameters(), { lr: 1e-3 });
  const tokens = Tensor.from(
    Int32Array.from({ length: rows[0] * rows[1] }, (_, i) => (i * 7919) % 256),
    { shape: rows },
  );
  const parts = { model, optimizer };
  const checkpoints = await openCheckpoints({ directory: folder, parts, every: 1e9 });
  let done = 0;
  async function* train() {
    for (;;) {
      const loss = await model.loss(tokens);
      await loss.backward();
      loss.dispose();
      await optimizer.step({ maxGradNorm: 1 });
      optimizer.zeroGrad();
      yield { step: ++done };
    }
  }
  const steps = checkpoints.during(train);
  async function round(saves) {
    const began = performance.now();
    for (let step = 0; step < STEPS; step++) {
      if (saves && step === STEPS / 2) checkpoints.saveSoon();
      await steps.next();
    }
    return performance.now() - began;
  }
  await round(true);
  const times = { without: [], with: [] };
  for (let i = 0; i < rounds; i++) {
    times.without.push(await round(false));
    times.with.push(await round(true));
  }
  await checkpoints.close();
  const bytes = statSync(join(await latestCheckpoint(folder), 'optimizer.safetensors')).size;
  rmSync(folder, { recursive: true });
  const ratio = median(times.with.map((time, i) => time / times.without[i]));
  results.push({
    model: name,
    optimizerBytes: bytes,
    withoutMs: median(times.without),
    withMs: median(times.with),
    ratio,
  });
}
const { model } = cpus()[0];
const report = {
  date: new Date().toISOString().slice(0, 10),
  machine: model,
  cores: cpus().length,
  load,
  steps: STEPS,
  rounds,
  results,
};
console.log(JSON.stringify(report, null, 2));
writeFileSync(new URL('results/saving.json', import.meta.url), `${JSON.stringify(report, null, 2)}\n`);
