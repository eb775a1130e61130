/**
 * Methods without a critic learn the shortest way from a score alone, and from a score that means nothing they do not; and they play
 * a bandit as well as can be at a given KL. `npm run test:learning` has all of them, on five seeds.
 */
import { beforeAll, describe, expect, it } from 'vitest';
import type { LanguageModel, PpoStep, Reward, RewardFunction } from '../../src/index.ts';
import { letterTokenizer } from '../../src/demo/random-walks.ts';
import type { Method } from '../../src/methods/method.ts';
import { methods } from '../../src/methods.ts';
import { type CriticFree, configOf, policyOf } from '../policies.ts';
import {
  BANDIT,
  distance,
  forwardOptimum,
  optimum,
  PROMPTS,
  probabilities,
  rewardFunction,
  rewardsOf,
  startingModel,
} from './bandit.ts';
import { ALL, arrival, howGood, ONLINE, SEEDS, shuffled, WALKS, wandererOf } from './walks.ts';

/** Trains `model` by `name` until the run ends; calls `see` with every step. */
async function train(
  name: CriticFree,
  model: LanguageModel,
  reward: Reward,
  settings: object,
  prompts: readonly number[][],
  see: (step: PpoStep) => void = () => {},
): Promise<void> {
  const { assemble }: Method = methods[name];
  const config = configOf(name, settings);
  using policy = policyOf(name, model, { lora: false });
  const { eosToken, padToken } = prompts === WALKS ? letterTokenizer : {};
  const { parts, train } = assemble(config as never, { policy, reward, prompts, eosToken, padToken } as never);
  using _ = parts.optimizer as Disposable & typeof parts.optimizer;
  for await (const step of train()) see(step as PpoStep);
}

/** A way to learn, its settings, how good its walks become at least, and whether the short tests have it. */
interface Way {
  method: CriticFree;
  settings?: object;
  gate: number;
  short?: boolean;
}

const WAYS: Readonly<Record<string, Way>> = {
  'GRPO with the token mean of DAPO': { method: 'grpo', gate: 0.92, short: true },
  'GRPO with a mean over responses': { method: 'grpo', settings: { loss: { aggregation: 'row-mean' } }, gate: 0.92 },
  'DAPO, clip higher': { method: 'grpo', settings: { loss: { clipHigh: 0.28 } }, gate: 0.92 },
  'Dr. GRPO': {
    method: 'grpo',
    settings: { loss: { aggregation: 'dr-grpo' }, advantage: { scale: 'none' } },
    gate: 0.92,
  },
  GSPO: { method: 'grpo', settings: { loss: { level: 'sequence' } }, gate: 0.92 },
  CISPO: { method: 'grpo', settings: { loss: { kind: 'cispo' } }, gate: 0.9 },
  SPO: { method: 'grpo', settings: { loss: { kind: 'spo' } }, gate: 0.88 },
  MaxRL: { method: 'grpo', settings: { advantage: { estimator: 'max-rl' } }, gate: 0.9 },
  RLOO: { method: 'rloo', settings: { klWeight: 0 }, gate: 0.92 },
  'RLOO with a ratio per response': {
    method: 'rloo',
    settings: { klWeight: 0, loss: { level: 'sequence-sum' } },
    gate: 0.92,
  },
  'REINFORCE++': { method: 'reinforce', settings: { klWeight: 0 }, gate: 0.9, short: true },
  'REINFORCE++ with a group baseline': { method: 'reinforce', settings: { klWeight: 0, baseline: 'group' }, gate: 0.9 },
  ReMax: { method: 'remax', settings: { klWeight: 0 }, gate: 0.88, short: true },
  'online DPO': { method: 'online-dpo', settings: { beta: 1, minibatchSize: 20 }, gate: 0.5 },
  'target policy optimisation': { method: 'target-policy', gate: 0.9, short: true },
  FlowRL: { method: 'flowrl', gate: 0.9, short: true },
};
const ways = Object.keys(WAYS).filter((name) => ALL || WAYS[name]?.short);

