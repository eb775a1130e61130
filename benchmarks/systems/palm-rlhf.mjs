/** This package, by its public interface. `mode` is the element type that it computes in, or int8: float32, decoding in int8. */
import { readFileSync } from 'node:fs';
import {
  ActorCritic,
  AdamW,
  Batches,
  grpo as groupIterations,
  grpoConfig,
  LanguageModel,
  PaLM,
  Policy,
  parseConfig,
  ppo as iterations,
  ppoConfig,
  saveTensors,
  Tensor,
} from '../../dist/index.js';
import { readTokens, rowsOf, serve } from './worker.mjs';

/** Writes random weights under the Python library's names, for every system that can read them. */
async function weights({ model: { name: _, ...model }, weights: path, seed }) {
  const palm = new PaLM({ ...model, seed });
  const contents = palm.pythonContents();
  // Without metadata: a file of that library to all who read it.
  await saveTensors(path, { tensors: contents.tensors, metadata: new Map() });
  contents[Symbol.dispose]();
  palm.dispose();
  return { facts: {} };
}

/** Writes a model of others as a folder that transformers reads. */
async function folder({ source, weights: path }) {
  const model = await LanguageModel.load(source);
  await model.export(path);
  model.dispose();
  return { facts: {} };
}

function load({ weights: path, mode, device, model: { real, heads, dimHead } }) {
  if (real) return LanguageModel.load(path, { dtype: mode === 'int8' ? 'float32' : mode, device });
  return PaLM.load(path, { options: { dtype: mode === 'int8' ? 'float32' : mode, heads, dimHead }, device });
}

/** Steps of next-token training; the facts are the losses of the first ones. */
async function train({ steps, lossSteps, ...workload }) {
  const step = await trainer(workload);
  const began = performance.now();
  const losses = [await step()];
  const firstSeconds = (performance.now() - began) / 1000;
  losses.push(...(await repeat(lossSteps - 1, step)));
  return { facts: { losses, firstSeconds }, run: async () => ({ steps, losses: await repeat(steps, step) }) };
}

/** A function that does one step and gives its loss. */
async function trainer({ batch, length, lr, lora, optimizer: updates, device, ...workload }) {
  const palm = await load({ ...workload, device });
  const of = lora === undefined ? {} : { scope: 'lora' };
  if (lora !== undefined) palm.addScope('lora', { rank: lora, alpha: 2 * lora, targets: 'all-linear' });
  const optimizer = new AdamW(palm.parameters(of), { lr });
  const batches = readTokens(workload, batch, length + 1)
    .slice(0, 64)
    .map((tokens) => Tensor.from(tokens, { shape: [batch, length + 1], device }));
  let turn = 0;
  return async () => {
    const loss = await palm.loss(batches[turn++ % batches.length], of);
    await loss.backward();
    if (updates) await optimizer.step({ maxGradNorm: 1 });
    optimizer.zeroGrad();
    const value = await loss.item();
    loss.dispose();
    return value;
  };
}

async function repeat(times, work) {
  const results = [];
  for (let time = 0; time < times; time++) results.push(await work());
  return results;
}

/** Tokens after a prompt. */
async function decode({ batch, promptLength, newTokens, greedyTokens, ...workload }) {
  const palm = await load(workload);
  const prompts = rowsOf(readTokens(workload, batch, promptLength)[0], promptLength);
  const rounding = workload.mode === 'int8' ? { weights: 'int8' } : {};
  const likeliest = { maxNewTokens: greedyTokens, temperature: 0, ...rounding };
  const greedy = await answer(palm, { prompts: prompts.slice(0, 1), ...likeliest });
  await answer(palm, { prompts, maxNewTokens: 8, ...rounding });
  const run = async () => {
    const tokens = await answer(palm, { prompts, maxNewTokens: newTokens, ...rounding });
    return { tokens: tokens.length - batch * promptLength };
  };
  return { facts: { greedy: Array.from(greedy.slice(promptLength), Number) }, run };
}

/** Prompts and answers, row by row. */
async function answer(palm, options) {
  const { sequences, responseMask, logProbs } = await palm.generate(options);
  const tokens = await sequences.data();
  for (const tensor of [sequences, responseMask, logProbs]) tensor.dispose();
  return tokens;
}

