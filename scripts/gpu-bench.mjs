/**
 * Measures the speed of one model on a GPU in bfloat16, in one process:
 * `node scripts/gpu-bench.mjs 125m train decode-1 decode-64 ppo`. Weights are random. Every result is appended to
 * $OUT/results.jsonl, one JSON line each, as soon as it is measured. `plain-N` decodes with the references only.
 */
import { execFileSync } from 'node:child_process';
import { appendFileSync } from 'node:fs';
import { join } from 'node:path';
import { ActorCritic, AdamW, Batches, PaLM, parseConfig, ppo, ppoConfig, Tensor } from '../dist/index.js';
import { addon } from '../dist/internal.js';
import { modelOf, SMOLLM2 } from './gpu-families.mjs';

const PEAK = 989e12; // dense bfloat16 operations per second of an H100 SXM (data sheet)
const small = process.argv.includes('--small');
const device = small ? 'cpu' : 'cuda';
const shapes = {
  tiny: { numTokens: 256, dim: 64, depth: 1, heads: 1, batch: 2, length: 32 },
  '125m': { numTokens: 32768, dim: 768, depth: 12, heads: 12, batch: 32, length: 1024 },
  '350m': { numTokens: 32768, dim: 1024, depth: 22, heads: 16, batch: 16, length: 2048 },
  '1.3b': { numTokens: 32768, dim: 2048, depth: 21, heads: 32, batch: 8, length: 2048 },
  smollm2: { numTokens: SMOLLM2.vocab_size, depth: 30, heads: 9, batch: 32, length: 1024 },
};
const [name, ...wanted] = process.argv.slice(2).filter((word) => !word.startsWith('--'));
const isPalm = name !== 'smollm2';
const { batch, length, ...shape } = shapes[small && isPalm ? 'tiny' : name];

function say(facts) {
  const line = JSON.stringify({ model: name, ...facts });
  if (process.env.OUT) appendFileSync(join(process.env.OUT, 'results.jsonl'), `${line}\n`);
  console.log(line);
}

const usedMiB = () =>
  small
    ? 0
    : Number(
        execFileSync('nvidia-smi', ['--query-gpu=memory.used', '--format=csv,noheader,nounits'], { encoding: 'utf8' }),
      );
const median = (values) => values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)];
const rows = (count, width) =>
  Array.from({ length: count }, () => Array.from({ length: width }, () => Math.floor(Math.random() * shape.numTokens)));

async function timed(times, work) {
  const all = [];
  for (let i = 0; i < times; i++) {
    const began = performance.now();
    await work();
    all.push(performance.now() - began);
  }
  return all;
}

async function train(palm) {
  const optimizer = new AdamW(palm.parameters(), { lr: 3e-4 });
  const tokens = Tensor.from(BigInt64Array.from(rows(batch, length + 1).flat(), BigInt), {
    shape: [batch, length + 1],
    device,
  });
  const losses = [];
  const step = async () => {
    const loss = await palm.loss(tokens);
    await loss.backward();
    await optimizer.step({ maxGradNorm: 1 });
    optimizer.zeroGrad();
    losses.push(await loss.item());
    loss.dispose();
  };
  const first = await timed(3, step);
  const ms = median(await timed(small ? 2 : 10, step));
  const weights = palm.parameters().reduce((sum, { shape: sizes }) => sum + sizes.reduce((a, b) => a * b, 1), 0);
  const perSecond = (1000 * batch * length) / ms;
  const operations = 6 * weights + 12 * shape.depth * shape.heads * 64 * length;
  say({
    work: 'train',
    ms,
    tokensPerSecond: perSecond,
    mfu: (operations * perSecond) / PEAK,
    weights,
    firstMs: first,
    usedMiB: usedMiB(),
    losses: [losses[0], losses.at(-1)],
  });
  if (process.env.PALM_PROFILE) await profile('train', () => timed(2, step));
  tokens.dispose();
  optimizer.dispose?.();
}

async function answer(palm, prompts, maxNewTokens) {
  const out = await palm.generate({ prompts, maxNewTokens });
  await out.sequences.data();
  for (const tensor of [out.sequences, out.responseMask, out.logProbs]) tensor.dispose();
}

