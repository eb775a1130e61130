/** Advantages, returns and what surrounds them, on recorded numbers. */
import { expect } from 'vitest';
import { type GroupOptions, groupAdvantages, judge, returnAdvantages } from '../../src/advantages.ts';
import { policyLoss } from '../../src/losses/policy.ts';
import { whiten } from '../../src/losses/reductions.ts';
import type { Rollout } from '../../src/models/policy.ts';
import { Tensor } from '../../src/tensor/tensor.ts';
import { addon } from '../../src/native/addon.ts';
import { handleOf } from '../../src/native/resource.ts';
import { overlongPenalty, repetitionPenalty } from '../../src/trainers/rollouts.ts';
import { RunningScores, scoreNorm } from '../../src/trainers/score-norm.ts';
import { learnedScores } from '../../src/trainers/scoring.ts';
import { device } from '../device.ts';
import {
  expectNumbers,
  flat,
  type GoldenCase,
  goldenCases,
  gradientOf,
  type Made,
  type Numbers,
  shapeOf,
} from './cases.ts';

/** Which recorded numbers are those of others, and why. */
const VERL_EPSILON = "verl adds 1e-6 to the deviation, which float32's rounding of equal rewards exceeds; ours is 1e-4";
const VERL_WHITENING = "verl's whitening divides by n − 1; ours and OpenRLHF's divide by n";

/** A rollout with these log-ratios to the reference; every number outside the responses is none. */
function rolloutOf(logRatio: number[][], mask: number[][], made: Made): Rollout {
  const within = (of: (row: number, t: number) => number) =>
    made.tensor(mask.map((row, i) => row.map((inside, t) => (inside ? of(i, t) : Number.NaN))));
  const ids = BigInt64Array.from(flat(mask), () => 1n);
  return {
    sequence: Tensor.from(ids, { shape: shapeOf(mask), device }),
    responseMask: made.mask(mask),
    samplerLogProb: within(() => -1),
    rolloutLogProb: within(() => -1),
    referenceLogProb: within((row, t) => -1 - ((logRatio[row] as number[])[t] as number)),
  };
}

/** The number that a row of [B, T] has at its first response token. */
async function firstOf(tensor: Tensor, mask: number[][]): Promise<number[]> {
  const all = Array.from(await tensor.data(), Number);
  return mask.map((row, i) => all[i * row.length + row.indexOf(1)] as number);
}

function groupSize(group: Numbers): number {
  return flat(group).filter((each) => each === 0).length;
}

goldenCases(
  'advantages',
  async (one, made) => {
    const { inputs, options, expected } = one;
    const { score, kl, group, scores, greedyScore } = inputs as Record<string, Numbers>;
    const rows = flat(group as Numbers).length;
    // Masks of two tokens where the case has none; the KL of a response lies on the first.
    const mask = (inputs.mask as number[][]) ?? Array.from({ length: rows }, () => [0, 1, 1]);
    const klOf = (row: number) => flat(kl as Numbers)[row] ?? 0;
    const logRatio = mask.map((row, i) => row.map((_, t) => (t === row.indexOf(1) ? klOf(i) : 0)));
    const rollout = rolloutOf(logRatio, mask, made);
    const samplesPerPrompt = groupSize(group as Numbers);
    const chosen = optionsOf(options, samplesPerPrompt);
    if (options.refuse) {
      await expect(groupAdvantages(rollout, made.tensor(score as Numbers), chosen)).rejects.toThrow(/at least 2/);
      return;
    }
    const weights = options.rewardWeights as number[] | undefined;
    const sums = options.aggregate === 'sum-then-normalise';
    const given = scores === undefined ? score : sums ? weighted(scores as number[][], weights as number[]) : scores;
    using compared = await groupAdvantages(rollout, made.tensor(given as Numbers), {
      ...chosen,
      rewardWeights: sums ? undefined : weights,
      baseline: greedyScore === undefined ? undefined : made.tensor(greedyScore),
    });
    expectNumbers(await firstOf(compared.advantage, mask), expected.advantage as Numbers, made.tolerance, 'advantage');
  },
  { 'grpo, verl: unbiased std + 1e-6': VERL_EPSILON },
);

function weighted(scores: number[][], weights: number[]): number[] {
  return scores.map((row) => row.reduce((sum, score, k) => sum + score * (weights[k] as number), 0));
}

