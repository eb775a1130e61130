/** Training a reward model on labels of the steps of solutions (Lightman et al. 2023). docs/process-reward.md has the formulas. */
import { type ProcessRewardConfig, processRewardConfig } from '../config/process-reward.ts';
import { parseKnown } from '../config/schema.ts';
import { checkKinds, instanceOf, type Kind, optional } from '../checks/kinds.ts';
import { checkInteger } from '../checks/options.ts';
import type { Batches } from '../data/batches.ts';
import { padRight } from '../data/prompts.ts';
import { deriveSeed } from '../data/random.ts';
import { countLabels, type Solution } from '../data/solutions.ts';
import { ArgumentError } from '../errors.ts';
import { Mean } from '../metrics/mean.ts';
import { RewardModel, type StepLabelMetrics } from '../models/reward-model.ts';
import { Optimizer } from '../optim.ts';
import { Tensor, useDeterministic } from '../tensor/tensor.ts';
import { checkTokens } from './check-tokens.ts';
import { MicroBatch } from './out-of-memory.ts';
import { type PairStep, pairSteps } from './pairs.ts';
import { BATCHES, itemsAt } from './parts.ts';
import { PADDING } from './rewards.ts';
import { chunks } from './rollouts.ts';
import { learningRate, rewardSchedule, skipsAllowed } from './schedule.ts';
import { update } from './update.ts';

/** The parts of a run. They hold all mutable training state, so saving them and the step number saves the run. */
export interface ProcessRewardParts {
  /** Trained by `optimizer`. A model with `pooling: 'last'` scores an answer as it scores its last step. */
  rewardModel: RewardModel;
  optimizer: Optimizer;
  /** The training solutions. */
  solutions: readonly Solution[];
  /** Selects the next of `solutions`, `config.batchSize` at a time. */
  batches: Batches;
  /** Held-out solutions; without them there are no validation metrics. */
  validation?: readonly Solution[] | undefined;
}

const SOLUTIONS: Kind = {
  is: (value) => Array.isArray(value) && value.every(isSolution),
  words: 'an array of { prompt, steps }, each step being { tokens, good }',
};
const PARTS = {
  rewardModel: instanceOf(RewardModel),
  optimizer: instanceOf(Optimizer),
  solutions: SOLUTIONS,
  batches: BATCHES,
  validation: optional(SOLUTIONS),
};

/** The metrics of a step, over its labelled steps before the update. */
export interface ProcessRewardStep extends StepLabelMetrics, PairStep {
  /** Cross entropy, in nats per labelled step. */
  loss: number;
  /** Labelled steps. */
  labels: number;
}

/**
 * Trains `rewardModel`, which is in eval mode whenever a step is yielded. `start` is the number of steps already done. All native
 * memory of a step is freed before it is yielded.
 * @throws ArgumentError before the first step, for a solution without a labelled step, or with a token that the model does not have.
 * @throws NumericsError if `config.maxSkippedSteps` consecutive steps are not finite.
 * @throws NumericsError if the last step is not finite.
 */
