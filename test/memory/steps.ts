/** A process that trains for 500 steps, then generates 500 times, and prints as JSON what it held every 50 times. */
import { memory } from '../../src/tensor/tensor.ts';
import { AdamW } from '../../src/optim.ts';
import { PaLM } from '../../src/models/palm.ts';
import { device } from '../device.ts';

export interface Held {
  liveTensors: number;
  liveBytes: number;
  resident: number;
}

const NUM_TOKENS = 256;
// A step's logits are 128 KiB: if they stayed behind, 400 steps would leave 50 MiB.
const ROWS = 4;
const LENGTH = 32;

const palm = new PaLM({ numTokens: NUM_TOKENS, dim: 32, depth: 2, heads: 2, dimHead: 16, ffMult: 2, device, seed: 1 });
palm.addScope('actor', { rank: 4 });
const parameters = [...palm.parameters(), ...palm.parameters({ scope: 'actor' })];
const optimizer = new AdamW(parameters, { lr: 1e-3 });

async function train(step: number): Promise<void> {
  const tokens = Array.from({ length: ROWS }, (_, row) =>
    Array.from({ length: LENGTH }, (_, t) => (7 * t * t + 3 * row + step) % NUM_TOKENS),
  );
  using loss = await palm.loss(tokens, { scope: 'actor', mask: tokens.map((row) => row.map((_, t) => t % 5 > 0)) });
  await loss.backward();
  await optimizer.step({ maxGradNorm: 1 });
  optimizer.zeroGrad();
  using out = await palm.forward(tokens);
  await out.embeddings.data();
}

async function generate(step: number): Promise<void> {
  const prompts = [[1, 2, 3], [step % NUM_TOKENS], [5, 4]];
  using out = await palm.generate({
    prompts,
    maxNewTokens: 8,
    topK: 20,
    topP: 0.9,
    eosToken: 0,
    seed: step,
    scope: 'actor',
  });
  await out.sequences.data();
}

async function sampled(work: (step: number) => Promise<void>): Promise<Held[]> {
  const held: Held[] = [];
  for (let step = 1; step <= 500; step++) {
    await work(step);
    if (step % 50 !== 0) continue;
    globalThis.gc?.(); // JavaScript's own garbage is not what is asked about
    held.push({ ...memory(), resident: process.memoryUsage.rss() });
  }
  return held;
}

console.log(JSON.stringify({ training: await sampled(train), generation: await sampled(generate) }));
