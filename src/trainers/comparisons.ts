/** Compared responses as reward models read them: the loss of some, and what scores of all say. */
import type { RewardConfig } from '../config/reward.ts';
import { checkKind, COUNT, instanceOf, type Kind } from '../checks/kinds.ts';
import type { Preference } from '../data/preferences.ts';
import { padRight } from '../data/prompts.ts';
import { asRanking, type Ranking } from '../data/rankings.ts';
import { ArgumentError } from '../errors.ts';
import { rankingLoss } from '../losses/reward.ts';
import { type Calibration, calibrationOf, kendallTauB } from '../metrics/calibration.ts';
import { Mean } from '../metrics/mean.ts';
import type { LanguageModel } from '../models/language-model.ts';
import { type RankingMetrics, type RankingOptions, RewardModel } from '../models/reward-model.ts';
import { Tensor } from '../tensor/tensor.ts';
import { checkTokens } from './check-tokens.ts';
import type { RewardObjective, RewardValidation } from './reward-objective.ts';
import { PAIRS } from './parts.ts';
import { PADDING } from './rewards.ts';
import { chunks } from './rollouts.ts';
import { statisticsOf } from './score-norm.ts';
import type { Piece } from './update.ts';

export const COMPARISONS: Kind = {
  is: (value) => Array.isArray(value) && value.every((row) => PAIRS.is([row]) || isRanking(row)),
  words: `${PAIRS.words}, or { prompt, responses, rank }`,
};

type RankingConfig = RewardConfig['ranking'];

/** Pairs and rankings in the form of rankings. */
function rankingsOf(rows: readonly (Preference | Ranking)[]): Ranking[] {
  return rows.map(asRanking);
}

/** @throws ArgumentError for the first row with a token that `model` does not have, or with nothing to compare. */
function checkRankings(
  rows: readonly (Preference | Ranking)[],
  model: LanguageModel,
  { model: kind, ties, anchorWeight }: Pick<RankingConfig, 'model' | 'ties' | 'anchorWeight'>,
  argument: string,
): void {
  const refuse = (row: number, received: string, expected: string): never => {
    throw new ArgumentError({ argument: `${argument}[${row}]`, received, expected });
  };
  const orders = kind === 'plackett-luce';
  for (const [row, given] of rows.entries()) {
    const { prompt, responses, rank, margin, noneGood } = asRanking(given);
    const nameOf = (i: number) => ('chosen' in given ? (['chosen', 'rejected'][i] as string) : `responses[${i}]`);
    checkTokens(prompt, model.decoder.numTokens, (t) => `${argument}[${row}].prompt[${t}]`);
    for (const [i, response] of responses.entries())
      checkTokens(response, model.decoder.numTokens, (t) => `${argument}[${row}].${nameOf(i)}[${t}]`);
    if (prompt.length + Math.min(...responses.map(({ length }) => length)) === 0)
      refuse(row, 'no tokens to compare', 'a token in the prompt, or in every response');
    const different = new Set(rank).size;
    if (different === 1 && ties === 'drop' && anchorWeight === 0) refuse(row, 'nothing but ties', 'different ranks');
    if (orders && different < rank.length) refuse(row, 'equal ranks', 'a full order, for plackett-luce');
    if (orders && margin !== undefined) refuse(row, 'a margin', 'none, because plackett-luce does not use it');
    if (noneGood !== undefined && noneGood && anchorWeight === 0)
      refuse(row, 'noneGood', 'no such row, unless ranking.anchorWeight is above 0');
  }
}

/** Pairs and rankings, by the loss that `ranking` describes. */
export function rankingObjective(
  rewardModel: RewardModel,
  { rows, validation }: { rows: readonly (Preference | Ranking)[]; validation: readonly (Preference | Ranking)[] },
  config: Pick<RewardConfig, 'ranking' | 'batchSize'>,
): RewardObjective<Ranking, keyof RankingMetrics> {
  checkRankings(rows, rewardModel.model, config.ranking, 'pairs');
  checkRankings(validation, rewardModel.model, config.ranking, 'validation');
  const held = rankingsOf(validation);
  return {
    rows: rankingsOf(rows),
    tokensOf,
    lossOf: (some, denominator) => comparisonLoss(rewardModel, some, config.ranking, denominator),
    means: (pieces) => meansOf(pieces, config.batchSize),
    evaluate: async () => validationMetrics(await evaluateRankings(rewardModel, held, config)),
    heldOut: held.flatMap(({ prompt, responses }) => responses.map((response) => ({ prompt, response }))),
    shift: 0,
  };
}

/** Means over the pairs of a step. */
function meansOf(pieces: readonly Piece<keyof RankingMetrics>[], batchSize: number): RankingMetrics {
  const means = new Mean<keyof RankingMetrics>();
  for (const { rows, metrics } of pieces) means.add(metrics, rows / batchSize);
  return means.result();
}

/** An evaluation under the names of a step. */
function validationMetrics(held: Evaluation): RewardValidation {
  return {
    validationLoss: held.loss,
    validationAccuracy: held.accuracy,
    validationEce: held.ece,
    validationBrier: held.brier,
    validationError: undefined,
    validationKendallTau: held.kendallTau,
    validationScoreMean: held.scoreMean,
    validationScoreDeviation: held.scoreDeviation,
  };
}

/** The ranking loss of some rows, divided by `denominator`. */
async function comparisonLoss(
  rewardModel: RewardModel,
  some: readonly Ranking[],
  ranking: RankingConfig,
  denominator: number,
) {
  const { tokens, positions, order } = arranged(some);
  using sequences = Tensor.from(tokens.tokens, { shape: tokens.shape });
  const options = rankingOptions(some, ranking);
  return await rewardModel.rankingLoss(sequences, { ...positions, ...order, ranking: options, denominator });
}

