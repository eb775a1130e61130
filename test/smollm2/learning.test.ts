/**
 * SmolLM2 learns from a reward by PPO, GRPO and DPO, with adapters: on questions that it has not seen, the score rises by a fifth of
 * its range; a reward of zero changes nothing. One seed, or three with PALM_LEARNING=all.
 */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  ActorCritic,
  dpoConfig,
  grpoConfig,
  type LanguageModel,
  methods,
  parseConfig,
  Policy,
  ppoConfig,
  type RewardFunction,
} from '../../src/index.ts';
import { comparedPairs, heldOutScore, LIMIT, openTask, type Task } from './brevity.ts';

const SEEDS = process.env.PALM_LEARNING === 'all' ? [1, 2, 3] : [1];
/** How much the score has to rise, and how much it may move without a reward. The score reaches from 0 to 1. */
const MARGIN = 0.2;
const STILL = 0.05;
const timeout = 3_600_000; // on two free cores, each takes a few minutes

const ONLINE = {
  steps: 8,
  rolloutBatch: 8,
  sampling: { maxNewTokens: LIMIT, samplesPerPrompt: 4 },
  epochs: 2,
  minibatchSize: 16,
  lr: 1e-3,
  warmupSteps: 0,
} as const;
const zero: RewardFunction = (answers) => answers.map(() => 0);

let task: Task;
let before: number;
beforeAll(async () => {
  task = await openTask();
  before = (await heldOutScore(task, task.base)).score;
}, timeout);
afterAll(() => task.base.dispose());

/** What is given to a way to learn, and what it trains: the first scope answers. */
type Learn = (model: LanguageModel, reward: RewardFunction, seed: number) => Promise<void>;

const grpo: Learn = async (model, reward, seed) => {
  using policy = new Policy(model, { seed });
  const config = parseConfig(grpoConfig, { ...ONLINE, seed }, 'test');
  const { parts, train } = methods.grpo.assemble(config, {
    policy,
    reward,
    prompts: task.prompts,
    tokenizer: task.text,
  });
  using _optimizer = parts.optimizer;
  for await (const _step of train());
};

const ppo: Learn = async (model, reward, seed) => {
  using actorCritic = new ActorCritic(model, { seed });
  const config = parseConfig(ppoConfig, { ...ONLINE, critic: { warmup: 0 }, seed }, 'test');
  const { prompts, text: tokenizer } = task;
  const { parts, train } = methods.ppo.assemble(config, { actorCritic, reward, prompts, tokenizer });
  using _optimizer = parts.optimizer;
  for await (const _step of train());
};

/** From pairs of answers that the model gave before it learned, ranked by the reward. */
const dpo: Learn = async (model, reward, seed) => {
  const pairs = await comparedPairs({ ...task, reward }, seed);
  const settings = { epochs: 3, batchSize: 8, lr: 1e-3, nllWeight: 0.2, warmupSteps: 0, seed };
  const { parts, train } = methods.dpo.assemble(parseConfig(dpoConfig, settings, 'test'), { model, pairs });
  using _policy = parts.weights;
  using _optimizer = parts.optimizer;
  for await (const _step of train());
};

/** The held-out score after learning. */
async function learned(name: string, learn: Learn, reward: RewardFunction, seed: number): Promise<number> {
  const began = performance.now();
  using model = task.base.clone();
  await learn(model, reward, seed);
  const { score, example } = await heldOutScore(task, model, 'actor');
  const seconds = ((performance.now() - began) / 1000).toFixed(0);
  console.log(
    `${name}, seed ${seed}: ${before.toFixed(3)} → ${score.toFixed(3)} in ${seconds} s; ${JSON.stringify(example)}`,
  );
  return score;
}

describe.each(SEEDS)('SmolLM2, seed %i', (seed) => {
  it.each(Object.entries({ grpo, ppo, dpo }))('learns to be brief by %s', { timeout }, async (name, learn) => {
    expect(await learned(name, learn, task.reward, seed)).toBeGreaterThanOrEqual(before + MARGIN);
  });

  it.each(Object.entries({ grpo, ppo }))(
    'learns nothing from a reward of zero by %s',
    { timeout },
    async (name, learn) => {
      const score = await learned(`${name} without a reward`, learn, zero, seed);
      expect(Math.abs(score - before)).toBeLessThan(STILL);
    },
  );

  it('gives no pairs for dpo by a reward of zero', { timeout }, async () => {
    expect(await comparedPairs({ ...task, reward: zero }, seed)).toEqual([]);
  });
});
