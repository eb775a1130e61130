/**
 * Training a reward model on compared responses (Bradley & Terry 1952; Ouyang et al. 2022) or on rated ones. docs/reward-model.md
 * has the formulas.
 */
import { type RewardConfig, rewardConfig } from '../config/reward.ts';
import { parseKnown } from '../config/schema.ts';
import type { Completion } from '../data/completions.ts';
import type { Preference } from '../data/preferences.ts';
import type { Ranking } from '../data/rankings.ts';
import type { RatedResponse } from '../data/ratings.ts';
import { deriveSeed } from '../data/random.ts';
import { ArgumentError } from '../errors.ts';
import { checkKinds, either, instanceOf, type Kind, optional } from '../checks/kinds.ts';
import { checkInteger } from '../checks/options.ts';
import { RewardModel } from '../models/reward-model.ts';
import { useDeterministic } from '../tensor/tensor.ts';
import { rankingObjective, COMPARISONS } from './comparisons.ts';
import type { RewardObjective, RewardValidation } from './reward-objective.ts';
import { MicroBatch } from './out-of-memory.ts';
import { PAIR_PARTS, type PairParts, type PairStep, pairSteps } from './pairs.ts';
import { COMPLETIONS, itemsAt } from './parts.ts';
import { ratingObjective, RATINGS } from './ratings.ts';
import { learningRate, rewardSchedule, skipsAllowed } from './schedule.ts';
import { statisticsOf } from './score-norm.ts';
import { scoresOfModel } from './rewards.ts';
import { update } from './update.ts';

export { evaluatePairs } from './comparisons.ts';

/** Pairs and rankings; or rated responses. */
export type RewardRows = readonly (Preference | Ranking)[] | readonly RatedResponse[];

/** The parts of a reward-model run. They hold all mutable training state, so saving them and the step number saves the run. */
export interface RewardParts extends Omit<PairParts, 'pairs' | 'validation'> {
  /** Trained by `optimizer`. */
  rewardModel: RewardModel;
  /** What is learned from: pairs or several ranked responses to each prompt, or rated responses. `batches` selects the next of them. */
  pairs: RewardRows;
  /** Held out; without it there are no validation metrics and no score statistics. */
  validation?: RewardRows | undefined;
  /** Answers whose mean score becomes 0 at the end, by the model's `shift`; without them there is no shift. */
  references?: readonly Completion[] | undefined;
}

const PARTS = {
  rewardModel: instanceOf(RewardModel),
  ...PAIR_PARTS,
  pairs: either(RATINGS, COMPARISONS),
  validation: optional(either(RATINGS, COMPARISONS)),
  references: optional(COMPLETIONS),
};

/** The metrics of a step. Loss, accuracy and margin are those of its rows before the update. */
export interface RewardStep extends PairStep, RewardValidation {
  /** −log of the predicted probability that the chosen response is the better one, averaged over pairs; or that of ratings. */
  loss: number;
  /** Share of pairs whose chosen response has the higher score; equal scores count half. Undefined for ratings. */
  accuracy: number | undefined;
  /** Score of the chosen response minus that of the rejected one, averaged over pairs. Undefined for ratings. */
  margin: number | undefined;
}

/** The number of steps that `epochs` passes over `pairs` pairs or ratings take. */
export function rewardSteps(pairs: number, options: Pick<RewardConfig, 'epochs' | 'batchSize' | 'accumulate'>): number {
  return pairSteps(pairs, options);
}

/**
 * Trains `rewardModel`, which is in eval mode whenever a step is yielded. `start` is the number of steps already done. All
 * native memory of a step is freed before it is yielded. After each evaluation, and after the last step, the model's `shift` makes
 * the mean score of `references` 0, and its `statistics` are those of its scores on the held-out answers; after other steps it has
 * none. Trained on ratings, it also shifts scores into their unit, unless there are references.
 * @throws ArgumentError before the first step, for a token that the model does not have, or a rating that it cannot learn.
 * @throws NumericsError if `config.maxSkippedSteps` consecutive steps are not finite.
 * @throws NumericsError if the last step is not finite.
 */
