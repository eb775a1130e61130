/** Rated responses as reward models learn them: the loss of some, and how far scores of all are off. */
import type { RewardConfig } from '../config/reward.ts';
import type { Kind } from '../checks/kinds.ts';
import { padRight } from '../data/prompts.ts';
import type { RatedResponse } from '../data/ratings.ts';
import { ArgumentError, printable } from '../errors.ts';
import { kendallTauB } from '../metrics/calibration.ts';
import type { RewardModel } from '../models/reward-model.ts';
import { Tensor } from '../tensor/tensor.ts';
import { checkTokens } from './check-tokens.ts';
import type { RewardObjective, RewardValidation } from './reward-objective.ts';
import { PADDING } from './rewards.ts';
import { chunks } from './rollouts.ts';
import { statisticsOf } from './score-norm.ts';

export const RATINGS: Kind = {
  is: (value) => Array.isArray(value) && value.length > 0 && value.every(isRated),
  words: 'an array of { prompt, response, rating }: two arrays of token ids, and a number',
};

type Options = Pick<RewardConfig, 'rating' | 'batchSize'>;

/**
 * Ratings as numbers, or as classes of a model with bins. What a number is learned as is its distance from the mean of `rows`, which
 * becomes the model's shift: so scores are in the unit of the ratings, and training need not first find their middle.
 */
export function ratingObjective(
  rewardModel: RewardModel,
  { rows, validation }: { rows: readonly RatedResponse[]; validation: readonly RatedResponse[] },
  { rating, batchSize }: Options,
): RewardObjective<RatedResponse, never> {
  checkBins(rewardModel, rating);
  checkRated(rows, rewardModel, rating, 'pairs');
  checkRated(validation, rewardModel, rating, 'validation');
  const shift = rating.bins === undefined ? statisticsOf(rows.map((row) => row.rating)).mean : lowestOf(rating);
  return {
    rows,
    tokensOf: ({ prompt, response }) => prompt.length + response.length,
    lossOf: (some, denominator) => lossOf(rewardModel, some, { shift, denominator, grad: true }),
    means: () => ({ accuracy: undefined, margin: undefined }),
    evaluate: () => evaluate(rewardModel, validation, { shift, batchSize }),
    heldOut: validation,
    shift,
  };
}

/** The lowest rating of a model with bins. */
export function lowestOf({ lowest = 1 }: RewardConfig['rating']): number {
  return lowest;
}

/** What a rating must be. */
export function expectedRating(config: RewardConfig['rating']): string {
  const lowest = lowestOf(config);
  return config.bins === undefined ? 'a finite number' : `a whole number from ${lowest} to ${lowest + config.bins - 1}`;
}

/** Whether a model can learn such a rating. */
export function isRating(rating: number, config: RewardConfig['rating']): boolean {
  if (config.bins === undefined) return Number.isFinite(Math.fround(rating));
  const place = rating - lowestOf(config);
  return Number.isInteger(place) && place >= 0 && place < config.bins;
}

function checkBins({ numBins }: RewardModel, { bins }: RewardConfig['rating']): void {
  if (numBins === bins) return;
  const received = bins === undefined ? 'no bins' : `${bins} bins`;
  const expected = numBins === undefined ? 'none, as the reward model has none' : `${numBins}, as the reward model has`;
  throw new ArgumentError({
    argument: 'rating.bins',
    received,
    expected,
    fix: 'Set it to numBins of the reward model.',
  });
}

/** @throws ArgumentError for the first row with a token that the model does not have, with none, or with a bad rating. */
function checkRated(
  rows: readonly RatedResponse[],
  { model }: RewardModel,
  config: RewardConfig['rating'],
  argument: string,
): void {
  for (const [row, { prompt, response, rating }] of rows.entries()) {
    const place = `${argument}[${row}]`;
    checkTokens(prompt, model.decoder.numTokens, (t) => `${place}.prompt[${t}]`);
    checkTokens(response, model.decoder.numTokens, (t) => `${place}.response[${t}]`);
    if (prompt.length + response.length === 0)
      throw new ArgumentError({ argument: place, received: 'no tokens', expected: 'a prompt or a response' });
    if (isRating(rating, config)) continue;
    const expected = expectedRating(config);
    throw new ArgumentError({ argument: `${place}.rating`, received: printable(rating), expected });
  }
}

/** The squared error or, with bins, the cross entropy of some rows. */
async function lossOf(
  rewardModel: RewardModel,
  some: readonly RatedResponse[],
  { shift, ...options }: { shift: number; denominator: number; grad: boolean },
): Promise<Tensor> {
  const { tokens, positions } = arranged(some);
  using sequences = Tensor.from(tokens.tokens, { shape: tokens.shape });
  const places = some.map(({ rating }) => rating - shift);
  if (rewardModel.numBins === undefined)
    return await rewardModel.loss(sequences, { ...positions, ...options, labels: places });
  const ratings = places.map((place) => place + 1); // the model counts them from 1
  return await rewardModel.loss(sequences, { ...positions, ...options, ratings });
}

/** Loss and errors on all `rows`, `batchSize` at a time, of a model whose own shift is 0. */
async function evaluate(
  rewardModel: RewardModel,
  rows: readonly RatedResponse[],
  { shift, batchSize }: { shift: number; batchSize: number },
): Promise<RewardValidation> {
  let loss = 0;
  const scores: number[] = [];
  for (const some of chunks(rows, batchSize)) {
    const { tokens, positions } = arranged(some);
    using sequences = Tensor.from(tokens.tokens, { shape: tokens.shape });
    using score = await rewardModel.score(sequences, positions);
    using sum = await lossOf(rewardModel, some, { shift, denominator: 1, grad: false });
    loss += await sum.item();
    scores.push(...Array.from(await score.data(), Number).map((value) => value + shift));
  }
  const { mean, deviation } = statisticsOf(scores);
  const off = rows.map(({ rating }, i) => Math.abs((scores[i] as number) - rating));
  return {
    validationLoss: loss / rows.length,
    validationAccuracy: undefined,
    validationEce: undefined,
    validationBrier: undefined,
    validationError: off.reduce((sum, value) => sum + value, 0) / rows.length,
    validationKendallTau: kendallTauB(
      scores,
      rows.map(({ rating }) => -rating),
    ),
    validationScoreMean: mean,
    validationScoreDeviation: deviation,
  };
}

/** Rows of tokens with the positions that the model needs. */
function arranged(some: readonly RatedResponse[]) {
  const tokens = padRight(
    some.map(({ prompt, response }) => [...prompt, ...response]),
    PADDING,
  );
  return { tokens, positions: { promptLengths: some.map(({ prompt }) => prompt.length), lengths: tokens.lengths } };
}

function isRated(value: unknown): boolean {
  const { prompt, response, rating } = Object(value) as Record<string, unknown>;
  return Array.isArray(prompt) && Array.isArray(response) && typeof rating === 'number';
}