/** What scores of compared responses say, over all of them. */
export interface Evaluation {
  /** The ranking loss, averaged over prompts. */
  loss: number;
  /** Share of pairs in the right order, averaged over prompts; equal scores count half. */
  accuracy: number;
  /** Expected calibration error and Brier score of the predicted probabilities, over all pairs; undefined if all are ties. */
  ece: number | undefined;
  brier: number | undefined;
  /** Kendall's τ_b of scores and ranks, averaged over the prompts that have one; undefined if none has. */
  kendallTau: number | undefined;
  /** Mean and standard deviation of the scores. */
  scoreMean: number;
  scoreDeviation: number;
}

/**
 * Evaluates `rewardModel` on all `pairs`, `batchSize` at a time.
 * @throws ArgumentError if there are none.
 */
export async function evaluatePairs(
  rewardModel: RewardModel,
  pairs: readonly (Preference | Ranking)[],
  batchSize: number,
): Promise<Evaluation> {
  checkKind('rewardModel', rewardModel, instanceOf(RewardModel));
  checkKind('pairs', pairs, COMPARISONS);
  checkKind('batchSize', batchSize, COUNT);
  if (pairs.length === 0) throw new ArgumentError({ argument: 'pairs', received: 'none', expected: 'at least one' });
  return await evaluateRankings(rewardModel, rankingsOf(pairs), { batchSize });
}

/** The same for at least one ranking, with the loss that `ranking` describes. */
async function evaluateRankings(
  rewardModel: RewardModel,
  rows: readonly Ranking[],
  { batchSize, ranking }: { batchSize: number; ranking?: RankingConfig },
): Promise<Evaluation> {
  let loss = 0;
  let accuracy = 0;
  const scores: number[] = [];
  for (const some of chunks(rows, batchSize)) {
    const { tokens, positions, order } = arranged(some);
    using sequences = Tensor.from(tokens.tokens, { shape: tokens.shape });
    using score = await rewardModel.score(sequences, positions);
    using sum = await rankingLoss(score, { ...order, denominator: 1 }, ranking && rankingOptions(some, ranking));
    loss += await sum.item();
    accuracy += (await sum.metrics()).accuracy * some.length;
    scores.push(...Array.from(await score.data(), Number));
  }
  const { mean: scoreMean, deviation: scoreDeviation } = statisticsOf(scores);
  const about = { loss: loss / rows.length, accuracy: accuracy / rows.length, scoreMean, scoreDeviation };
  return { ...about, ...orderOf(rows, scores) };
}

/** How well scores, in the order of the responses, order them. */
function orderOf(rows: readonly Ranking[], scores: readonly number[]) {
  const gaps: number[] = [];
  const taus: number[] = [];
  let first = 0;
  for (const { rank: ranks } of rows) {
    const own = scores.slice(first, first + ranks.length);
    first += ranks.length;
    const tau = kendallTauB(own, ranks);
    if (tau !== undefined) taus.push(tau);
    for (const [i, rank] of ranks.entries())
      for (const [j, other] of ranks.entries()) if (rank < other) gaps.push((own[i] as number) - (own[j] as number));
  }
  const kendallTau = taus.length === 0 ? undefined : taus.reduce((sum, tau) => sum + tau, 0) / taus.length;
  const { ece, brier }: Partial<Calibration> = gaps.length === 0 ? {} : calibrationOf(gaps);
  return { ece, brier, kendallTau };
}

/** All responses as rows, those to a prompt in their order, with the options that scores and losses need. */
function arranged(some: readonly Ranking[]) {
  const prompts = some.flatMap(({ prompt, responses }) => responses.map(() => prompt));
  const responses = some.flatMap((row) => row.responses);
  const tokens = padRight(
    responses.map((response, i) => [...(prompts[i] as number[]), ...response]),
    PADDING,
  );
  return {
    tokens,
    positions: { promptLengths: prompts.map(({ length }) => length), lengths: tokens.lengths },
    order: {
      groups: some.flatMap(({ responses }, group) => responses.map(() => group)),
      ranks: some.flatMap(({ rank }) => [...rank]),
    },
  };
}

/** The options of the loss, with what these rows say; weights of 0 are left out. */
function rankingOptions(some: readonly Ranking[], config: RankingConfig): RankingOptions {
  const { model, ties, tieWidth, labelSmoothing, centerWeight, l2Weight, anchorWeight } = config;
  const each = <T>(of: (row: Ranking) => T) => some.flatMap((row) => row.responses.map(() => of(row)));
  const orders = model === 'plackett-luce';
  return {
    model,
    ties: orders && ties === 'drop' ? undefined : ties,
    tieWidth,
    margins: some.some(({ margin }) => margin !== undefined) ? each(({ margin = 0 }) => margin) : undefined,
    labelSmoothing: labelSmoothing || undefined,
    centerWeight: centerWeight || undefined,
    l2Weight: l2Weight || undefined,
    anchorWeight: anchorWeight || undefined,
    noneGood: anchorWeight > 0 ? each(({ noneGood = false }) => noneGood) : undefined,
  };
}

/** Number of tokens in all responses, each with the prompt. */
function tokensOf({ prompt, responses }: Ranking): number {
  return responses.reduce((sum, { length }) => sum + prompt.length + length, 0);
}

function isRanking(value: unknown): boolean {
  const { prompt, responses, rank } = Object(value) as Record<string, unknown>;
  const lists = Array.isArray(responses) && Array.isArray(rank) && responses.every(Array.isArray);
  return Array.isArray(prompt) && lists && responses.length >= 2 && responses.length === rank.length;
}
