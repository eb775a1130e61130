/**
 * node-llama-cpp: all sequences in one context. `mode` is the format of the file: F16 with random weights, as many as the PaLM has, or
 * that of a model of others.
 */
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { readTokens, rowsOf, serve } from './worker.mjs';

const entry = createRequire(join(process.env.PALM_PEERS, 'package.json')).resolve('node-llama-cpp');
const { getLlama, LlamaLogLevel } = await import(pathToFileURL(entry).href);

/** Tokens after a prompt, with whichever number of threads is faster. */
async function decode(workload) {
  const counts = [...new Set([1, workload.threads])];
  const prepared = [];
  for (const threads of counts) {
    const answer = await answering(workload, threads);
    await answer(4);
    const began = performance.now();
    await answer(16);
    prepared.push({ threads, answer, milliseconds: performance.now() - began });
  }
  const { threads, answer } = prepared.sort((a, b) => a.milliseconds - b.milliseconds)[0];
  return { facts: { threads }, run: () => answer(workload.newTokens) };
}

/** From nothing to the first token; the harness takes the time. */
async function start(workload) {
  const answer = await answering({ ...workload, batch: 1, newTokens: 1 }, 1);
  await answer(1);
  return { facts: {} };
}

/** A function that draws `count` tokens after every prompt, at temperature 1 without filters. */
async function answering({ batch, promptLength, newTokens, gguf, mode, ...workload }, threads) {
  const modelPath = gguf[mode];
  const llama = await getLlama({ gpu: false, build: 'never', logLevel: LlamaLogLevel.error, maxThreads: threads });
  const model = await llama.loadModel({ modelPath });
  const sizes = { contextSize: promptLength + newTokens + 8, batchSize: Math.max(512, batch * promptLength) };
  const context = await model.createContext({ sequences: batch, ...sizes, threads });
  const prompts = rowsOf(readTokens(workload, batch, promptLength)[0], promptLength);
  const sequences = prompts.map(() => context.getSequence());
  return async (count) => {
    await Promise.all(sequences.map((sequence) => sequence.clearHistory()));
    const counts = await Promise.all(sequences.map((sequence, row) => drawn(sequence, prompts[row], count)));
    return { tokens: counts.reduce((a, b) => a + b) };
  };
}

async function drawn(sequence, prompt, count) {
  let tokens = 0;
  for await (const _ of sequence.evaluate(prompt, { temperature: 1, topK: 0, topP: 1, yieldEogToken: true })) {
    if (++tokens === count) break;
  }
  return tokens;
}

const { version } = JSON.parse(readFileSync(join(entry, '../../package.json'), 'utf8'));
await serve({ decode, start }, () => ({ 'node-llama-cpp': version }));
