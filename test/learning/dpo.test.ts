/**
 * DPO on the random-walks task, from compared walks of the model itself: with a little likelihood of chosen walks it learns the way,
 * and without it shows what DPO is known for, that chosen responses become less likely while pairs are told apart.
 */
import { beforeAll, describe, expect, it } from 'vitest';
import {
  dpoConfig,
  type DpoConfigInput,
  type DpoStep,
  type LanguageModel,
  parseConfig,
  type Preference,
} from '../../src/index.ts';
import { comparedPairs } from '../../src/demo/learning.ts';
import { dpoMethod } from '../../src/methods/dpo.ts';
import {
  distance,
  optimum,
  PROMPTS as BANDIT,
  probabilities,
  type Rewards,
  rewardsOf,
  startingModel,
} from './bandit.ts';
import { ALL, howGood, SEEDS, wandererOf } from './walks.ts';

/** 160 steps of 64 pairs, all from 50 walks of every start. */
const PAIRS = 330;
const STEPS = 160;

async function improve(wanderer: LanguageModel, nllWeight: number, seed: number) {
  using model = wanderer.clone();
  const pairs = await comparedPairs(wanderer, PAIRS, seed);
  const epochs = Math.ceil((STEPS * 64) / pairs.length);
  const sizes = { epochs, batchSize: 64, lr: 3e-4, warmupSteps: 0, minLr: 3e-4, lora: false as const, seed };
  const config = parseConfig(dpoConfig, { ...sizes, nllWeight }, 'test');
  const { parts, train } = dpoMethod.assemble(config, { model, pairs });
  using _policy = parts.weights;
  using _optimizer = parts.optimizer;
  const steps: DpoStep[] = [];
  for await (const step of train()) if (steps.push(step) === STEPS) break;
  return { steps, optimality: await howGood(model) };
}

describe.each(SEEDS)('the random walks, seed %i', (seed) => {
  let wanderer: LanguageModel;
  let start: number;

  beforeAll(async () => {
    ({ wanderer, start } = await wandererOf(seed));
  }, 600_000);

  it('become much shorter by DPO with the likelihood of chosen walks', { timeout: 600_000 }, async () => {
    const { steps, optimality } = await improve(wanderer, 0.2, seed);
    expect(steps).toHaveLength(STEPS);
    expect(steps.at(-1)?.accuracy).toBeGreaterThan(0.9);
    expect(optimality).toBeGreaterThanOrEqual(0.65);
    expect(optimality - start).toBeGreaterThanOrEqual(0.3);
  });

  it('show chosen walks losing likelihood by DPO alone, while pairs are told apart', { timeout: 600_000 }, async () => {
    const { steps } = await improve(wanderer, 0, seed);
    expect(steps.at(-1)?.accuracy).toBeGreaterThan(0.9);
    expect(steps.at(-1)?.chosenLogProb ?? 0).toBeLessThan((steps[0]?.chosenLogProb ?? 0) - 1);
  });
});

/** All pairs of answers to each prompt, `rows` of each, won as often as Bradley and Terry have it: exact proportions. A share of `flips` is swapped. */
function everyPair(rewards: Rewards, rows: number, flips = 0): Preference[] {
  return BANDIT.flatMap((prompt, place) => {
    const reward = rewards[place] as number[];
    return reward.flatMap((first, a) =>
      reward.slice(a + 1).flatMap((second, i) => {
        const chance = 1 / (1 + Math.exp(second - first));
        const wins = Math.round(rows * (chance + flips * (1 - 2 * chance)));
        const pair = (chosen: number, rejected: number) => ({ prompt, chosen: [chosen], rejected: [rejected] });
        const b = a + 1 + i;
        return [...Array(wins).fill(pair(a, b)), ...Array(rows - wins).fill(pair(b, a))];
      }),
    );
  });
}

/** The mean chance of an answer to win against all answers of `row`, itself included. */
function meanChance(own: number, row: readonly number[]): number {
  return row.reduce((sum, other) => sum + 1 / (1 + Math.exp(other - own)), 0) / row.length;
}

