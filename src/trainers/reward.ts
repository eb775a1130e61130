/**
 * Training a reward model on pairs of responses, one preferred (Bradley & Terry 1952; Ouyang et al. 2022). docs/reward-model.md
 * has the formulas.
 */
import { type RewardConfig, rewardConfig } from '../config/reward.ts';
import { parseKnown } from '../config/schema.ts';
import type { Batches } from '../data/batches.ts';
import type { Preference } from '../data/preferences.ts';
import { padRight } from '../data/prompts.ts';
import { deriveSeed } from '../data/random.ts';
import { Mean } from '../metrics/mean.ts';
import { checkKind, checkKinds, COUNT, instanceOf, optional } from '../checks/kinds.ts';
import { checkInteger } from '../checks/options.ts';
import { Optimizer } from '../optim.ts';
import { type RankingMetrics, RewardModel } from '../models/reward-model.ts';
import { ArgumentError } from '../errors.ts';
import { Tensor, useDeterministic } from '../tensor/tensor.ts';
import { MicroBatch } from './out-of-memory.ts';
import { checkPairs, pairSteps, tokensOf } from './pairs.ts';
import { BATCHES, itemsAt, PAIRS } from './parts.ts';
import { learningRate, rewardSchedule, skipsAllowed } from './schedule.ts';
import { statisticsOf } from './score-norm.ts';
import { PADDING, scoresOfModel } from './rewards.ts';
import { type Piece, update } from './update.ts';

/** What the training works with. All that it changes is in here, so saving these and the step number saves the run. */
export interface RewardParts {
  rewardModel: RewardModel;
  /** Over `rewardModel.parameters()`. */
  optimizer: Optimizer;
  /** The pairs to learn from. */
  pairs: readonly Preference[];
  /** Which of `pairs` come next, `config.batchSize` at a time. */
  batches: Batches;
  /** Held-out pairs; without any there are no validation metrics. */
  validation?: readonly Preference[] | undefined;
}

const PARTS = {
  rewardModel: instanceOf(RewardModel),
  optimizer: instanceOf(Optimizer),
  pairs: PAIRS,
  batches: BATCHES,
  validation: optional(PAIRS),
};

/** What a step tells. The first three are of the pairs that it learned from, before it did. */
export interface RewardStep {
  /** Steps done, from 1. */
  step: number;
  /** −log of the probability that the chosen response is the better one. */
  loss: number;
  /** Share of pairs whose chosen response has the higher score. */
  accuracy: number;
  /** Mean difference of the two scores. */
  margin: number;
  /** Loss and accuracy on all held-out pairs, every `evaluateEvery` steps and after the last. */
  validationLoss: number | undefined;
  validationAccuracy: number | undefined;
  /** Norm of the gradient before clipping. */
  gradNorm: number;
  learningRate: number;
  /** 1 where the loss or the gradient was not finite: nothing moved then. */
  skipped: 1 | undefined;
  /** Pairs that were read at once, where memory did not suffice for `batchSize` of them. */
  microBatch: number | undefined;
  /** `tokensPerSecond` counts no padding. */
  timing: { seconds: number; tokensPerSecond: number };
}

/** How many steps `epochs` passes over `pairs` pairs take. */
export function rewardSteps(pairs: number, options: Pick<RewardConfig, 'epochs' | 'batchSize' | 'accumulate'>): number {
  return pairSteps(pairs, options);
}

/**
 * Trains `rewardModel` and leaves it in eval mode at every step. `start` is the number of steps already done. Nothing of a
 * step stays in native memory while the caller looks at it. After the last step the model's `statistics` are those of its
 * scores on the held-out answers.
 * @throws ArgumentError before the first step for a token that the model does not have, NumericsError after
 * `config.maxSkippedSteps` steps in a row that were not finite, or where the last one is not.
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
  rewardModel.statistics = undefined; // they were those of other weights
  if (start >= steps) await noteStatistics(rewardModel, validation, config.batchSize);
  const microBatch = new MicroBatch(config.batchSize);
  for (let step = start; step < steps; step++) {
    const began = performance.now();
    optimizer.learningRate = learningRate(step, schedule);

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
    if (done === steps) await noteStatistics(rewardModel, validation, config.batchSize); // saved with the last step
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

/** Gives the model mean and deviation of its scores of all answers in `pairs`, if there are any. */
async function noteStatistics(rewardModel: RewardModel, pairs: readonly Preference[], size: number): Promise<void> {
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
 * @throws ArgumentError where there are none.
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

/** Pairs as rows, chosen before rejected, with what `rankingLoss` wants to know of them. */
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
