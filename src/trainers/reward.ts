/**
 * Training a reward model on compared responses (Bradley & Terry 1952; Ouyang et al. 2022). docs/reward-model.md has the formulas.
 */
import { type RewardConfig, rewardConfig } from '../config/reward.ts';
import { parseKnown } from '../config/schema.ts';
import type { Completion } from '../data/completions.ts';
import type { Preference } from '../data/preferences.ts';
import type { Ranking } from '../data/rankings.ts';
import { deriveSeed } from '../data/random.ts';
import { checkKinds, instanceOf, optional } from '../checks/kinds.ts';
import { Mean } from '../metrics/mean.ts';
import { checkInteger } from '../checks/options.ts';
import { type RankingMetrics, RewardModel } from '../models/reward-model.ts';
import { useDeterministic } from '../tensor/tensor.ts';
import {
  checkRankings,
  COMPARISONS,
  comparisonLoss,
  type Evaluation,
  evaluateRankings,
  rankingsOf,
  tokensOf,
} from './comparisons.ts';
import { MicroBatch } from './out-of-memory.ts';
import { PAIR_PARTS, type PairParts, type PairStep, pairSteps } from './pairs.ts';
import { COMPLETIONS, itemsAt } from './parts.ts';
import { learningRate, rewardSchedule, skipsAllowed } from './schedule.ts';
import { statisticsOf } from './score-norm.ts';
import { scoresOfModel } from './rewards.ts';
import { type Piece, update } from './update.ts';

export { evaluatePairs } from './comparisons.ts';

/** The parts of a reward-model run. They hold all mutable training state, so saving them and the step number saves the run. */
export interface RewardParts extends Omit<PairParts, 'pairs' | 'validation'> {
  /** Trained by `optimizer`. */
  rewardModel: RewardModel;
  /** What is learnt from: pairs, or several ranked responses to each prompt. `batches` selects the next of them. */
  pairs: readonly (Preference | Ranking)[];
  /** Held out; without it there are no validation metrics and no score statistics. */
  validation?: readonly (Preference | Ranking)[] | undefined;
  /** Answers whose mean score becomes 0 at the end, by the model's `shift`; without them there is no shift. */
  references?: readonly Completion[] | undefined;
}

const PARTS = {
  rewardModel: instanceOf(RewardModel),
  ...PAIR_PARTS,
  pairs: COMPARISONS,
  validation: optional(COMPARISONS),
  references: optional(COMPLETIONS),
};

/** The metrics of a step. Loss, accuracy and margin are those of its pairs before the update. */
export interface RewardStep extends PairStep {
  /** −log of the predicted probability that the chosen response is the better one, averaged over pairs. */
  loss: number;
  /** Share of pairs whose chosen response has the higher score; equal scores count half. */
  accuracy: number;
  /** Score of the chosen response minus that of the rejected one, averaged over pairs. */
  margin: number;
  /** On all that is held out, as `validationLoss`; see `Evaluation`. */
  validationEce: number | undefined;
  validationBrier: number | undefined;
  validationKendallTau: number | undefined;
  validationScoreMean: number | undefined;
  validationScoreDeviation: number | undefined;
}

/** The number of steps that `epochs` passes over `pairs` pairs take. */
export function rewardSteps(pairs: number, options: Pick<RewardConfig, 'epochs' | 'batchSize' | 'accumulate'>): number {
  return pairSteps(pairs, options);
}

/**
 * Trains `rewardModel`, which is in eval mode whenever a step is yielded. `start` is the number of steps already done. All
 * native memory of a step is freed before it is yielded. After each evaluation, and after the last step, the model's `shift` makes
 * the mean score of `references` 0, and its `statistics` are those of its scores on the held-out answers; after other steps it has
 * none.
 * @throws ArgumentError before the first step, for a token that the model does not have.
 * @throws NumericsError if `config.maxSkippedSteps` consecutive steps are not finite.
 * @throws NumericsError if the last step is not finite.
 */
