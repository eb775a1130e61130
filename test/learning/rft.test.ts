/** Rejection sampling on the random walks: one round makes them much shorter, four with fresh walks almost the shortest. */
import { describe, expect, it } from 'vitest';
import { type LanguageModel, Policy, parseConfig, rftConfig } from '../../src/index.ts';
import { letterTokenizer } from '../../src/demo/random-walks.ts';
import { rftMethod } from '../../src/methods/rft.ts';
import { ALL, arrival, howGood, SEEDS, WALKS, wandererOf } from './walks.ts';

/** `rounds` rounds of 50 walks from every start, whose best fifth is learned in about 160 updates altogether. */
async function improve(wanderer: LanguageModel, rounds: number, seed: number): Promise<number> {
  using model = wanderer.clone();
  using policy = new Policy(model, { lora: false });
  const sizes = { steps: rounds, rolloutBatch: WALKS.length, minibatchSize: 64, epochs: 80 / rounds, percentile: 0.8 };
  const sampling = { maxNewTokens: 9, samplesPerPrompt: 50 };
  const rate = { lr: 3e-4, betas: [0.9, 0.95] as [number, number], weightDecay: 1e-6, lora: false as const };
  const { eosToken, padToken } = letterTokenizer;
  const config = parseConfig(rftConfig, { ...sizes, ...rate, sampling, seed }, 'test');
  const ingredients = { policy, reward: arrival, prompts: WALKS, eosToken, padToken };
  const { parts, train } = rftMethod.assemble(config, ingredients);
  using _ = parts.optimizer;
  for await (const { kept } of train()) expect(kept).toBeGreaterThan(0);
  return await howGood(model);
}

describe.each(SEEDS)('the random walks, seed %i', (seed) => {
  it('become much shorter in one round of rejection sampling', { timeout: 600_000 }, async () => {
    const { wanderer, start } = await wandererOf(seed);
    using _ = wanderer;
    const found = await improve(wanderer, 1, seed);
    expect(found).toBeGreaterThanOrEqual(0.72);
    expect(found - start).toBeGreaterThanOrEqual(0.4);
  });

  if (ALL) {
    it('become almost the shortest in four rounds', { timeout: 600_000 }, async () => {
      using wanderer = (await wandererOf(seed)).wanderer;
      expect(await improve(wanderer, 4, seed)).toBeGreaterThanOrEqual(0.9);
    });
  }
});
