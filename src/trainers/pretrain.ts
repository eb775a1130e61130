/** Pretraining: loss = −mean over targets of log p(token | the tokens before it in its row). */
import { type PretrainConfig, pretrainConfig } from '../config/pretrain.ts';
import { parseKnown } from '../config/schema.ts';
import type { Batches } from '../data/batches.ts';
import { deriveSeed } from '../data/random.ts';
import { joinTokens, type Sequences } from '../data/text.ts';
import { checkKind, checkKinds, COUNT, instanceOf, optional } from '../checks/kinds.ts';
import { checkInteger } from '../checks/options.ts';
import { Optimizer } from '../optim.ts';
import type { LanguageModel } from '../models/language-model.ts';
import { Tensor, useDeterministic } from '../tensor/tensor.ts';
import { MicroBatch } from './out-of-memory.ts';
import { BATCHES, MODEL, type ModelPart, SEQUENCES, withModel } from './parts.ts';
import { learningRate, skipsAllowed } from './schedule.ts';
import { update } from './update.ts';

const PARTS = {
  model: MODEL,
  optimizer: instanceOf(Optimizer),
  text: SEQUENCES,
  batches: BATCHES,
  validation: optional(SEQUENCES),
};

type Rows = ReturnType<Sequences['rows']>;

/** What pretraining works with. All that it changes is in here, so saving these and the step number saves the run. */
export type PretrainParts = ModelPart & {
  /** Over `model.parameters()`. */
  optimizer: Optimizer;
  /** The text to learn. */
  text: Sequences;
  /** Which of its rows come next, `config.batchSize` at a time. */
  batches: Batches;
  /** Held-out text; without it there is no `validationLoss`. */
  validation?: Sequences | undefined;
};

/** What a step tells. Losses are in nats per token. */
export interface PretrainStep {
  /** Steps done, from 1. */
  step: number;
  /** Of the batches that this step learned from, before it did. */
  loss: number;
  /** Mean over the targets of held-out text, every `evaluateEvery` steps and after the last. */
  validationLoss: number | undefined;
  /** Norm of the gradient before clipping. */
  gradNorm: number;
  learningRate: number;
  /** 1 where the loss or the gradient was not finite: nothing moved then. */
  skipped: 1 | undefined;
  /** Rows that were read at once, where memory did not suffice for `batchSize` of them. */
  microBatch: number | undefined;
  timing: { seconds: number; tokensPerSecond: number };
}

/**
 * Trains all weights of `model` and leaves it in eval mode at every step. `start` is the number of steps already done. Nothing
 * of a step stays in native memory while the caller looks at it.
 * @throws NumericsError after `config.maxSkippedSteps` steps in a row that were not finite, or where the last one is not.
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
  const { model, optimizer, text, batches, validation } = given;
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
      async (rows, denominator) => {
        using tokens = Tensor.from(joinTokens(rows), { shape: [rows.length, (rows[0] as Int32Array).length] });
        return await model.loss(tokens, { denominator });
      },
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
      timing: { seconds, tokensPerSecond: targets / seconds },
    };
  }
}

function startDropout(model: LanguageModel, seed: number): void {
  const { attnDropout, ffDropout } = model.decoder;
  if (attnDropout > 0 || ffDropout > 0) model.train({ seed });
}

/** The rows of a batch one by one, as views. */
function separated({ tokens, shape: [size, width] }: Rows): Int32Array[] {
  return Array.from({ length: size }, (_, row) => tokens.subarray(row * width, (row + 1) * width));
}

/**
 * Nats per token of `model` on held-out text: the mean over `evaluateBatches` batches of rows that are spread evenly, or over
 * all rows where those are fewer, and 0 where nothing is held out. `rows` of them are read at once, a batch unless given.
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

/** How many tokens of the rows are told from others before them and count in the loss. */
function countTargets({ tokens, shape }: Rows, ignoreIndex: number): number {
  return tokens.reduce((count, token, i) => count + (i % shape[1] !== 0 && token !== ignoreIndex ? 1 : 0), 0);
}