/** π after 200 steps on all of `pairs` at once. */
async function learnFrom(pairs: readonly Preference[], seed: number, options: DpoConfigInput, model: LanguageModel) {
  const sizes = { epochs: 200, batchSize: pairs.length, lr: 1e-2, warmupSteps: 0, minLr: 0, lora: false as const };
  const config = parseConfig(dpoConfig, { ...sizes, seed, ...options }, 'test');
  const { parts, train } = dpoMethod.assemble(config, { model, pairs });
  using _policy = parts.weights;
  using _optimizer = parts.optimizer;
  for await (const _step of train());
  return await probabilities(model);
}

/** The mean reward of a policy over the prompts. */
function earned(policy: number[][], rewards: Rewards): number {
  const of = (row: number[], i: number) => row.reduce((sum, p, j) => sum + p * (rewards[i]?.[j] as number), 0);
  return policy.reduce((sum, row, i) => sum + of(row, i) / policy.length, 0);
}

const exact = ALL
  ? SEEDS.flatMap((seed) => [
      [0.2, seed, 100],
      [0.5, seed, 100],
    ])
  : [[0.5, 1, 40]];

describe('the bandit of one token', () => {
  it.each(exact as [number, number, number][])(
    'is played by the best policy at beta %d, from exact proportions of pairs, seed %i',
    { timeout: 600_000 },
    async (beta, seed, rows) => {
      const rewards = rewardsOf(seed);
      using model = startingModel(seed);
      const before = await probabilities(model);
      const pairs = everyPair(rewards, rows);
      const learned = await learnFrom(pairs, seed, { beta }, model);
      const best = optimum(before, rewards, beta);
      expect(distance(best, before)).toBeGreaterThan(0.05); // there is something to learn
      if (ALL) console.log(`dpo, beta ${beta}, seed ${seed}: off by ${distance(learned, best).toFixed(4)}`);
      expect(distance(learned, best)).toBeLessThanOrEqual(0.02);
    },
  );

  if (ALL) {
    it.each(SEEDS)(
      'is played best by the robust loss though a fifth of the pairs is swapped, then by DPO, then by cDPO, seed %i',
      { timeout: 600_000 },
      async (seed) => {
        const beta = 0.5;
        const rewards = rewardsOf(seed);
        const flipped = everyPair(rewards, 100, 0.2);
        const learn = async (options: DpoConfigInput) => {
          using model = startingModel(seed);
          const before = await probabilities(model);
          return { before, learned: await learnFrom(flipped, seed, { beta, ...options }, model) };
        };
        const { before, learned } = await learn({ loss: 'robust', labelSmoothing: 0.2 });
        const off = distance(learned, optimum(before, rewards, beta));
        const plain = earned((await learn({})).learned, rewards);
        const smoothed = earned((await learn({ labelSmoothing: 0.2 })).learned, rewards);
        console.log(`robust, seed ${seed}: off by ${off.toFixed(4)}`);
        expect(off).toBeLessThanOrEqual(0.03);
        expect(earned(learned, rewards)).toBeGreaterThan(plain + 0.005);
        expect(plain).toBeGreaterThan(smoothed + 0.005);
      },
    );

    it.each(
      SEEDS.flatMap((seed) => [
        [seed, 0.2],
        [seed, 0.5],
      ]),
    )(
      'is played by IPO so that log-ratios are the mean chances to win, by beta, seed %i, beta %d',
      {
        timeout: 600_000,
      },
      async (seed, beta) => {
        const rewards = rewardsOf(seed);
        using model = startingModel(seed);
        const before = await probabilities(model);
        const learned = await learnFrom(everyPair(rewards, 100), seed, { beta, loss: 'ipo' }, model);
        const chances = rewards.map((row) => row.map((own) => meanChance(own, row)));
        const off = distance(learned, optimum(before, chances, beta));
        console.log(`ipo, beta ${beta}, seed ${seed}: off by ${off.toFixed(4)}`);
        expect(off).toBeLessThanOrEqual(0.01);
      },
    );
  }
});
