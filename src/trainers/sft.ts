/** Supervised fine-tuning: loss = −mean over target tokens of log p(token | earlier tokens of its row). docs/sft.md has the formulas. */
import { type SftConfig, sftConfig } from '../config/sft.ts';
import { parseKnown } from '../config/schema.ts';
import { checkKinds, instanceOf, optional } from '../checks/kinds.ts';
import { checkInteger } from '../checks/options.ts';
import type { Batches } from '../data/batches.ts';
import { type TrainingExample, targetsOf } from '../data/completions.ts';
import { packSequences } from '../data/packing.ts';
import { padRight } from '../data/prompts.ts';
import { deriveSeed } from '../data/random.ts';
import { ArgumentError } from '../errors.ts';
import { type SftMetrics, sftLoss } from '../losses/text.ts';
import { Mean } from '../metrics/mean.ts';
import type { Sample } from '../metrics/metrics.ts';
import type { LanguageModel } from '../models/language-model.ts';
import { Policy } from '../models/policy.ts';
import { predict } from '../models/prediction.ts';
import { Optimizer } from '../optim.ts';
import { Tensor, useDeterministic } from '../tensor/tensor.ts';
import { checkTokens } from './check-tokens.ts';
import { startDropout } from './dropout.ts';
import { MicroBatch } from './out-of-memory.ts';
import { pairSteps } from './pairs.ts';
import { BATCHES, itemsAt, EXAMPLES } from './parts.ts';
import { chunks } from './rollouts.ts';
import { answerSamples, SAMPLE_PROMPTS, type SamplePrompts } from './samples.ts';
import { defaultSftRate, learningRate, skipsAllowed } from './schedule.ts';
import type { LossStep } from './step.ts';
import { update } from './update.ts';

/** The parts of a run. They hold all mutable training state, so saving them and the step number saves the run. */
export interface SftParts {
  /** Trained by `optimizer`. */
  policy: Policy;
  optimizer: Optimizer;
  /** The training rows. */
  examples: readonly TrainingExample[];
  /** Selects the next of `examples`, `config.batchSize` at a time. */
  batches: Batches;
  /** Held-out rows; without them there is no `validationLoss`. */
  validation?: readonly TrainingExample[] | undefined;
  /** Prompts that are answered at each evaluation. */
  samples?: SamplePrompts | undefined;
}

const PARTS = {
  policy: instanceOf(Policy),
  optimizer: instanceOf(Optimizer),
  examples: EXAMPLES,
  batches: BATCHES,
  validation: optional(EXAMPLES),
  samples: SAMPLE_PROMPTS,
};

/** The metrics of a step. Those of the loss are of its rows before the update; losses are in nats per target token. */
export interface SftStep extends SftMetrics, LossStep {
  /** Tokens of the rows, and the share of them that are targets. */
  tokens: number;
  targetShare: number;
  /** Answers to the prompts of `samples`, at evaluations; otherwise undefined. */
  samples: Sample[] | undefined;
}

/**
 * Trains `policy`, whose model is in eval mode whenever a step is yielded. `start` is the number of steps already done. All native
 * memory of a step is freed before it is yielded.
 * @throws ArgumentError before the first step, for a row without a target, or with a token that the model does not have.
 * @throws NumericsError if `config.maxSkippedSteps` consecutive steps are not finite.
 * @throws NumericsError if the last step is not finite.
 */
export async function* sft(parts: SftParts, options: SftConfig, start = 0): AsyncGenerator<SftStep> {
  checkKinds('sft parts', parts, PARTS);
  checkInteger(start, 0, 'start');
  const config = parseKnown(sftConfig, options, 'sft');
  if (config.deterministic) await useDeterministic(true);
  const { policy, optimizer, batches, samples } = parts;
  const { model } = policy;
  const examples = markedRows(parts.examples, model, config, 'examples');
  const validation = markedRows(parts.validation ?? [], model, config, 'validation');
  const steps = pairSteps(examples.length, config, 'examples');
  const schedule = { ...config, lr: config.lr ?? defaultSftRate(policy), steps };
  const microBatch = new MicroBatch(config.batchSize);
  const answering = { seed: config.seed, scope: policy.scopes[0] };
  for (let step = start; step < steps; step++) {
    const began = performance.now();
    optimizer.learningRate = learningRate(step, schedule);

    const all = Array.from({ length: config.accumulate }, () => itemsAt(examples, batches.next(), 'examples'));
    const { tokens, targets } = countsOf(all.flat());
    const { loss, pieces, gradNorm, skipped } = await update(
      { optimizer, microBatch },
      all,
      {
        denominator: targets,
        maxGradNorm: config.maxGradNorm,
        maxSkipped: skipsAllowed(step, steps, config),
        begin: () => startDropout(model, deriveSeed(config.seed, step)),
      },
      (rows, denominator) => lossOf(policy, rows, { ...config, denominator, grad: true }),
    );
    if (model.training) model.eval();

    const seconds = (performance.now() - began) / 1000;
    const done = step + 1;
    const evaluates = validation.length > 0 && (done % config.evaluateEvery === 0 || done === steps);
    const metrics = new Mean<keyof SftMetrics>();
    for (const piece of pieces) metrics.add(piece.metrics);
    yield {
      step: done,
      loss,
      ...metrics.sum(),
      tokens,
      targetShare: targets / tokens,
      validationLoss: evaluates ? await evaluate(policy, validation, config) : undefined,
      gradNorm,
      learningRate: optimizer.learningRate,
      skipped: skipped ? 1 : undefined,
      microBatch: microBatch.reduced,
      samples: evaluates && samples ? await answerSamples(model, samples, answering) : undefined,
      timing: { seconds, tokensPerSecond: tokens / seconds },
    };
  }
}

