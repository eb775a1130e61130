/** Losses have metrics with names, which C++ gives beside their values. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Experience, experienceRows, judge, maskedMean, ppoLoss, Tensor } from '../src/index.ts';
import { ActorCritic, type ValuedRollout } from '../src/models/actor-critic.ts';
import { PaLM } from '../src/models/palm.ts';
import { RewardModel } from '../src/models/reward-model.ts';
import type { TensorGroup } from '../src/tensor/tensor.ts';
import { device } from './device.ts';

const PROMPTS = [[2, 3], [4], [5, 6, 7]];
const JUDGING = { klWeight: 0.1, gamma: 1, lambda: 0.95, whiten: true };
const LOSING = { clip: 0.2, valueClip: 0.2, valueWeight: 1, entropyWeight: 0.01 };

let palm: PaLM;
let actorCritic: ActorCritic;
let rollout: TensorGroup<ValuedRollout>;
beforeAll(async () => {
  palm = new PaLM({ numTokens: 16, dim: 16, depth: 1, heads: 2, dimHead: 8, device });
  actorCritic = new ActorCritic(palm, { lora: 4 });
  rollout = await actorCritic.rollout({ prompts: PROMPTS, maxNewTokens: 5, eosToken: 1, seed: 2, reference: true });
});
afterAll(() => {
  for (const each of [rollout, actorCritic, palm]) each.dispose();
});

describe('the metrics of', () => {
  it('judge are named', async () => {
    using judgement = await judge(rollout, [1, 2, 6], JUDGING);
    const metrics = await judgement.metrics();
    const names = ['kl', 'score', 'reward', 'explainedVariance', 'responseLength', 'samplerGap'];
    expect(Object.keys(metrics)).toEqual(names);
    const mask = Array.from(await rollout.responseMask.data(), Number);
    expect(metrics.score).toBeCloseTo(3, 6);
    expect(metrics.responseLength).toBeCloseTo(mask.reduce((sum, real) => sum + real, 0) / PROMPTS.length, 6);
    expect(metrics.samplerGap).toBeLessThan(1e-5);
  });

  it('ppoLoss are named', async () => {
    using judgement = await judge(rollout, [1, 2, 6], JUDGING);
    const all: Experience = { ...rollout, ...judgement };
    using experience = await experienceRows(all, [0, 1, 2]);
    using now = await actorCritic.evaluate(experience.sequence);
    using loss = await ppoLoss(now, experience, LOSING);
    const metrics = await loss.metrics();
    const clipped = ['clipFraction', 'valueClipFraction', 'maxLogRatio'];
    expect(Object.keys(metrics)).toEqual(['policyLoss', 'valueLoss', 'entropy', 'approxKl', ...clipped]);
    const { policyLoss, valueLoss, entropy } = metrics;
    expect(await loss.item()).toBeCloseTo(policyLoss + valueLoss - LOSING.entropyWeight * entropy, 5);
    expect(metrics.maxLogRatio).toBeLessThanOrEqual(1e-6);
  });

  it('rankingLoss are named', async () => {
    using trunk = palm.clone();
    using model = new RewardModel(trunk, { lora: 2 });
    const rows = [
      [1, 2, 3],
      [4, 5, 6],
    ];
    using loss = await model.rankingLoss(rows, { groups: [0, 0], ranks: [0, 1] });
    using score = await model.score(rows);
    const metrics = await loss.metrics();
    expect(Object.keys(metrics)).toEqual(['accuracy', 'margin']);
    const [better = 0, worse = 0] = Array.from(await score.data(), Number);
    expect(metrics.margin).toBeCloseTo(better - worse, 5);
    expect(metrics.accuracy).toBe(better > worse ? 1 : 0);
  });
});

it('a loss of a parameter that stands alone gives it a gradient', async () => {
  using parameter = Tensor.parameter(new Float64Array([1, -2, 4]), { shape: [1, 3], dtype: 'float64', device });
  using leaf = await parameter.leaf();
  using mean = await maskedMean(leaf);
  await mean.backward();
  using gradient = await parameter.grad();
  expect(Array.from((await gradient?.data()) ?? [], Number)).toEqual([1 / 3, 1 / 3, 1 / 3]);
});