export async function* processReward(
  parts: ProcessRewardParts,
  options: ProcessRewardConfig,
  start = 0,
): AsyncGenerator<ProcessRewardStep> {
  checkKinds('processReward parts', parts, PARTS);
  checkInteger(start, 0, 'start');
  const config = parseKnown(processRewardConfig, options, 'process-reward');
  if (config.deterministic) await useDeterministic(true);
  const { rewardModel, optimizer, solutions, batches, validation = [] } = parts;
  checkSolutions(solutions, rewardModel, 'solutions');
  checkSolutions(validation, rewardModel, 'validation');
  const steps = pairSteps(solutions.length, config, 'solutions');
  const schedule = rewardSchedule(rewardModel, steps, config);
  const microBatch = new MicroBatch(config.batchSize);
  for (let step = start; step < steps; step++) {
    const began = performance.now();
    optimizer.learningRate = learningRate(step, schedule);

    const all = Array.from({ length: config.accumulate }, () => itemsAt(solutions, batches.next(), 'solutions'));
    const labels = countLabels(all.flat());
    const { loss, pieces, gradNorm, skipped } = await update(
      { optimizer, microBatch },
      all,
      {
        denominator: labels,
        maxGradNorm: config.maxGradNorm,
        maxSkipped: skipsAllowed(step, steps, config),
        begin: () => config.dropout > 0 && rewardModel.train({ seed: deriveSeed(config.seed, step) }),
      },
      (some, denominator) => lossOf(rewardModel, some, { denominator, grad: true }),
    );
    if (rewardModel.training) rewardModel.eval();

    const seconds = (performance.now() - began) / 1000;
    const done = step + 1;
    const evaluates = validation.length > 0 && (done % config.evaluateEvery === 0 || done === steps);
    const held = evaluates ? await evaluate(rewardModel, validation, config.batchSize) : undefined;
    const metrics = new Mean<keyof StepLabelMetrics>();
    for (const piece of pieces) metrics.add(piece.metrics);
    yield {
      step: done,
      loss,
      ...metrics.sum(),
      labels,
      validationLoss: held?.loss,
      validationAccuracy: held?.accuracy,
      gradNorm,
      learningRate: optimizer.learningRate,
      skipped: skipped ? 1 : undefined,
      microBatch: microBatch.reduced,
      timing: { seconds, tokensPerSecond: all.flat().reduce((sum, row) => sum + sequenceOf(row).length, 0) / seconds },
    };
  }
}

/** The loss of some solutions: labels stand at the last tokens of their steps. */
async function lossOf(
  rewardModel: RewardModel,
  solutions: readonly Solution[],
  options: { denominator: number; grad: boolean },
) {
  const { tokens, shape, lengths } = padRight(solutions.map(sequenceOf), PADDING);
  const labels = new Int32Array(tokens.length).fill(NO_LABEL);
  for (const [row, { prompt, steps }] of solutions.entries()) {
    let end = row * shape[1] + prompt.length;
    for (const step of steps) {
      end += step.tokens.length;
      if (step.good !== null) labels[end - 1] = step.good ? 1 : 0;
    }
  }
  using sequence = Tensor.from(tokens, { shape });
  using targets = Tensor.from(labels, { shape });
  const promptLengths = solutions.map(({ prompt }) => prompt.length);
  return await rewardModel.stepLoss(sequence, { promptLengths, lengths, labels: targets, ...options });
}

const NO_LABEL = -100;

/** Loss and accuracy on all `solutions`, `batchSize` at a time. */
async function evaluate(rewardModel: RewardModel, solutions: readonly Solution[], batchSize: number) {
  let loss = 0;
  let right = 0;
  for (const some of chunks(solutions, batchSize)) {
    using share = await lossOf(rewardModel, some, { denominator: 1, grad: false });
    loss += await share.item();
    right += (await share.metrics()).accuracy;
  }
  const labels = countLabels(solutions);
  return { loss: loss / labels, accuracy: right / labels };
}

/** @throws ArgumentError for the first solution without a label, or with a token that the model does not have. */
function checkSolutions(solutions: readonly Solution[], { model }: RewardModel, argument: string): void {
  for (const [row, solution] of solutions.entries()) {
    checkTokens(solution.prompt, model.decoder.numTokens, (t) => `${argument}[${row}].prompt[${t}]`);
    for (const [i, { tokens }] of solution.steps.entries()) {
      const step = `${argument}[${row}].steps[${i}].tokens`;
      checkTokens(tokens, model.decoder.numTokens, (t) => `${step}[${t}]`);
      if (tokens.length > 0) continue;
      throw new ArgumentError({ argument: step, received: 'no tokens', expected: 'at least one' });
    }
    if (countLabels([solution]) > 0) continue;
    const received = 'no step with a label';
    throw new ArgumentError({ argument: `${argument}[${row}].steps`, received, expected: 'at least one' });
  }
}

function sequenceOf({ prompt, steps }: Solution): number[] {
  return [...prompt, ...steps.flatMap(({ tokens }) => tokens)];
}

function isSolution(value: unknown): boolean {
  const { prompt, steps } = Object(value) as Record<string, unknown>;
  return Array.isArray(prompt) && Array.isArray(steps) && steps.every(isStep);
}

function isStep(value: unknown): boolean {
  const { tokens, good } = Object(value) as Record<string, unknown>;
  return Array.isArray(tokens) && (typeof good === 'boolean' || good === null);
}
