/** Implicit language Q-learning (Snell et al. 2022): a policy and values from samples with rewards. docs/ilql.md has the formulas. */
import { checkKinds, instanceOf, type Kind } from '../checks/kinds.ts';
import { checkInteger } from '../checks/options.ts';
import { type IlqlConfig, ilqlConfig } from '../config/ilql.ts';
import { parseKnown } from '../config/schema.ts';
import type { Batches } from '../data/batches.ts';
import { padRight } from '../data/prompts.ts';
import type { ScoredSample } from '../data/samples.ts';
import { ArgumentError } from '../errors.ts';
import { type IlqlMetrics, ilqlLoss } from '../losses/ilql.ts';
import { Mean } from '../metrics/mean.ts';
import { IlqlPolicy } from '../models/ilql-policy.ts';
import { Optimizer } from '../optim.ts';
import { Tensor, useDeterministic } from '../tensor/tensor.ts';
import { checkTokens } from './check-tokens.ts';
import { MicroBatch } from './out-of-memory.ts';
import { pairSteps } from './pairs.ts';
import { BATCHES, itemsAt } from './parts.ts';
import { defaultPolicyRate, learningRate, skipsAllowed } from './schedule.ts';
import type { LossStep } from './step.ts';
import { update } from './update.ts';

/** The parts of an ILQL run. They hold all mutable training state, so saving them and the step number saves the run. */
export interface IlqlParts {
  /** Trained by `optimizer`. */
  policy: IlqlPolicy;
  optimizer: Optimizer;
  samples: readonly ScoredSample[];
  /** Selects the next of `samples`, `config.batchSize` at a time. */
  batches: Batches;
}

const SAMPLES: Kind = {
  is: (value) => Array.isArray(value) && value.every(isSample),
  words: 'an array of { prompt, response, reward }, two arrays of token ids and a finite number',
};
const PARTS = {
  policy: instanceOf(IlqlPolicy),
  optimizer: instanceOf(Optimizer),
  samples: SAMPLES,
  batches: BATCHES,
};

/** The metrics of a step. Those of the loss are of its samples before the update. */
export interface IlqlStep extends IlqlMetrics, Omit<LossStep, 'validationLoss'> {}

/**
 * Trains `policy` on samples. `start` is the number of steps already done. All native memory of a step is freed before it is yielded.
 * @throws ArgumentError before the first step, for a token that the model does not have, or a sample without prompt or response.
 * @throws NumericsError if `config.maxSkippedSteps` consecutive steps are not finite.
 * @throws NumericsError if the last step is not finite.
 */
export async function* ilql(parts: IlqlParts, options: IlqlConfig, start = 0): AsyncGenerator<IlqlStep> {
  checkKinds('ilql parts', parts, PARTS);
  checkInteger(start, 0, 'start');
  const config = parseKnown(ilqlConfig, options, 'ilql');
  if (config.deterministic) await useDeterministic(true);
  const { policy, optimizer, batches } = parts;
  checkSamples(parts.samples, policy);
  const samples = withReturns(parts.samples);
  const steps = pairSteps(samples.length, config);
  const schedule = { ...config, lr: config.lr ?? defaultPolicyRate(policy), steps, decay: 'cosine' as const };
  const microBatch = new MicroBatch(config.batchSize);
  for (let step = start; step < steps; step++) {
    const began = performance.now();
    optimizer.learningRate = learningRate(step, schedule);

    const all = Array.from({ length: config.accumulate }, () => itemsAt(samples, batches.next(), 'samples'));
    const { loss, pieces, gradNorm, skipped } = await update(
      { optimizer, microBatch },
      all,
      {
        denominator: count(all.flat(), ({ response }) => response.length),
        maxGradNorm: config.maxGradNorm,
        maxSkipped: skipsAllowed(step, steps, config),
      },
      (some, denominator) => lossOf(policy, some, config, denominator),
    );
    // The number of the step says when, so that a resumed run moves the targets when the whole run does.
    const { every, alpha } = config.target;
    if (!skipped && (step + 1) % every === 0) await policy.sync(alpha);

    const seconds = (performance.now() - began) / 1000;
    const metrics = new Mean<keyof IlqlMetrics>();
    for (const piece of pieces) metrics.add(piece.metrics);
    const tokens = count(all.flat(), ({ prompt, response }) => prompt.length + response.length);
    yield {
      step: step + 1,
      loss,
      ...metrics.sum(),
      gradNorm,
      learningRate: optimizer.learningRate,
      skipped: skipped ? 1 : undefined,
      microBatch: microBatch.reduced,
      timing: { seconds, tokensPerSecond: tokens / seconds },
    };
  }
}