/** From nothing to the first token; the harness takes the time. */
async function start({ promptLength, ...workload }) {
  const palm = await load(workload);
  const [prompt] = rowsOf(readTokens(workload, 1, promptLength)[0], promptLength);
  for await (const _ of palm.stream({ prompt, maxNewTokens: 1 }));
  return { facts: {} };
}

/** Share of the lower half of the vocabulary, as in every system. */
function score(answers) {
  return answers.map(({ response }) => response.filter((token) => token < 128).length / response.length);
}

/** Runs that are an iteration of `trainer` each, over so many answers; the first one warms up. */
async function iterating(trainer, samples) {
  const run = async () => {
    const { value } = await trainer.next();
    return { samples, timing: value.timing };
  };
  await run();
  return { facts: {}, run };
}

/** An iteration: answers to all prompts, the verdict, one epoch over them, with reference and critic. */
async function ppo({ prompts: count, promptLength, newTokens, minibatch, device, ...workload }) {
  const palm = await load({ ...workload, device });
  const prompts = rowsOf(readTokens(workload, count, promptLength)[0], promptLength);
  const sizes = { rolloutBatch: count, minibatchSize: minibatch, epochs: 1, sampling: { maxNewTokens: newTokens } };
  const whole = { critic: { warmup: 0 }, warmupSteps: 0, approxKlStop: false }; // all of the work, from the first iteration on
  const config = parseConfig(ppoConfig, { ...sizes, ...whole, steps: 1_000_000, decay: 'constant', lr: 1e-4, device });
  const actorCritic = new ActorCritic(palm, { lora: false, reference: true });
  const optimizer = new AdamW(actorCritic.parameters(), { lr: config.lr, weightDecay: 0 });
  const batches = new Batches({ size: count, batchSize: count, seed: 0 });
  const trainer = iterations({ actorCritic, optimizer, batches, prompts, reward: score }, config);
  return await iterating(trainer, count);
}

/** An iteration of GRPO: answers to all prompts, their scores, one epoch over them, with a reference. */
async function grpo({ prompts: count, promptLength, newTokens, minibatch, group, klWeight, device, ...workload }) {
  const model = await load({ ...workload, device });
  const prompts = rowsOf(readTokens(workload, count, promptLength)[0], promptLength);
  const sampling = { samplesPerPrompt: group, maxNewTokens: newTokens };
  const sizes = { rolloutBatch: count, minibatchSize: minibatch, epochs: 1, sampling };
  const whole = { warmupSteps: 0, steps: 1_000_000, decay: 'constant', lr: 1e-6, klWeight, loss: { kl: 'k3' } };
  const config = parseConfig(grpoConfig, { ...sizes, ...whole });
  const policy = new Policy(model, { lora: false, reference: true });
  const optimizer = new AdamW(policy.parameters(), { lr: config.lr, weightDecay: 0 });
  const batches = new Batches({ size: count, batchSize: count, seed: 0 });
  const trainer = groupIterations({ policy, optimizer, batches, prompts, reward: score }, config);
  return await iterating(trainer, count * group);
}

/** The share of the time in which JavaScript's thread was running, as the kernel counts it, while it makes steps or tokens. */
async function share({ of, steps, ...workload }) {
  const work = await { step: trainer, token: generating, 'streamed token': streaming }[of](workload);
  await repeat(steps, work);
  const run = async () => {
    const [began, thread] = [performance.now(), threadSeconds()];
    await repeat(steps, work);
    return { share: (1000 * (threadSeconds() - thread)) / (performance.now() - began) };
  };
  return { facts: {}, run };
}

async function generating({ promptLength, newTokens, ...workload }) {
  const palm = await load(workload);
  const prompts = rowsOf(readTokens(workload, 1, promptLength)[0], promptLength);
  return () => answer(palm, { prompts, maxNewTokens: newTokens });
}

async function streaming({ promptLength, newTokens, ...workload }) {
  const palm = await load(workload);
  const [prompt] = rowsOf(readTokens(workload, 1, promptLength)[0], promptLength);
  return async () => {
    for await (const _ of palm.stream({ prompt, maxNewTokens: newTokens }));
  };
}

function threadSeconds() {
  return Number(readFileSync(`/proc/self/task/${process.pid}/schedstat`, 'utf8').split(' ')[0]) / 1e9;
}

const { version } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8'));
await serve({ weights, folder, train, decode, start, ppo, grpo, share }, () => ({
  'palm-rlhf': version,
  node: process.versions.node,
}));
