/**
 * PPO learns the shortest way from a score alone, and from a score that means nothing it does not: the curves of the
 * random-walks task within trlX's budget of 160 optimizer steps. What a curve cannot see is tested by equalities.
 */
import { beforeAll, describe, expect, it } from 'vitest';
import { ActorCritic, type LanguageModel, type PpoStep, type RewardFunction } from '../../src/index.ts';
import { learnToArrive } from '../../src/demo/learning.ts';
import { ALL, arrival, howGood, SEEDS, shuffled, wandererOf } from './walks.ts';

async function improve(
  wanderer: LanguageModel,
  reward: RewardFunction,
  options: Parameters<typeof learnToArrive>[2] & { lora: number | false; seed: number },
): Promise<{ steps: PpoStep[]; optimality: number }> {
  using palm = wanderer.clone();
  using actorCritic = new ActorCritic(palm, { lora: options.lora });
  const steps: PpoStep[] = [];
  for await (const step of learnToArrive(actorCritic, reward, options)) steps.push(step);
  const scope = options.lora === false ? undefined : 'actor';
  return { steps, optimality: await howGood(palm, scope) };
}

/** How good the walks became from shuffled scores, one number a seed. */
const aimless: number[] = [];

describe.each(ALL ? SEEDS : [0, 1, 2])('the random walks, seed %i', (seed) => {
  let wanderer: LanguageModel;
  let start: number;

  beforeAll(async () => {
    ({ wanderer, start } = await wandererOf(seed));
  }, 600_000);

  it('start from a model that wanders', () => {
    expect(start).toBeGreaterThan(0.2);
    expect(start).toBeLessThan(0.45);
  });

  it('are the shortest after PPO with all weights', { timeout: 600_000 }, async () => {
    const { steps, optimality } = await improve(wanderer, arrival, { lr: 3e-4, lora: false, seed });
    expect(steps).toHaveLength(20);
    expect(steps.every(({ epochs }) => epochs === 4)).toBe(true);
    for (const { firstLogRatio, samplerGap } of steps) {
      expect(firstLogRatio).toBeLessThanOrEqual(1e-6);
      expect(samplerGap).toBeLessThanOrEqual(0.05); // −log(1 − p) of padding, which is never drawn
    }
    expect(optimality).toBeGreaterThanOrEqual(0.92);
  });

  it('are nearly so after PPO with LoRA', { timeout: 600_000 }, async () => {
    // 8 columns of attention move far at this rate: twice the walks in as many updates halve the noise.
    const walks = { sampling: { maxNewTokens: 9, samplesPerPrompt: 14 }, minibatchSize: 140 };
    const { steps, optimality } = await improve(wanderer, arrival, { lr: 1e-2, lora: 8, seed, ...walks });
    expect(steps).toHaveLength(20);
    expect(optimality).toBeGreaterThanOrEqual(0.9);
    expect(steps[0]?.kl).toBe(0);
    expect(steps.at(-1)?.kl).toBeGreaterThan(0.5);
  });

  // Updates without a direction move a policy too: single runs end between 0.1 and 0.65.
  it('do not become so from scores that are shuffled', { timeout: 600_000 }, async () => {
    const { optimality } = await improve(wanderer, shuffled(seed), { lr: 3e-4, lora: false, seed });
    expect(optimality).toBeLessThan(0.75);
    aimless.push(optimality);
  });
});

it('the random walks stay what they were, on average, from scores that are shuffled', () => {
  expect(aimless.length).toBeGreaterThan(2);
  expect(aimless.reduce((sum, each) => sum + each, 0) / aimless.length).toBeLessThan(0.5);
});
