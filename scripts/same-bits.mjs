/**
 * Checks that a change left every number as it was: `node scripts/same-bits.mjs BEFORE`, the folder of an earlier
 * build. Both builds run 20 steps of pretraining, reward training and PPO on several models, single-threaded; then the
 * hashes of all losses, weights, scores and sampled tokens are compared.
 */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

const STEPS = 20;
/** Models that run on fused blocks, and models that only the plain block supports. */
const MODELS = {
  float32: { dtype: 'float32' },
  bfloat16: { dtype: 'bfloat16' },
  float64: { dtype: 'float64' },
  'qkRmsnorm, dropout': { qkRmsnorm: true, attnDropout: 0.1, ffDropout: 0.1 },
};
const own = fileURLToPath(import.meta.url);

/** The hashes computed by the build in `checkout`, by name. */
function hashesOf(checkout) {
  const env = { ...process.env, OMP_NUM_THREADS: '1', PALM_RLHF_PREBUILD: '' };
  return JSON.parse(execFileSync(process.execPath, [own, '--compute', checkout], { env, encoding: 'utf8' }));
}

async function compute(checkout) {
  const api = await import(pathToFileURL(join(checkout, 'dist/index.js')));
  const found = {};
  for (const [name, options] of Object.entries(MODELS)) {
    const palm = new api.PaLM({ numTokens: 64, dim: 48, depth: 2, heads: 3, dimHead: 16, seed: 1, ...options });
    found[`${name} pretrain`] = await pretrained(api, palm);
    const { rewardModel, hash } = await judged(api, palm.clone());
    found[`${name} reward`] = hash;
    found[`${name} ppo`] = await pleased(api, palm, rewardModel);
  }
  return found;
}

/** Pseudo-random tokens, the same in every run and build. */
function tokens(count, seed) {
  let state = seed;
  return Array.from({ length: count }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return 1 + ((state >>> 8) % 63);
  });
}

async function pretrained({ AdamW, Batches, Windows, parseConfig, pretrain, pretrainConfig }, palm) {
  const text = new Windows(Int32Array.from(tokens(2000, 1)), 24);
  const config = parseConfig(pretrainConfig, { steps: STEPS, batchSize: 4, accumulate: 2, lr: 1e-3 }, 'config');
  const optimizer = new AdamW(palm.parameters(), { lr: config.lr });
  const batches = new Batches({ size: text.size, batchSize: 4, seed: 1 });
  const losses = [];
  // Builds of 0.1.0 call the model `palm`; later ones still accept that name.
  for await (const { loss, gradNorm } of pretrain({ palm, optimizer, text, batches }, config))
    losses.push(loss, gradNorm);
  return await hashOf(losses, palm.parameters());
}

async function judged({ AdamW, Batches, RewardModel, parseConfig, reward, rewardConfig }, palm) {
  const rewardModel = new RewardModel(palm, { lora: 4, seed: 2 });
  const pairs = Array.from({ length: 40 }, (_, i) => ({
    prompt: tokens(3 + (i % 4), 100 + i),
    chosen: tokens(5 + (i % 3), 200 + i),
    rejected: tokens(4 + (i % 5), 300 + i),
  }));
  const config = parseConfig(rewardConfig, { epochs: 4, batchSize: 8, lr: 1e-3, lora: 4 }, 'config');
  const optimizer = new AdamW(rewardModel.parameters(), { lr: config.lr });
  const batches = new Batches({ size: pairs.length, batchSize: 8, seed: 1 });
  const losses = [];
  const parts = { rewardModel, optimizer, pairs, batches, validation: pairs.slice(0, 4) };
  for await (const { loss, gradNorm } of reward(parts, config)) losses.push(loss, gradNorm);
  return { rewardModel, hash: await hashOf(losses, rewardModel.parameters()) };
}

async function pleased({ ActorCritic, AdamW, Batches, parseConfig, ppo, ppoConfig }, palm, rewardModel) {
  const actorCritic = new ActorCritic(palm, { lora: 4, seed: 3 });
  const sampling = { maxNewTokens: 10 };
  const sizes = { steps: STEPS, rolloutBatch: 4, minibatchSize: 2, epochs: 2, sampling, lr: 1e-3, lora: 4 };
  const config = parseConfig(ppoConfig, sizes, 'config');
  const prompts = Array.from({ length: 8 }, (_, i) => tokens(4 + (i % 3), 400 + i));
  const optimizer = new AdamW(actorCritic.parameters(), { lr: config.lr });
  const batches = new Batches({ size: prompts.length, batchSize: 4, seed: 1 });
  const parts = { actorCritic, optimizer, batches, prompts, reward: rewardModel, eosToken: 1, padToken: 0 };
  const numbers = [];
  // Builds order their metrics differently, and earlier ones do not have all of them.
  const later = ['repetition', 'agreement'];
  for await (const { timing: _, samples: _samples, ...step } of ppo(parts, config)) {
    const names = Object.keys(step).filter((name) => !later.includes(name));
    numbers.push(...names.sort().map((name) => Number(step[name])));
  }
  return await hashOf(numbers, actorCritic.parameters());
}

async function hashOf(numbers, parameters) {
  const hash = createHash('sha256').update(new Uint8Array(Float64Array.from(numbers).buffer));
  for (const parameter of parameters) hash.update(Buffer.from((await parameter.data()).buffer));
  return hash.digest('hex').slice(0, 16);
}

if (process.argv[2] === '--compute') {
  console.log(JSON.stringify(await compute(process.argv[3])));
} else {
  const before = hashesOf(resolve(process.argv[2] ?? '.'));
  const now = hashesOf(dirname(dirname(own)));
  const names = Object.keys(before);
  for (const name of names) console.log(`${name.padEnd(27)} ${before[name]} ${now[name]}`);
  const other = names.filter((name) => before[name] !== now[name]);
  console.log(other.length === 0 ? 'the same bits' : `different bits: ${other.join(', ')}`);
  process.exitCode = other.length === 0 ? 0 : 1;
}
