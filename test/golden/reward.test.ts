/** Losses and metrics of reward models on recorded numbers: pairs, rankings, calibration, and labels of steps. */
import { describe, expect, it } from 'vitest';
import { implicitReward, implicitRewardLoss, rankingLoss, stepLoss } from '../../src/losses/reward.ts';
import { calibrationOf, kendallTauB } from '../../src/metrics/calibration.ts';
import type { RankingOptions } from '../../src/models/ranking.ts';
import { casesOf, expectNumbers, flat, goldenCases, gradientOf, type Numbers } from './cases.ts';

goldenCases('reward-pairs', async ({ inputs, options, loss: recorded, metrics, gradient }, made) => {
  const [chosen, rejected, margin] = ['chosen', 'rejected', 'margin'].map((name) => inputs[name] as number[]);
  const { margin: uses, ...weights } = options as { margin?: boolean } & RankingOptions;
  const pairs = (chosen as number[]).map((_, i) => i);
  const score = made.parameter([...(chosen as number[]), ...(rejected as number[])]);
  using leaf = await score.leaf();
  const order = { groups: [...pairs, ...pairs], ranks: [...pairs.map(() => 0), ...pairs.map(() => 1)] };
  const margins = uses ? [...(margin as number[]), ...pairs.map(() => 0)] : undefined;
  using tensor = margins && made.tensor(margins);
  using loss = await rankingLoss(leaf, order, { ...weights, margins: tensor });
  expectNumbers(await loss.item(), recorded, made.tolerance, 'loss');
  const found = await loss.metrics();
  if (metrics.accuracy !== undefined) expectNumbers(found.accuracy, metrics.accuracy, 1e-6, 'accuracy');
  if (metrics.margin !== undefined) expectNumbers(found.margin, metrics.margin, 1e-6, 'margin');
  await loss.backward();
  const wanted = ['chosen', 'rejected'].flatMap((name) => flat(gradient[name] as Numbers));
  expectNumbers(await gradientOf(score), wanted, made.tolerance, 'gradient');
});

/** With a free parameter for ties, which would be one more number in every checkpoint. */
const NOT_TAKEN = { 'ties by Davidson': 'Rao and Kupper give ties a probability without a parameter to learn' };

goldenCases(
  'reward-rankings',
  async ({ inputs, options, loss: recorded, metrics, gradient }, made) => {
    const [groups, ranks] = [inputs.group as number[], inputs.rank as number[]];
    const { noneGood, ...weights } = options as { noneGood?: number[] } & RankingOptions;
    const score = made.parameter(inputs.score as number[]);
    using leaf = await score.leaf();
    const bad = noneGood && groups.map((group) => noneGood[group] as number);
    using loss = await rankingLoss(leaf, { groups, ranks }, { ...weights, noneGood: bad });
    expectNumbers(await loss.item(), recorded, made.tolerance, 'loss');
    if (metrics.accuracy !== undefined)
      expectNumbers((await loss.metrics()).accuracy, metrics.accuracy, 1e-6, 'accuracy');
    if (metrics.kendallTauB !== undefined) {
      const prompts = [...new Set(groups)].map((group) => groups.flatMap((other, i) => (other === group ? [i] : [])));
      const taus = prompts.map((rows) => {
        const of = (all: number[]) => rows.map((row) => all[row] as number);
        return kendallTauB(of(inputs.score as number[]), of(ranks)) as number;
      });
      const mean = taus.reduce((sum, tau) => sum + tau, 0) / taus.length;
      expectNumbers(mean, metrics.kendallTauB, 1e-9, 'kendallTauB');
    }
    await loss.backward();
    expectNumbers(await gradientOf(score), flat(gradient.score as Numbers), made.tolerance, 'gradient');
  },
  NOT_TAKEN,
);

describe('calibration', () => {
  it.each(casesOf('reward-calibration'))('has the recorded error: $name', ({ inputs, options, expected }) => {
    expect(options.bins).toBe(5);
    const { ece, brier } = calibrationOf(inputs.gap as number[]);
    expectNumbers([ece, brier], [expected.ece as number, expected.brier as number], 1e-9, 'ece and brier');
  });
});

goldenCases('process-reward', async ({ inputs, loss: recorded, metrics, gradient }, made) => {
  const logits = made.parameter(inputs.logit as Numbers);
  using leaf = await logits.leaf();
  using loss = await stepLoss(leaf, inputs.label as number[][]);
  expectNumbers(await loss.item(), recorded, made.tolerance, 'loss');
  expectNumbers((await loss.metrics()).accuracy, metrics.accuracy as number, 1e-6, 'accuracy');
  await loss.backward();
  expectNumbers(await gradientOf(logits), flat(gradient.logit as Numbers), made.tolerance, 'gradient');
});

describe('implicit rewards', () => {
  const ofLoss = casesOf('implicit-prm').filter(({ expected }) => expected === undefined);
  const ofRewards = casesOf('implicit-prm').filter(({ expected }) => expected !== undefined);
  const others = (kept: { name: string }[]) => {
    const names = casesOf('implicit-prm').map(({ name }) => name);
    return Object.fromEntries(names.filter((name) => !kept.some((one) => one.name === name)).map((name) => [name, '']));
  };

  goldenCases(
    'implicit-prm',
    async ({ inputs, options, loss: recorded, gradient }, made) => {
      const { beta, loss: kind } = options as { beta: number; loss: 'sequence' | 'token' };
      const logProb = made.parameter(inputs.logProb as Numbers);
      using leaf = await logProb.leaf();
      using referenceLogProb = made.tensor(inputs.referenceLogProb as Numbers);
      using responseMask = made.mask(inputs.mask as Numbers);
      const per = kind === 'token' ? 'token' : 'answer';
      const ratio = { logProb: leaf, referenceLogProb, responseMask };
      using loss = await implicitRewardLoss(ratio, inputs.label as number[], { beta, per });
      expectNumbers(await loss.item(), recorded, made.tolerance, 'loss');
      await loss.backward();
      expectNumbers(await gradientOf(logProb), flat(gradient.logProb as Numbers), made.tolerance, 'gradient');
    },
    others(ofLoss),
  );

  goldenCases(
    'implicit-prm',
    async ({ inputs, options, expected }, made) => {
      const { beta, stepTokens } = options as { beta: number; stepTokens: number };
      using logProb = made.tensor(inputs.logProb as Numbers);
      using referenceLogProb = made.tensor(inputs.referenceLogProb as Numbers);
      using responseMask = made.mask(inputs.mask as Numbers);
      using rewards = await implicitReward({ logProb, referenceLogProb, responseMask }, { beta });
      const found = Array.from(await rewards.data(), Number);
      expectNumbers(found, flat(expected.tokenReward as Numbers), made.tolerance, 'tokenReward');
      // Sums of the rewards of a step, and of those still to come, follow from them.
      const mask = inputs.mask as number[][];
      const width = mask[0]?.length ?? 0;
      const sum = (all: number[]) => all.reduce((total, one) => total + one, 0);
      const rows = mask.map((row, r) => found.slice(r * width, (r + 1) * width).filter((_, t) => row[t] === 1));
      const steps = rows.map((row) =>
        Array.from({ length: Math.ceil(row.length / stepTokens) }, (_, i) =>
          sum(row.slice(i * stepTokens, (i + 1) * stepTokens)),
        ),
      );
      expectNumbers(steps, expected.stepReward as Numbers, made.tolerance, 'stepReward');
    },
    others(ofRewards),
  );
});
