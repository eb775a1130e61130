/**
 * How long a model of some size takes to train: steps of pretraining and iterations of PPO, each the fastest of a few, as another
 * process can only make one slower.
 *
 *   node benchmarks/sizes.mjs [threads]
 */
import { writeFileSync } from 'node:fs';
import { cpus, loadavg } from 'node:os';
import { join } from 'node:path';

const threads = Number(process.argv[2] ?? 1);
process.env.OMP_NUM_THREADS = String(threads); // read when libtorch is loaded
const { ActorCritic, AdamW, memory, methods, PaLM, parseConfig, planPpo, planPretraining, ppoConfig } = await import(
  '../dist/index.js'
);

const SIZES = [
  { dim: 64, depth: 2, heads: 4, dimHead: 16 },
  { dim: 128, depth: 4, heads: 4, dimHead: 32 },
  { dim: 256, depth: 6, heads: 8, dimHead: 32 },
];
const BATCH = 8;
const LENGTH = 256;
const PROMPTS = 16;
const NEW_TOKENS = 64;
const ROUNDS = 4;

const results = [];
for (const shape of SIZES) {
  const model = new PaLM({ numTokens: 258, ...shape });
  const weights = model.parameters().reduce((sum, { shape }) => sum + shape.reduce((a, b) => a * b, 1), 0);
  const pretrain = await stepOf(model);
  const ppo = await iterationOf(model);
  const row = {
    ...shape,
    weights,
    tokensPerSecond: Math.round((BATCH * LENGTH) / pretrain),
    hoursFor20TokensPerWeight: (20 * weights * pretrain) / (BATCH * LENGTH) / 3600,
    secondsPerPpoIteration: ppo,
    pretrainBytes: planPretraining(model.decoder, { batchSize: BATCH, length: LENGTH }).totalBytes,
    ppoBytes: planPpo(model.decoder, planned()).totalBytes,
  };
  console.error(JSON.stringify(row));
  results.push(row);
  model.dispose();
}
const run = { cpu: cpus()[0]?.model, threads, load: loadavg()[0], batch: BATCH, length: LENGTH, prompts: PROMPTS };
const saved = { ...run, newTokens: NEW_TOKENS, peak: memory().peakBytes, results };
writeFileSync(join(import.meta.dirname, 'results/sizes.json'), `${JSON.stringify(saved, null, 2)}\n`);

/** Seconds of the fastest step of pretraining: loss, backward pass and update of `BATCH` rows. */
async function stepOf(model) {
  const optimizer = new AdamW(model.parameters(), { lr: 1e-3 });
  const rows = Array.from({ length: BATCH }, (_, row) =>
    Array.from({ length: LENGTH + 1 }, (_, i) => (i * 7919 + row * 31) % 256),
  );
  const fastest = await fastestOf(async () => {
    const loss = await model.loss(rows);
    await loss.backward();
    loss.dispose();
    await optimizer.step({ maxGradNorm: 1 });
    optimizer.zeroGrad();
  });
  optimizer.dispose();
  return fastest;
}

function planned() {
  const config = ppo();
  return { ...config, ...config.sampling, promptLength: 32, reference: true, critic: true, reward: [] };
}

function ppo() {
  const sampling = { maxNewTokens: NEW_TOKENS };
  const settings = { steps: ROUNDS + 1, rolloutBatch: PROMPTS, minibatchSize: PROMPTS, lr: 1e-4, sampling };
  return parseConfig(ppoConfig, { ...settings, score: { norm: 'none' }, critic: { warmup: 0 } }, 'sizes');
}

/** Seconds of the fastest iteration of PPO with LoRA: `PROMPTS` answers of `NEW_TOKENS` bytes, 4 epochs. */
async function iterationOf(model) {
  const prompts = Array.from({ length: PROMPTS }, (_, row) =>
    Array.from({ length: 32 }, (_, i) => (i * 31 + row) % 256),
  );
  const actorCritic = new ActorCritic(model, { lora: 8 });
  const reward = (answers) => answers.map(({ response }) => response[0] / 256);
  const { train, parts } = methods.ppo.assemble(ppo(), { actorCritic, reward, prompts });
  const steps = train();
  const fastest = await fastestOf(() => steps.next());
  parts.optimizer.dispose();
  actorCritic.dispose();
  return fastest;
}

async function fastestOf(work) {
  await work();
  let fastest = Number.POSITIVE_INFINITY;
  for (let round = 0; round < ROUNDS; round++) {
    const began = performance.now();
    await work();
    fastest = Math.min(fastest, (performance.now() - began) / 1000);
  }
  return fastest;
}
