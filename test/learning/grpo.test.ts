/** GRPO learns the shortest way from a score alone, without a critic, and from a score that means nothing it does not. */
import { beforeAll, describe, expect, it } from 'vitest';
import { grpoConfig, type LanguageModel, Policy, parseConfig, type RewardFunction } from '../../src/index.ts';
import { letterTokenizer } from '../../src/demo/random-walks.ts';
import { grpoMethod } from '../../src/methods/grpo.ts';
import {
  distance,
  optimum,
  PROMPTS as PROMPTS_OF_BANDIT,
  probabilities,
  rewardFunction,
  rewardsOf,
  startingModel,
} from './bandit.ts';
import { arrival, howGood, ONLINE, SEEDS, shuffled, WALKS, wandererOf } from './walks.ts';

async function improve(
  wanderer: LanguageModel,
  reward: RewardFunction,
  seed: number,
  aggregation: 'dapo' | 'row-mean',
) {
  using model = wanderer.clone();
  const config = parseConfig(grpoConfig, { ...ONLINE, loss: { aggregation }, seed }, 'test');
  using policy = new Policy(model, { lora: false });
  const { eosToken, padToken } = letterTokenizer;
  const { parts, train } = grpoMethod.assemble(config, { policy, reward, prompts: WALKS, eosToken, padToken });
  using _ = parts.optimizer;
  for await (const { firstLogRatio } of train()) expect(firstLogRatio).toBeLessThanOrEqual(1e-6);
  return await howGood(model);
}

describe.each(SEEDS)('the random walks, seed %i', (seed) => {
  let wanderer: LanguageModel;

  beforeAll(async () => {
    ({ wanderer } = await wandererOf(seed));
  }, 600_000);

  it.each(['dapo', 'row-mean'] as const)(
    'are the shortest after GRPO, aggregation %s',
    { timeout: 600_000 },
    async (aggregation) => {
      expect(await improve(wanderer, arrival, seed, aggregation)).toBeGreaterThanOrEqual(0.92);
    },
  );

  it('do not become so from scores that are shuffled', { timeout: 600_000 }, async () => {
    expect(await improve(wanderer, shuffled(seed), seed, 'dapo')).toBeLessThan(0.55);
  });
});

describe('the bandit of one token', () => {
  it.each([
    [0.2, 0],
    [0.2, 1],
    [0.5, 2],
  ])('is played by the best policy at a KL cost of %d, seed %i', { timeout: 600_000 }, async (klWeight, seed) => {
    const rewards = rewardsOf(seed);
    using model = startingModel(seed);
    const before = await probabilities(model);
    const sizes = { steps: 60, rolloutBatch: PROMPTS_OF_BANDIT.length, minibatchSize: 64, epochs: 4, klWeight, seed };
    const sampling = { maxNewTokens: 1, samplesPerPrompt: 32 };
    const rate = { lr: 1e-2, warmupSteps: 0, lora: false as const, score: { norm: 'none' as const } };
    const config = parseConfig(grpoConfig, { ...sizes, ...rate, sampling }, 'test');
    using policy = new Policy(model, { lora: false, reference: true });
    const ingredients = { policy, reward: rewardFunction(rewards), prompts: PROMPTS_OF_BANDIT };
    const { parts, train } = grpoMethod.assemble(config, ingredients);
    using _ = parts.optimizer;
    for await (const _step of train());
    const best = optimum(before, rewards, klWeight);
    expect(distance(best, before)).toBeGreaterThan(0.05); // there is something to learn
    const off = distance(await probabilities(model), best);
    expect(off).toBeLessThanOrEqual(0.03);
  });
});