/**
 * `samples` with their rewards standardised: minus the mean, divided by the (unbiased) standard deviation. Rewards that are all
 * equal become 0.
 */
export function withReturns(samples: readonly ScoredSample[]): ScoredSample[] {
  const mean = count(samples, ({ reward }) => reward) / samples.length;
  const squares = count(samples, ({ reward }) => (reward - mean) ** 2);
  const equal = samples.every(({ reward }) => reward === samples[0]?.reward);
  const deviation = Math.sqrt(squares / (samples.length - 1));
  return samples.map((sample) => ({ ...sample, reward: equal ? 0 : (sample.reward - mean) / deviation }));
}

/** The loss of some samples. */
async function lossOf(policy: IlqlPolicy, samples: readonly ScoredSample[], config: IlqlConfig, denominator: number) {
  const { sequence, states, response, reward, responseMask } = rowsOf(samples);
  using rows = sequence;
  using ends = states;
  using actions = response;
  using rewards = reward;
  using mask = responseMask;
  using read = await policy.actionValues(rows, ends);
  return await ilqlLoss(
    read,
    { response: actions, reward: rewards, responseMask: mask },
    { ...config.loss, denominator },
  );
}

/** Samples as tensors: sequences [B, T]; states, responses, rewards at their last tokens and the mask of responses [B, R]. */
function rowsOf(samples: readonly ScoredSample[]) {
  const PAD = 0; // the mask excludes it, and no earlier token sees it
  const sequences = padRight(
    samples.map(({ prompt, response }) => [...prompt, ...response]),
    PAD,
  );
  const responses = padRight(
    samples.map(({ response }) => response),
    PAD,
  );
  const { shape, lengths } = responses;
  const [states, rewards, mask] = [Int32Array, Float32Array, Uint8Array].map((Of) => new Of(shape[0] * shape[1]));
  for (const [row, { prompt, reward }] of samples.entries()) {
    const [begin, length] = [row * shape[1], lengths[row] as number];
    for (let i = 0; i < length; i++) (states as Int32Array)[begin + i] = prompt.length - 1 + i;
    (rewards as Float32Array)[begin + length - 1] = reward;
    (mask as Uint8Array).fill(1, begin, begin + length);
  }
  return {
    sequence: Tensor.from(sequences.tokens, { shape: sequences.shape }),
    states: Tensor.from(states as Int32Array, { shape }),
    response: Tensor.from(responses.tokens, { shape }),
    reward: Tensor.from(rewards as Float32Array, { shape }),
    responseMask: Tensor.from(mask as Uint8Array, { shape, dtype: 'bool' }),
  };
}

function checkSamples(samples: readonly ScoredSample[], policy: IlqlPolicy): void {
  for (const [row, sample] of samples.entries()) {
    for (const part of ['prompt', 'response'] as const) {
      checkTokens(sample[part], policy.model.decoder.numTokens, (t) => `samples[${row}].${part}[${t}]`);
      if (sample[part].length > 0) continue;
      throw new ArgumentError({
        argument: `samples[${row}].${part}`,
        received: 'no tokens',
        expected: 'at least one token',
      });
    }
  }
}

function isSample(value: unknown): boolean {
  const { prompt, response, reward } = Object(value) as Record<string, unknown>;
  return Array.isArray(prompt) && Array.isArray(response) && Number.isFinite(reward);
}

function count(samples: readonly ScoredSample[], of: (sample: ScoredSample) => number): number {
  return samples.reduce((total, sample) => total + of(sample), 0);
}
