/** Pretraining: loss = −mean over targets of log p(token | earlier tokens in its row). */
import { type PretrainConfig, pretrainConfig } from '../config/pretrain.ts';
import { parseKnown } from '../config/schema.ts';
import type { Batches } from '../data/batches.ts';
import { deriveSeed } from '../data/random.ts';
import type { Sequences } from '../data/text.ts';
import { checkKind, checkKinds, COUNT, instanceOf, optional } from '../checks/kinds.ts';
import { checkInteger } from '../checks/options.ts';
import { Optimizer } from '../optim.ts';
import type { LanguageModel } from '../models/language-model.ts';
import { Tensor, useDeterministic } from '../tensor/tensor.ts';
import type { Sample } from '../metrics/metrics.ts';
import { startDropout } from './dropout.ts';
import { MicroBatch } from './out-of-memory.ts';
import { BATCHES, MODEL, type ModelPart, SEQUENCES, withModel } from './parts.ts';
import { answerSamples, SAMPLE_PROMPTS, type SamplePrompts } from './samples.ts';
import { learningRate, skipsAllowed } from './schedule.ts';
import { countTargets, separated, textLoss } from './text-rows.ts';
import type { LossStep } from './step.ts';
import { update } from './update.ts';

const PARTS = {
  model: MODEL,
  optimizer: instanceOf(Optimizer),
  text: SEQUENCES,
  batches: BATCHES,
  validation: optional(SEQUENCES),
  samples: SAMPLE_PROMPTS,
};

/** The parts of a pretraining run. They hold all mutable training state, so saving them and the step number saves the run. */
export type PretrainParts = ModelPart & {
  /** The optimizer of `model.parameters()`. */
  optimizer: Optimizer;
  /** The training text. */
  text: Sequences;
  /** Selects the next rows of `text`, `config.batchSize` at a time. */
  batches: Batches;
  /** Held-out text; without it there is no `validationLoss`. */
  validation?: Sequences | undefined;
  /** Prompts that are answered at each evaluation. */
  samples?: SamplePrompts | undefined;
};

/** The metrics of a step. Losses are in nats per token. */
export interface PretrainStep extends LossStep {
  /** Answers to `parts.samples`, at evaluations; otherwise undefined. */
  samples: Sample[] | undefined;
}

/**
 * Trains all weights of `model`, which is in eval mode whenever a step is yielded. `start` is the number of steps already done.
 * All native memory of a step is freed before it is yielded.
 * @throws NumericsError if `config.maxSkippedSteps` consecutive steps are not finite.
 * @throws NumericsError if the last step is not finite.
 */
export async function* pretrain(
  parts: PretrainParts,
  options: PretrainConfig,
  start = 0,
): AsyncGenerator<PretrainStep> {
  const given = withModel(parts);
  checkKinds('pretrain parts', given, PARTS);
  checkInteger(start, 0, 'start');
  const config = parseKnown(pretrainConfig, options, 'pretrain');
  if (config.deterministic) await useDeterministic(true);
  const { model, optimizer, text, batches, validation, samples } = given;
  const microBatch = new MicroBatch(config.batchSize);
  for (let step = start; step < config.steps; step++) {
    const began = performance.now();
    optimizer.learningRate = learningRate(step, config);

    const all = Array.from({ length: config.accumulate }, () => text.rows(batches.next()));
    const targets = all.reduce((sum, batch) => sum + countTargets(batch, model.decoder.ignoreIndex), 0);
    const { loss, gradNorm, skipped } = await update(
      { optimizer, microBatch },
      all.map(separated),
      {
        denominator: targets,
        maxGradNorm: config.maxGradNorm,
        maxSkipped: skipsAllowed(step, config.steps, config),
        begin: () => startDropout(model, deriveSeed(config.seed, step)),
      },
      (rows, denominator) => textLoss(model, rows, { denominator }),
    );
    if (model.training) model.eval();

    const seconds = (performance.now() - began) / 1000;
    const done = step + 1;
    const evaluates = validation !== undefined && (done % config.evaluateEvery === 0 || done === config.steps);
    const evaluate = (rows: number) => validationLoss(model, validation as Sequences, config, rows);
    yield {
      step: done,
      loss,
      validationLoss: evaluates ? await microBatch.fit(optimizer, evaluate) : undefined,
      gradNorm,
      learningRate: optimizer.learningRate,
      skipped: skipped ? 1 : undefined,
      microBatch: microBatch.reduced,
      samples: evaluates && samples ? await answerSamples(model, samples, config) : undefined,
      timing: { seconds, tokensPerSecond: targets / seconds },
    };
  }
}

/**
 * The loss of `model` on held-out text, in nats per token: the mean over `evaluateBatches` batches of evenly spaced rows, or
 * over all rows if there are fewer; 0 if nothing is held out. `rows` rows are processed at once; defaults to `batchSize`.
 */
export async function validationLoss(
  model: LanguageModel,
  validation: Sequences,
  options: Pick<PretrainConfig, 'batchSize' | 'evaluateBatches'>,
  rows = options?.batchSize,
): Promise<number> {
  checkKind('model', model, MODEL);
  checkKind('validation', validation, SEQUENCES);
  checkKinds('validationLoss options', options, { batchSize: COUNT, evaluateBatches: COUNT });
  checkKind('rows', rows, COUNT);
  const { batchSize, evaluateBatches } = options;
  const count = Math.min(validation.size, batchSize * evaluateBatches);
  const chosen = Array.from({ length: count }, (_, i) => Math.floor((i * validation.size) / count));
  let nats = 0;
  let targets = 0;
  for (let begin = 0; begin < count; begin += rows) {
    const { tokens, shape } = validation.rows(chosen.slice(begin, begin + rows));
    using ids = Tensor.from(tokens, { shape });
    using sum = await model.loss(ids, { denominator: 1, grad: false });
    nats += await sum.item();
    targets += countTargets({ tokens, shape }, model.decoder.ignoreIndex);
  }
  return nats / Math.max(1, targets);
}