function optionsOf(options: GoldenCase['options'], samplesPerPrompt: number): GroupOptions {
  const { estimator, scale, klWeight = 0, normalise, aggregate } = options;
  const names: Readonly<Record<string, GroupOptions['estimator']>> = { grpo: 'group', remax: 'baseline' };
  const usual = normalise ? 'batch' : aggregate ? 'group' : 'none';
  return {
    samplesPerPrompt,
    klWeight: klWeight as number,
    estimator: names[estimator as string] ?? (estimator as GroupOptions['estimator']),
    scale: (scale ?? usual) as GroupOptions['scale'],
  };
}

goldenCases(
  'reinforce-plus-plus',
  async ({ inputs, options, expected }, made) => {
    const { score, logRatio, mask, group } = inputs as { [name: string]: Numbers };
    const { klWeight, gamma } = options as { klWeight: number; gamma: number };
    const rollout = rolloutOf(logRatio as number[][], mask as number[][], made);
    const samplesPerPrompt = groupSize(group as Numbers);
    const chosen = { samplesPerPrompt, klWeight, gamma, groupBaseline: options.baseline === 'group' };
    using found = await returnAdvantages(rollout, made.tensor(score as Numbers), chosen);
    for (const [name, numbers] of Object.entries(expected))
      expectNumbers(Array.from(await found[name as 'returns'].data(), Number), flat(numbers), made.tolerance, name);
  },
  { "REINFORCE++, verl's unbiased variance": VERL_WHITENING },
);

/** A rollout in which these rewards are dense, without a score and a KL. */
async function judged(reward: number[][], value: number[][], mask: number[][], made: Made, options: object) {
  const rollout = { ...rolloutOf(zeros(mask), mask, made), rolloutValue: made.tensor(value) };
  const score = made.tensor(mask.map(() => 0));
  const chosen = { klWeight: 0, gamma: 1, lambda: 1, whiten: false, ...options, dense: made.tensor(reward) };
  return await judge(rollout, score, chosen);
}

function zeros(rows: number[][]): number[][] {
  return rows.map((row) => row.map(() => 0));
}

goldenCases('gae', async ({ inputs, options, expected }, made) => {
  const { reward, value } = inputs as Record<string, number[][]> as { reward: number[][]; value: number[][] };
  const mask = (inputs.mask as number[][]) ?? reward.map((row) => row.map(() => 1));
  const { gamma, lambda, lengthAdaptive, criticLambda } = options as Record<string, number>;
  using found = await judged(reward, value, mask, made, { gamma, lambda: lambda ?? criticLambda, lengthAdaptive });
  const read = async (tensor: Tensor) => Array.from(await tensor.data(), Number);
  expectNumbers(await read(found.advantage), flat(expected.advantage as Numbers), made.tolerance, 'advantage');
  expectNumbers(await read(found.returns), flat(expected.returns as Numbers), made.tolerance, 'returns');
});

/** Of ppo-extras, what is defined here; other tests have the rest. */
const EXTRAS: Readonly<Record<string, string>> = {
  'pass@k and best-of-n, unbiased': 'golden/rft.test.ts has it',
};

/** Recorded numbers of what surrounds PPO, by the value that a case expects. */
const CHECKS: Readonly<Record<string, (one: GoldenCase, made: Made) => Promise<void> | void>> = {
  penalty({ inputs, options, expected }, { tolerance }) {
    const { lengths, responses } = inputs;
    const { ngram, most } = options as { ngram: number; most: number };
    const found =
      lengths === undefined
        ? (responses as number[][]).map((response) => -repetitionPenalty(response, { ngram, penalty: -most }))
        : flat(lengths).map((length) => -overlongPenalty(length, options as never));
    expectNumbers(found, expected.penalty as Numbers, tolerance, 'penalty');
  },

  score({ inputs, options, expected }, { tolerance }) {
    const norm = scoreNorm(() => [], { norm: `${options.scale}-scale` as 'reference-scale' }, new RunningScores());
    norm(inputs.referenceScores as number[]);
    const score = { missingEosPenalty: 0, clip: options.clip as number, timeout: 1 };
    const scores = inputs.score as number[];
    const answers = scores.map(() => ({ prompt: [0], response: [0] }));
    const given = { answers, scores: { scores, parts: {} } };
    const { learned } = learnedScores(given, undefined, norm, {}, { score, sampling: { maxNewTokens: 1 } as never });
    expectNumbers(learned, expected.score as Numbers, tolerance, 'score');
  },

  meanAndStd({ inputs, expected }, { tolerance }) {
    const running = new RunningScores();
    const found = ['first', 'second'].map((name) => {
      const { mean } = running.update(inputs[name] as number[]);
      return [mean, running.unbiasedDeviation];
    });
    expectNumbers(found, expected.meanAndStd as Numbers, tolerance, 'mean and deviation');
  },

  async ema({ inputs, options, expected }, made) {
    using average = made.parameter(inputs.ema as Numbers);
    using weights = made.parameter(inputs.weights as Numbers);
    await addon().parametersMove([handleOf(average)], [handleOf(weights)], 1 - (options.decay as number));
    expectNumbers(Array.from(await average.data(), Number), expected.ema as Numbers, made.tolerance, 'ema');
  },
};