async function decode(palm, count, path = 'decode') {
  const newTokens = small ? 4 : count > 100 ? 256 : 512;
  const prompts = rows(count, small ? 4 : 128);
  await answer(palm, prompts, 8);
  const [firstToken] = [median(await timed(3, () => answer(palm, prompts, 1)))];
  const ms = median(await timed(small ? 1 : 3, () => answer(palm, prompts, newTokens)));
  say({
    work: `${path}-${count}`,
    tokensPerSecond: (1000 * count * newTokens) / ms,
    msToFirstToken: firstToken,
    newTokens,
    usedMiB: usedMiB(),
  });
  if (process.env.PALM_PROFILE) await profile(`${path}-${count}`, () => answer(palm, prompts, 64));
}

async function plainly(work) {
  await addon().useKernels(false);
  try {
    await work();
  } finally {
    await addon().useKernels(true);
  }
}

async function iteration(palm) {
  const [count, promptLength, newTokens] = small ? [4, 4, 4] : [256, 256, 256];
  const sizes = {
    ...{ critic: { warmup: 0 }, warmupSteps: 0, approxKlStop: false }, // do all the work from the first iteration on
    rolloutBatch: count,
    minibatchSize: small ? 2 : 32,
    epochs: 1,
    sampling: { maxNewTokens: newTokens },
  };
  const config = parseConfig(ppoConfig, { ...sizes, steps: 1_000_000, decay: 'constant', lr: 1e-5, device });
  const actorCritic = new ActorCritic(palm, { lora: false, reference: true });
  const optimizer = new AdamW(actorCritic.parameters(), { lr: config.lr, weightDecay: 0 });
  const batches = new Batches({ size: count, batchSize: count, seed: 0 });
  const reward = (answers) =>
    answers.map(({ response }) => response.filter((token) => token < shape.numTokens / 2).length / response.length);
  const trainer = ppo({ actorCritic, optimizer, batches, prompts: rows(count, promptLength), reward }, config);
  await trainer.next();
  const began = performance.now();
  const { value } = await trainer.next();
  const seconds = (performance.now() - began) / 1000;
  say({
    work: 'ppo',
    seconds,
    samplesPerSecond: count / seconds,
    kl: value.kl,
    timing: value.timing,
    prompts: count,
    promptLength,
    newTokens,
    usedMiB: usedMiB(),
  });
  if (process.env.PALM_PROFILE) await profile('ppo', () => trainer.next());
}

/** Appends the time of every kernel to $OUT/profile.jsonl, as measured by the addon $PALM_PROFILE (gpu-profile.cc). */
async function profile(work, run) {
  const { createRequire } = await import('node:module');
  const { readFileSync } = await import('node:fs');
  const { start, stop } = createRequire(import.meta.url)(process.env.PALM_PROFILE);
  start();
  const began = performance.now();
  await run();
  const ms = performance.now() - began;
  stop('/tmp/trace.json');
  const kernels = new Map();
  for (const { cat, name: kernel, dur } of JSON.parse(readFileSync('/tmp/trace.json', 'utf8')).traceEvents) {
    if (!/kernel|gpu_mem/.test(cat ?? '')) continue;
    const now = kernels.get(kernel) ?? { ms: 0, count: 0 };
    kernels.set(kernel, { ms: now.ms + dur / 1000, count: now.count + 1 });
  }
  const sorted = [...kernels].sort((a, b) => b[1].ms - a[1].ms);
  const line = {
    model: name,
    work,
    wallMs: ms,
    kernelMs: sorted.reduce((sum, [, { ms: each }]) => sum + each, 0),
    kernels: sorted
      .slice(0, 45)
      .map(([kernel, { ms: each, count }]) => [kernel.slice(0, 160), Math.round(each * 1000) / 1000, count]),
  };
  appendFileSync(join(process.env.OUT ?? '/tmp', 'profile.jsonl'), `${JSON.stringify(line)}\n`);
}

const began = performance.now();
const kind = { dtype: 'bfloat16', device };
const palm = isPalm
  ? new PaLM({ ...shape, dimHead: 64, ...kind })
  : await modelOf(small ? { ...SMOLLM2, num_hidden_layers: 1 } : SMOLLM2, kind);
await palm.parameters()[0].grad();
say({ work: 'ready', ms: performance.now() - began });
for (const work of wanted) {
  try {
    if (work === 'train') await train(palm);
    else if (work === 'ppo') await iteration(palm);
    else if (work.startsWith('plain-')) await plainly(() => decode(palm, Number(work.split('-')[1]), 'plain'));
    else await decode(palm, Number(work.split('-')[1]));
  } catch (error) {
    say({ work, error: String(error?.message ?? error).slice(0, 400) });
    process.exitCode = 1;
  }
}