export async function* reward(parts: RewardParts, options: RewardConfig, start = 0): AsyncGenerator<RewardStep> {
  checkKinds('reward parts', parts, PARTS);
  checkInteger(start, 0, 'start');
  const config = parseKnown(rewardConfig, options, 'reward');
  if (config.deterministic) await useDeterministic(true);
  const { rewardModel, optimizer, batches, references = [] } = parts;
  const [pairs, validation] = [rankingsOf(parts.pairs), rankingsOf(parts.validation ?? [])];
  checkRankings(parts.pairs, rewardModel.model, config.ranking, 'pairs');
  checkRankings(parts.validation ?? [], rewardModel.model, config.ranking, 'validation');
  const steps = rewardSteps(pairs.length, config);
  const schedule = rewardSchedule(rewardModel, steps, config);
  const finish = () => noteScores(rewardModel, { validation, references }, config.batchSize);
  if (start >= steps) await finish();
  const microBatch = new MicroBatch(config.batchSize);
  for (let step = start; step < steps; step++) {
    const began = performance.now();
    optimizer.learningRate = learningRate(step, schedule);
    forgetScores(rewardModel);

    const all = Array.from({ length: config.accumulate }, () => itemsAt(pairs, batches.next(), 'pairs'));
    const tokens = all.flat().reduce((sum, row) => sum + tokensOf(row), 0);
    const { loss, pieces, gradNorm, skipped } = await update(
      { optimizer, microBatch },
      all,
      {
        denominator: config.accumulate * config.batchSize,
        maxGradNorm: config.maxGradNorm,
        maxSkipped: skipsAllowed(step, steps, config),
        begin: () => config.dropout > 0 && rewardModel.train({ seed: deriveSeed(config.seed, step) }),
      },
      (piece, denominator) => comparisonLoss(rewardModel, piece, config.ranking, denominator),
    );
    if (rewardModel.training) rewardModel.eval();

    const seconds = (performance.now() - began) / 1000;
    const done = step + 1;
    const evaluates = validation.length > 0 && (done % config.evaluateEvery === 0 || done === steps);
    const held = evaluates ? await evaluateRankings(rewardModel, validation, config) : undefined;
    if (evaluates || done === steps) await finish(); // saved with this step
    yield {
      step: done,
      loss,
      ...meansOf(pieces, config.batchSize),
      ...validationMetrics(held),
      gradNorm,
      learningRate: optimizer.learningRate,
      skipped: skipped ? 1 : undefined,
      microBatch: microBatch.reduced,
      timing: { seconds, tokensPerSecond: tokens / seconds },
    };
  }
}

/** An evaluation under the names of a step. */
function validationMetrics(held: Evaluation | undefined) {
  return {
    validationLoss: held?.loss,
    validationAccuracy: held?.accuracy,
    validationEce: held?.ece,
    validationBrier: held?.brier,
    validationKendallTau: held?.kendallTau,
    validationScoreMean: held?.scoreMean,
    validationScoreDeviation: held?.scoreDeviation,
  };
}

/** Drops what was noted of the scores of earlier weights. */
function forgetScores(rewardModel: RewardModel): void {
  rewardModel.statistics = undefined;
  rewardModel.shift = 0;
}

/** Sets the model's shift by the scores of `references`, then its statistics to those of all held-out answers, if there are any. */
async function noteScores(
  rewardModel: RewardModel,
  { validation, references }: { validation: readonly Ranking[]; references: readonly Completion[] },
  size: number,
): Promise<void> {
  forgetScores(rewardModel);
  if (references.length > 0)
    rewardModel.shift = -statisticsOf(await scoresOfModel(rewardModel, references, { size })).mean;
  if (validation.length === 0) return;
  const answers = validation.flatMap(({ prompt, responses }) => responses.map((response) => ({ prompt, response })));
  rewardModel.statistics = statisticsOf(await scoresOfModel(rewardModel, answers, { size }));
}

/** Means over the pairs of a step. */
function meansOf(pieces: readonly Piece<keyof RankingMetrics>[], batchSize: number): RankingMetrics {
  const means = new Mean<keyof RankingMetrics>();
  for (const { rows, metrics } of pieces) means.add(metrics, rows / batchSize);
  return means.result();
}
