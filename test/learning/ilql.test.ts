/** ILQL on the random walks: from 1000 walks of no aim and their scores alone, without a pretrained model, it learns the shortest. */
import { expect, it } from 'vitest';
import { ilqlConfig, parseConfig, PaLM } from '../../src/index.ts';
import { letterTokenizer, optimality, randomWalks } from '../../src/demo/random-walks.ts';
import { ilqlMethod } from '../../src/methods/ilql.ts';
import { device } from '../device.ts';
import { SEEDS, WALKS } from './walks.ts';

const { vocabSize: numTokens, eosToken, padToken } = letterTokenizer;
const SAMPLES = randomWalks({ count: 1000, seed: 1000 }).map((walk) => {
  const [start, ...rest] = letterTokenizer.encode(walk);
  return { prompt: [start as number], response: [...rest, eosToken as number], reward: optimality(walk) };
});

it.each(SEEDS)(
  'ILQL finds the shortest walks among aimless ones by value, and not without, seed %i',
  { timeout: 600_000 },
  async (seed) => {
    using model = new PaLM({ numTokens, dim: 64, depth: 2, heads: 4, dimHead: 16, seed, device });
    const loss = { tau: 0.8, gamma: 0.99, cqlWeight: 0.1, awacWeight: 1, beta: 0 };
    const rate = { lr: 1e-3, minLr: 1e-3, warmupSteps: 0, weightDecay: 1e-6 };
    const sizes = { epochs: 20, batchSize: 100, lora: false as const, target: { alpha: 0.1, every: 5 } };
    const config = parseConfig(ilqlConfig, { ...sizes, ...rate, loss, seed }, 'test');
    const { parts, steps, train } = ilqlMethod.assemble(config, { model, samples: SAMPLES });
    using policy = parts.weights;
    using _ = parts.optimizer;
    expect(steps).toBe(200);
    for await (const _step of train());

    /** The mean optimality of 50 walks from every start. */
    const howGood = async (beta: number) => {
      const drawing = { maxNewTokens: 9, samplesPerPrompt: 50, eosToken, padToken, topK: 10, seed: 1 };
      using drawn = await policy.generate({ prompts: WALKS, ...drawing, beta });
      const [tokens, width] = [Array.from(await drawn.sequences.data(), Number), drawn.sequences.shape[1] as number];
      const walks = Array.from({ length: tokens.length / width }, (_, row) => {
        return optimality(tokens.slice(row * width, (row + 1) * width));
      });
      return walks.reduce((sum, good) => sum + good, 0) / walks.length;
    };
    expect(await howGood(100)).toBeGreaterThanOrEqual(0.92);
    expect(await howGood(0)).toBeLessThan(0.6);
  },
);
