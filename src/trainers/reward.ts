/**
 * Training a reward model on pairs of responses, one preferred (Bradley & Terry 1952; Ouyang et al. 2022). docs/reward-model.md
 * has the formulas.
 */
import { type RewardConfig, rewardConfig } from '../config/reward.ts';
import { parseKnown } from '../config/schema.ts';
import type { Preference } from '../data/preferences.ts';
import { padRight } from '../data/prompts.ts';
import { deriveSeed } from '../data/random.ts';
import { Mean } from '../metrics/mean.ts';
import { checkKind, checkKinds, COUNT, instanceOf } from '../checks/kinds.ts';
import { checkInteger } from '../checks/options.ts';
import { type RankingMetrics, RewardModel } from '../models/reward-model.ts';
import { ArgumentError } from '../errors.ts';
import { Tensor, useDeterministic } from '../tensor/tensor.ts';
import { MicroBatch } from './out-of-memory.ts';
import { checkPairs, PAIR_PARTS, type PairParts, type PairStep, pairSteps, tokensOf } from './pairs.ts';
import { itemsAt, PAIRS } from './parts.ts';
import { learningRate, rewardSchedule, skipsAllowed } from './schedule.ts';
import { statisticsOf } from './score-norm.ts';
import { PADDING, scoresOfModel } from './rewards.ts';
import { type Piece, update } from './update.ts';

/** The parts of a reward-model run. They hold all mutable training state, so saving them and the step number saves the run. */
export interface RewardParts extends PairParts {
  /** Trained by `optimizer`. */
  rewardModel: RewardModel;
}

const PARTS = {
  rewardModel: instanceOf(RewardModel),
  ...PAIR_PARTS,
};

/** The metrics of a step. Loss, accuracy and margin are those of its pairs before the update. */
export interface RewardStep extends PairStep {
  /** −log of the predicted probability that the chosen response is the better one, averaged over pairs. */
  loss: number;
  /** Share of pairs whose chosen response has the higher score. */
  accuracy: number;
  /** Score of the chosen response minus that of the rejected one, averaged over pairs. */
  margin: number;
}

/** The number of steps that `epochs` passes over `pairs` pairs take. */
export function rewardSteps(pairs: number, options: Pick<RewardConfig, 'epochs' | 'batchSize' | 'accumulate'>): number {
  return pairSteps(pairs, options);
}

/**
 * Trains `rewardModel`, which is in eval mode whenever a step is yielded. `start` is the number of steps already done. All
 * native memory of a step is freed before it is yielded. After each evaluation, the model's `statistics` are those of its scores
 * on the held-out answers; after other steps it has none.
 * @throws ArgumentError before the first step, for a token that the model does not have.
 * @throws NumericsError if `config.maxSkippedSteps` consecutive steps are not finite.
 * @throws NumericsError if the last step is not finite.
 */