export async function* reward(parts: RewardParts, options: RewardConfig, start = 0): AsyncGenerator<RewardStep> {
  checkKinds('reward parts', parts, PARTS);
  checkInteger(start, 0, 'start');
  const config = parseKnown(rewardConfig, options, 'reward');
  if (config.deterministic) await useDeterministic(true);
  if (RATINGS.is(parts.pairs)) {
    const { pairs, validation = [] } = parts as RewardParts & { pairs: RatedResponse[]; validation?: RatedResponse[] };
    checkSame(validation, RATINGS, 'rated responses, as the training rows are');
    return yield* learn(parts, ratingObjective(parts.rewardModel, { rows: pairs, validation }, config), config, start);
  }
  const { pairs, validation = [] } = parts as RewardParts & { pairs: Preference[]; validation?: Preference[] };
  checkSame(validation, COMPARISONS, 'pairs or rankings, as the training rows are');
  yield* learn(parts, rankingObjective(parts.rewardModel, { rows: pairs, validation }, config), config, start);
}

/** @throws ArgumentError for held-out rows that are not of the kind of the others. */
function checkSame(validation: readonly unknown[], kind: Kind, expected: string): void {
  if (validation.length === 0 || kind.is(validation)) return;
  throw new ArgumentError({ argument: 'validation', received: 'rows of another kind', expected });
}

/** Training on the rows of an objective, whatever they are. */
async function* learn<Row, Name extends string>(
  { rewardModel, optimizer, batches, references = [] }: RewardParts,
  objective: RewardObjective<Row, Name>,
  config: RewardConfig,
  start: number,
): AsyncGenerator<RewardStep> {
  const steps = rewardSteps(objective.rows.length, config);
  const schedule = rewardSchedule(rewardModel, steps, config);
  const finish = () => noteScores(rewardModel, objective, references, config.batchSize);
  if (start >= steps) await finish();
  const microBatch = new MicroBatch(config.batchSize);
  for (let step = start; step < steps; step++) {
    const began = performance.now();
    optimizer.learningRate = learningRate(step, schedule);
    forgetScores(rewardModel);

    const all = Array.from({ length: config.accumulate }, () => itemsAt(objective.rows, batches.next(), 'pairs'));
    const tokens = all.flat().reduce((sum, row) => sum + objective.tokensOf(row), 0);
    const { loss, pieces, gradNorm, skipped } = await update<Row, Name>(
      { optimizer, microBatch },
      all,
      {
        denominator: config.accumulate * config.batchSize,
        maxGradNorm: config.maxGradNorm,
        maxSkipped: skipsAllowed(step, steps, config),
        begin: () => config.dropout > 0 && rewardModel.train({ seed: deriveSeed(config.seed, step) }),
      },
      objective.lossOf,
    );
    if (rewardModel.training) rewardModel.eval();

    const seconds = (performance.now() - began) / 1000;
    const done = step + 1;
    const evaluates = objective.heldOut.length > 0 && (done % config.evaluateEvery === 0 || done === steps);
    const held = evaluates ? await objective.evaluate() : NOTHING_HELD_OUT;
    if (evaluates || done === steps) await finish(); // saved with this step
    yield {
      step: done,
      loss,
      ...objective.means(pieces),
      ...held,
      gradNorm,
      learningRate: optimizer.learningRate,
      skipped: skipped ? 1 : undefined,
      microBatch: microBatch.reduced,
      timing: { seconds, tokensPerSecond: tokens / seconds },
    };
  }
}

const NOTHING_HELD_OUT: RewardValidation = {
  validationLoss: undefined,
  validationAccuracy: undefined,
  validationEce: undefined,
  validationBrier: undefined,
  validationError: undefined,
  validationKendallTau: undefined,
  validationScoreMean: undefined,
  validationScoreDeviation: undefined,
};

/** Drops what was noted of the scores of earlier weights. */
function forgetScores(rewardModel: RewardModel): void {
  rewardModel.statistics = undefined;
  rewardModel.shift = 0;
}

/** Sets the model's shift, by the scores of `references` if there are any, then its statistics to those of all held-out answers. */
async function noteScores(
  rewardModel: RewardModel,
  { heldOut, shift }: Pick<RewardObjective<unknown>, 'heldOut' | 'shift'>,
  references: readonly Completion[],
  size: number,
): Promise<void> {
  forgetScores(rewardModel);
  rewardModel.shift =
    references.length > 0 ? -statisticsOf(await scoresOfModel(rewardModel, references, { size })).mean : shift;
  if (heldOut.length > 0) rewardModel.statistics = statisticsOf(await scoresOfModel(rewardModel, heldOut, { size }));
}