/** A row as it is learned. */
type Marked = ReturnType<typeof targetsOf>;

/** The rows with their targets. @throws ArgumentError for the first one without a target, or with a token that `model` does not have */
function markedRows(
  examples: readonly TrainingExample[],
  model: LanguageModel,
  { lossOn }: SftConfig,
  argument: string,
): Marked[] {
  return examples.map((example, i) => {
    const marked = targetsOf(example, lossOn);
    checkTokens(marked.tokens, model.decoder.numTokens, (t) => `${argument}[${i}], token ${t}`);
    if (marked.targets.includes(true)) return marked;
    const expected = 'a token to learn with a token before it';
    throw new ArgumentError({ argument: `${argument}[${i}]`, received: 'nothing to learn', expected });
  });
}

/** The number of tokens in some rows, and of those that are targets. */
function countsOf(rows: readonly Marked[]): { tokens: number; targets: number } {
  const sum = (of: (row: Marked) => number) => rows.reduce((total, row) => total + of(row), 0);
  return {
    tokens: sum(({ tokens }) => tokens.length),
    targets: sum(({ targets }) => targets.filter(Boolean).length),
  };
}

type LossOptions = Pick<SftConfig, 'loss' | 'packing'> & { denominator: number; grad: boolean };

/** The loss of some rows. */
async function lossOf({ model, scopes: [scope] }: Policy, rows: readonly Marked[], options: LossOptions) {
  const { packing, loss, denominator, grad } = options;
  const { tokens, segments, mask, shape } = packing ? packed(rows) : padded(rows);
  using sequence = Tensor.from(tokens, { shape });
  using pieces = segments && Tensor.from(segments, { shape });
  using targets = Tensor.from(mask, { shape, dtype: 'bool' });
  using now = await predict(model, sequence, { scope, segments: pieces, grad });
  return await sftLoss(now, targets, { loss, denominator });
}

/** Rows as arrays of `shape` [B, T]; `mask` is 1 where a token is a target. */
interface Arranged {
  tokens: Int32Array;
  segments: Int32Array | undefined;
  mask: Uint8Array;
  shape: [number, number];
}

/** One row of tokens for each of `rows`. */
function padded(rows: readonly Marked[]): Arranged {
  const { tokens, shape } = padRight(
    rows.map((row) => row.tokens),
    PADDING,
  );
  const mask = new Uint8Array(tokens.length);
  for (const [i, { targets }] of rows.entries()) mask.set(targets.map(Number), i * shape[1]);
  return { tokens, segments: undefined, mask, shape };
}

/** Several of `given` in each row of tokens, as long as the longest: never more tokens than if padded. Longest first fits best. */
function packed(given: readonly Marked[]): Arranged {
  const rows = [...given].sort((a, b) => b.tokens.length - a.tokens.length);
  const length = rows[0]?.tokens.length ?? 0;
  const sequences = rows.map((row) => row.tokens);
  const { tokens, segments, shape, row: places } = packSequences(sequences, length, { padToken: PADDING });
  const mask = new Uint8Array(tokens.length);
  const taken = new Int32Array(shape[0]);
  for (const [i, { targets }] of rows.entries()) {
    const place = places[i] as number;
    mask.set(targets.map(Number), place * length + (taken[place] as number));
    taken[place] = (taken[place] as number) + targets.length;
  }
  return { tokens, segments, mask, shape };
}

/** The mask excludes it, and no earlier token sees it. */
const PADDING = 0;

/** Negative log-likelihood of all `rows` in nats per target, `batchSize` rows at a time. */
async function evaluate(policy: Policy, rows: readonly Marked[], config: SftConfig): Promise<number> {
  let nats = 0;
  for (const some of chunks(rows, config.batchSize)) {
    using share = await lossOf(policy, some, { ...config, loss: 'nll', denominator: 1, grad: false });
    nats += await share.item();
  }
  return nats / countsOf(rows).targets;
}