export async function* reward(parts: RewardParts, options: RewardConfig, start = 0): AsyncGenerator<RewardStep> {
  checkKinds('reward parts', parts, PARTS);
  checkInteger(start, 0, 'start');
  const config = parseKnown(rewardConfig, options, 'reward');
  if (config.deterministic) await useDeterministic(true);
  const { rewardModel, optimizer, pairs, batches, validation = [] } = parts;
  checkPairs(pairs, rewardModel.model, 'pairs');
  checkPairs(validation, rewardModel.model, 'validation');
  const steps = rewardSteps(pairs.length, config);
  const schedule = rewardSchedule(rewardModel, steps, config);
  if (start >= steps) await noteStatistics(rewardModel, validation, config.batchSize);
  const microBatch = new MicroBatch(config.batchSize);
  for (let step = start; step < steps; step++) {
    const began = performance.now();
    optimizer.learningRate = learningRate(step, schedule);
    rewardModel.statistics = undefined; // statistics of earlier weights

    const all = Array.from({ length: config.accumulate }, () => itemsAt(pairs, batches.next(), 'pairs'));
    const tokens = all.flat().reduce((sum, pair) => sum + tokensOf(pair), 0);
    const { loss, pieces, gradNorm, skipped } = await update(
      { optimizer, microBatch },
      all,
      {
        denominator: config.accumulate * config.batchSize,
        maxGradNorm: config.maxGradNorm,
        maxSkipped: skipsAllowed(step, steps, config),
        begin: () => config.dropout > 0 && rewardModel.train({ seed: deriveSeed(config.seed, step) }),
      },
      async (piece, denominator) => {
        const { rows, order } = compare(piece);
        using sequences = Tensor.from(rows.tokens, { shape: rows.shape });
        return await rewardModel.rankingLoss(sequences, { ...order, denominator });
      },
    );
    if (rewardModel.training) rewardModel.eval();

    const seconds = (performance.now() - began) / 1000;
    const done = step + 1;
    const evaluates = validation.length > 0 && (done % config.evaluateEvery === 0 || done === steps);
    const held = evaluates ? await evaluatePairs(rewardModel, validation, config.batchSize) : undefined;
    if (evaluates) await noteStatistics(rewardModel, validation, config.batchSize); // saved with this step
    yield {
      step: done,
      loss,
      ...meansOf(pieces, config.batchSize),
      validationLoss: held?.loss,
      validationAccuracy: held?.accuracy,
      gradNorm,
      learningRate: optimizer.learningRate,
      skipped: skipped ? 1 : undefined,
      microBatch: microBatch.reduced,
      timing: { seconds, tokensPerSecond: tokens / seconds },
    };
  }
}

/** Sets the model's statistics to those of its scores on all answers in `pairs`, if there are any. */
async function noteStatistics(rewardModel: RewardModel, pairs: readonly Preference[], size: number): Promise<void> {
  rewardModel.statistics = undefined;
  if (pairs.length === 0) return;
  const answers = pairs.flatMap(({ prompt, chosen, rejected }) => {
    return [chosen, rejected].map((response) => ({ prompt, response }));
  });
  rewardModel.statistics = statisticsOf(await scoresOfModel(rewardModel, answers, { size }));
}

/** Means over the pairs of a step. */
function meansOf(pieces: readonly Piece<keyof RankingMetrics>[], batchSize: number): RankingMetrics {
  const means = new Mean<keyof RankingMetrics>();
  for (const { rows, metrics } of pieces) means.add(metrics, rows / batchSize);
  return means.result();
}

/**
 * Loss and accuracy of `rewardModel` on all `pairs`, `batchSize` at a time.
 * @throws ArgumentError if there are no pairs.
 */
export async function evaluatePairs(
  rewardModel: RewardModel,
  pairs: readonly Preference[],
  batchSize: number,
): Promise<{ loss: number; accuracy: number }> {
  checkKind('rewardModel', rewardModel, PARTS.rewardModel);
  checkKind('pairs', pairs, PAIRS);
  checkKind('batchSize', batchSize, COUNT);
  if (pairs.length === 0) throw new ArgumentError({ argument: 'pairs', received: 'none', expected: 'at least one' });
  let loss = 0;
  let accuracy = 0;
  for (let begin = 0; begin < pairs.length; begin += batchSize) {
    const batch = pairs.slice(begin, begin + batchSize);
    const { rows, order } = compare(batch);
    using sequences = Tensor.from(rows.tokens, { shape: rows.shape });
    using sum = await rewardModel.rankingLoss(sequences, { ...order, denominator: 1, grad: false });
    loss += await sum.item();
    accuracy += (await sum.metrics()).accuracy * batch.length;
  }
  return { loss: loss / pairs.length, accuracy: accuracy / pairs.length };
}

/** Pairs as rows, chosen before rejected, with the options that `rankingLoss` needs. */
function compare(pairs: readonly Preference[]) {
  const rows = padRight(
    pairs.flatMap(({ prompt, chosen, rejected }) => [
      [...prompt, ...chosen],
      [...prompt, ...rejected],
    ]),
    PADDING,
  );
  const order = {
    groups: pairs.flatMap((_, group) => [group, group]),
    ranks: pairs.flatMap(() => [0, 1]),
    promptLengths: pairs.flatMap(({ prompt }) => [prompt.length, prompt.length]),
    lengths: rows.lengths,
  };
  return { rows, order };
}