/** The loss of PPO-ptx: the policy's, and γ times the mean loss of tokens of text. */
async function checkPretraining({ inputs, options, loss, metrics, gradient }: GoldenCase, made: Made): Promise<void> {
  const { logProb, pretrainLogProb, rolloutLogProb, advantage, mask } = inputs as { [name: string]: Numbers };
  const [policy, text] = [made.parameter(logProb as Numbers), made.parameter(pretrainLogProb as Numbers)];
  using now = await policy.leaf();
  using said = await text.leaf();
  const entropy = made.tensor(zeros(mask as number[][]));
  const all = (pretrainLogProb as number[][]).map((row) => row.map(() => 1));
  const compared = {
    rolloutLogProb: made.tensor(rolloutLogProb as Numbers),
    advantage: made.tensor(advantage as Numbers),
    responseMask: made.mask(mask as Numbers),
  };
  const plain = {
    rolloutLogProb: made.tensor(pretrainLogProb as Numbers),
    advantage: made.tensor(all),
    responseMask: made.mask(all),
  };
  // Divided by the number of tokens over γ, as a run does it.
  const denominator = flat(all).length / (options.pretrainWeight as number);
  using first = await policyLoss({ logProb: now, entropy }, compared, {});
  using second = await policyLoss({ logProb: said, entropy: made.tensor(zeros(all)) }, plain, {
    kind: 'cispo',
    denominator,
  });
  const [own, added] = [await first.item(), await second.item()];
  expectNumbers(own, metrics.policyLoss as number, made.tolerance, 'policyLoss');
  expectNumbers(own + added, loss, made.tolerance, 'loss');
  for (const [part, name, parameter] of [
    [first, 'logProb', policy],
    [second, 'pretrainLogProb', text],
  ] as const) {
    await part.backward();
    expectNumbers(await gradientOf(parameter), flat(gradient[name] as Numbers), made.tolerance, name);
  }
}

goldenCases(
  'ppo-extras',
  async (one, made) => {
    const { inputs, options, expected } = one;
    if (options.pretrainWeight !== undefined) return await checkPretraining(one, made);
    const [check] = Object.keys(expected).flatMap((name) => CHECKS[name] ?? []);
    if (check) return await check(one, made);
    const { dense, logRatio, score, mask } = inputs as { [name: string]: Numbers };
    const rows = mask as number[][];
    const rollout = { ...rolloutOf(logRatio as number[][], rows, made), rolloutValue: made.tensor(zeros(rows)) };
    const chosen = { klWeight: options.klWeight as number, gamma: 1, lambda: 1, whiten: false };
    using found = await judge(rollout, made.tensor(score as Numbers), {
      ...chosen,
      dense: made.tensor(dense as Numbers),
    });
    const reward = Array.from(await found.reward.data(), Number);
    expectNumbers(reward, flat(expected.reward as Numbers), made.tolerance, 'reward');
  },
  EXTRAS,
);

goldenCases(
  'whiten',
  async ({ inputs, expected }, made) => {
    using found = await whiten(made.tensor(inputs.x as Numbers), made.mask(inputs.mask as Numbers));
    const wanted = flat(expected.whitened as Numbers);
    expectNumbers(Array.from(await found.data(), Number), wanted, made.tolerance, 'whitened');
  },
  { 'verl and trl: unbiased, + 1e-8': VERL_WHITENING, 'without shifting the mean': VERL_WHITENING },
);