/** What a planted fault does to the scores of a run. */
const FAULTS: Readonly<Record<string, (seed: number) => RewardFunction>> = {
  'that are all alike': () => (answers) => answers.map(() => 0),
  'of the wrong sign': () => (answers) => (arrival(answers) as number[]).map((score) => -score),
  'that are shuffled': shuffled,
};
const spoilt = Object.keys(FAULTS).flatMap((fault) =>
  (['grpo', 'rloo', 'reinforce', 'flowrl'] as const).map((name) => [name, fault] as const),
);

describe.each(SEEDS)('the random walks, seed %i', (seed) => {
  let wanderer: LanguageModel;

  beforeAll(async () => {
    ({ wanderer } = await wandererOf(seed));
  }, 600_000);

  async function improve({ method, settings }: Pick<Way, 'method' | 'settings'>, reward: RewardFunction) {
    using model = wanderer.clone();
    // Minibatches of whole groups: the 7 walks from a node.
    await train(method, model, reward, { ...ONLINE, ...settings, seed }, WALKS, ({ firstLogRatio }) =>
      expect(firstLogRatio).toBeLessThanOrEqual(1e-6),
    );
    return await howGood(model);
  }

  it.each(ways)('are the shortest after %s', { timeout: 600_000 }, async (name) => {
    const way = WAYS[name] as Way;
    expect(await improve(way, arrival)).toBeGreaterThanOrEqual(way.gate);
  });

  it.each(ALL ? spoilt : spoilt.filter(([name, fault]) => name === 'rloo' && fault === 'that are shuffled'))(
    'do not become so by %s from scores %s',
    { timeout: 600_000 },
    async (method, fault) => {
      const reward = FAULTS[fault]?.(seed) as RewardFunction;
      const settings = method === 'flowrl' ? {} : { klWeight: 0 };
      expect(await improve({ method, settings }, reward)).toBeLessThan(0.55);
    },
  );
});

/** How far the policy that `name` finds is from `best`, the best one for its settings. */
async function offBy(
  name: CriticFree,
  seed: number,
  settings: object & { klWeight: number },
  best: typeof optimum = optimum,
): Promise<number> {
  const rewards = rewardsOf(seed);
  using model = startingModel(seed);
  const before = await probabilities(model);
  await train(name, model, rewardFunction(rewards), { ...BANDIT, seed, ...settings }, PROMPTS);
  const wanted = best(before, rewards, settings.klWeight);
  expect(distance(wanted, before)).toBeGreaterThan(0.05); // there is something to learn
  return distance(await probabilities(model), wanted);
}

const bandits = [
  ['grpo', 0.2, 0.03],
  ['grpo', 0.5, 0.03],
  ['rloo', 0.2, 0.02],
  ['rloo', 0.5, 0.02],
  ['reinforce', 0.2, 0.08],
  ['reinforce', 0.5, 0.06],
] as const;

describe.each(SEEDS)('the bandit of one token, seed %i', (seed) => {
  it.each(ALL ? bandits : bandits.filter(([, klWeight]) => klWeight === 0.2))(
    'is played by %s as well as can be at a KL cost of %d, within %d',
    { timeout: 600_000 },
    async (name, klWeight, gate) => {
      expect(await offBy(name, seed, { klWeight })).toBeLessThanOrEqual(gate);
    },
  );

  it('leads k3 in the loss to the optimum of the other KL, not to that of the KL in the reward', {
    timeout: 600_000,
  }, async () => {
    const sizes = { steps: ALL ? 300 : 150, sampling: { maxNewTokens: 1, samplesPerPrompt: 64 }, minibatchSize: 128 };
    const settings = {
      ...sizes,
      lr: ALL ? 3e-3 : 5e-3,
      klWeight: 0.2,
      loss: { kl: 'k3' },
      advantage: { scale: 'none' },
    };
    expect(await offBy('grpo', seed, settings, forwardOptimum)).toBeLessThanOrEqual(0.03);
    const rewards = rewardsOf(seed);
    using model = startingModel(seed);
    const before = await probabilities(model);
    expect(distance(forwardOptimum(before, rewards, 0.2), optimum(before, rewards, 0.2))).toBeGreaterThan(0.06);
  });
});
