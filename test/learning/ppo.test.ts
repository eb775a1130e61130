/**
 * PPO plays a bandit as well as can be at a given KL; it does not learn to walk when something essential is broken; and with text beside
 * it does not unlearn what it was pretrained on.
 */
import { beforeAll, describe, expect, it, vi } from 'vitest';
import {
  ActorCritic,
  type LanguageModel,
  methods,
  parseConfig,
  type PpoConfigInput,
  ppoConfig,
  type Reward,
  type RewardFunction,
  validationLoss,
} from '../../src/index.ts';
import { padRight } from '../../src/data/prompts.ts';
import type { Sequences } from '../../src/data/text.ts';
import { letterTokenizer, randomWalks } from '../../src/demo/random-walks.ts';
import { narrow } from '../../src/tensor/slice.ts';
import { joined } from '../../src/tensor/rows.ts';
import { Tensor } from '../../src/tensor/tensor.ts';
import { device } from '../device.ts';
import {
  BANDIT,
  distance,
  optimum,
  PROMPTS,
  probabilities,
  rewardFunction,
  rewardsOf,
  startingModel,
} from './bandit.ts';
import { ALL, arrival, howGood, ONLINE, SEEDS, shuffled, WALKS, wandererOf } from './walks.ts';

const HASTE = { approxKlStop: false, critic: { warmup: 0 } } as const;
const { eosToken, padToken } = letterTokenizer;

/** The text that the walkers have learned from. */
const WALKED: Sequences = {
  size: 1000,
  rows(places) {
    const { tokens, shape } = padRight(
      places.map((place) => TEXT[place] as number[]),
      padToken as number,
    );
    return { tokens, shape };
  },
};
const TEXT = randomWalks({ count: 1000, seed: 1000 }).map((walk) => [
  ...letterTokenizer.encode(walk),
  eosToken as number,
]);

interface Task {
  reward: Reward;
  prompts?: readonly number[][];
  /** Breaks something. */
  plant?: (actorCritic: ActorCritic) => void;
}

/** Trains all weights of `model` by PPO. */
async function train(model: LanguageModel, settings: PpoConfigInput, { reward, prompts = WALKS, plant }: Task) {
  const config = parseConfig(ppoConfig, { ...HASTE, ...settings }, 'test');
  using actorCritic = new ActorCritic(model, { lora: false, reference: config.klWeight > 0 });
  plant?.(actorCritic);
  const text = config.loss.pretraining && WALKED;
  const ending = prompts === WALKS ? { eosToken, padToken } : {};
  const { parts, train } = methods.ppo.assemble(config, { actorCritic, reward, prompts, text, ...ending });
  using _optimizer = parts.optimizer;
  for await (const _step of train());
}

describe.each(SEEDS)('the bandit of one token, seed %i', (seed) => {
  it.each(ALL ? [0.2, 0.5] : [0.2])(
    'is played as well as can be at a KL cost of %d',
    { timeout: 600_000 },
    async (klWeight) => {
      const rewards = rewardsOf(seed);
      using model = startingModel(seed);
      const before = await probabilities(model);
      // At the optimum, rewards less the KL are all alike: whitening would only raise the noise that is left.
      const accurate = { critic: { warmup: 0, whiten: false }, loss: { valueWeight: 1 } };
      await train(
        model,
        { ...BANDIT, ...accurate, klWeight, seed },
        { reward: rewardFunction(rewards), prompts: PROMPTS },
      );
      const best = optimum(before, rewards, klWeight);
      expect(distance(best, before)).toBeGreaterThan(0.05); // there is something to learn
      const off = distance(await probabilities(model), best);
      if (ALL) console.log(`ppo, beta ${klWeight}, seed ${seed}: off by ${off.toFixed(4)}`);
      expect(off).toBeLessThanOrEqual(0.02);
    },
  );
});

/** Log-probabilities [B, T], each moved to the place of the token before. */
async function shifted(logProb: Tensor): Promise<Tensor> {
  const [rows, width] = logProb.shape as [number, number];
  using later = await narrow(logProb, { dim: 1, start: 1, length: width - 1 });
  using wide = Tensor.from(new Float32Array(width), { shape: [1, width], device });
  using both = await joined([{ all: later }, { all: wide }], ['all']);
  return await narrow(both.all, { dim: 0, start: 0, length: rows });
}

/** What may be wrong, as a reward or as what it does to the policy. */
const FAULTS: Readonly<Record<string, (seed: number) => Task>> = {
  'no reward': () => ({ reward: (answers) => answers.map(() => 0) }),
  'rewards of the wrong sign': () => ({ reward: (answers) => (arrival(answers) as number[]).map((score) => -score) }),
  'the credit of other walks': (seed) => ({ reward: shuffled(seed) }),
  'rollouts with the log-probabilities of the next token': () => ({
    reward: arrival,
    plant(actorCritic) {
      const { rollout } = actorCritic;
      vi.spyOn(actorCritic, 'rollout').mockImplementation(async (input) => {
        const given = await rollout.call(actorCritic, input);
        using own = given.rolloutLogProb;
        return Object.assign(given, { rolloutLogProb: await shifted(own) });
      });
    },
  }),
  'the reward on the first token': () => ({ reward: onTheFirst }),
};
const onTheFirst: RewardFunction = (answers) => {
  const scores = arrival(answers) as number[];
  return answers.map(({ response }, row) => response.map((_, t) => (t === 0 ? (scores[row] as number) : 0)));
};
/** The short tests have one of other methods. */
const planted = ALL ? Object.keys(FAULTS) : [];

describe.each(SEEDS)('the random walks, seed %i', (seed) => {
  let wanderer: LanguageModel;

  beforeAll(async () => {
    ({ wanderer } = await wandererOf(seed));
  }, 600_000);

  it.each(planted)('do not become the shortest by %s', { timeout: 600_000 }, async (fault) => {
    using model = wanderer.clone();
    await train(model, { ...ONLINE, klWeight: 0, seed }, FAULTS[fault]?.(seed) as Task);
    const optimality = await howGood(model);
    if (ALL) console.log(`ppo, ${fault}, seed ${seed}: ${optimality.toFixed(3)}`);
    expect(optimality).toBeLessThan(0.55);
  });

  it('are not unlearned with text beside, as they are without', { timeout: 600_000 }, async () => {
    const loss = (model: LanguageModel) => validationLoss(model, WALKED, { batchSize: 100, evaluateBatches: 10 });
    const before = await loss(wanderer);
    const rise = async (pretraining?: object) => {
      using model = wanderer.clone();
      const settings = { ...ONLINE, steps: ALL ? 20 : 8, klWeight: 0, seed, loss: { pretraining } };
      await train(model, settings, { reward: arrival });
      return { rise: (await loss(model)) - before, optimality: await howGood(model) };
    };
    const [alone, beside] = [await rise(), await rise({ batchSize: 50 })];
    if (ALL)
      console.log(
        `ppo-ptx, seed ${seed}: loss rises ${alone.rise.toFixed(3)} alone (optimality ${alone.optimality.toFixed(3)}), ` +
          `${beside.rise.toFixed(3)} beside text (${beside.optimality.toFixed(3)})`,
      );
    expect(alone.rise).toBeGreaterThan(0.1);
    expect(beside.rise).toBeLessThanOrEqual(0.02);
  });
});
