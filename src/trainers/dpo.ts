/** Direct preference optimisation (Rafailov et al. 2023). docs/dpo.md has the formulas. */
import { type DpoConfig, dpoConfig } from '../config/dpo.ts';
import { parseKnown } from '../config/schema.ts';
import { checkKinds, instanceOf } from '../checks/kinds.ts';
import { checkInteger } from '../checks/options.ts';
import type { Preference } from '../data/preferences.ts';
import { padRight } from '../data/prompts.ts';
import { ArgumentError } from '../errors.ts';
import { type DpoMetrics, dpoLoss } from '../losses/preference.ts';
import { Mean } from '../metrics/mean.ts';
import type { Sample } from '../metrics/metrics.ts';
import { Policy } from '../models/policy.ts';
import { Tensor, useDeterministic } from '../tensor/tensor.ts';
import { MicroBatch } from './out-of-memory.ts';
import { checkPairs, PAIR_PARTS, type PairParts, type PairStep, pairSteps, tokensOf } from './pairs.ts';
import { itemsAt } from './parts.ts';
import { answerSamples, SAMPLE_PROMPTS, type SamplePrompts } from './samples.ts';
import { defaultPolicyRate, learningRate, skipsAllowed } from './schedule.ts';
import { chunks } from './rollouts.ts';
import { update } from './update.ts';

/** The parts of a DPO run. They hold all mutable training state, so saving them and the step number saves the run. */
export interface DpoParts extends PairParts {
  /** Trained by `optimizer`; it has a reference. */
  policy: Policy;
  /** Prompts that are answered at each evaluation. */
  samples?: SamplePrompts | undefined;
}

const PARTS = {
  policy: instanceOf(Policy),
  ...PAIR_PARTS,
  samples: SAMPLE_PROMPTS,
};

/** The metrics of a step. Those of the loss are of its pairs before the update. */
export interface DpoStep extends PairStep, DpoMetrics {
  loss: number;
  /** Answers to `parts.samples`, at evaluations; otherwise undefined. */
  samples: Sample[] | undefined;
}

/**
 * Trains `policy` on pairs. `start` is the number of steps already done. All native memory of a step is freed before it is yielded.
 * @throws ArgumentError before the first step, for a policy without a reference.
 * @throws ArgumentError before the first step, for a token that the model does not have.
 * @throws NumericsError if `config.maxSkippedSteps` consecutive steps are not finite.
 * @throws NumericsError if the last step is not finite.
 */
export async function* dpo(parts: DpoParts, options: DpoConfig, start = 0): AsyncGenerator<DpoStep> {
  checkKinds('dpo parts', parts, PARTS);
  checkInteger(start, 0, 'start');
  const config = parseKnown(dpoConfig, options, 'dpo');
  if (config.deterministic) await useDeterministic(true);
  const { policy, optimizer, pairs, batches, validation = [], samples } = parts;
  checkReference(policy);
  checkPairs(pairs, policy.model, 'pairs');
  checkPairs(validation, policy.model, 'validation');
  const steps = pairSteps(pairs.length, config);
  const schedule = { ...config, lr: config.lr ?? defaultPolicyRate(policy), steps, decay: 'cosine' as const };
  const microBatch = new MicroBatch(config.batchSize);
  const answering = { seed: config.seed, scope: policy.scopes[0] };
  for (let step = start; step < steps; step++) {
    const began = performance.now();
    optimizer.learningRate = learningRate(step, schedule);

    const all = Array.from({ length: config.accumulate }, () => itemsAt(pairs, batches.next(), 'pairs'));
    // Every piece is divided by the counts of the whole step, so that 2 batches of 4 equal 1 of 8.
    const nllDenominator = chosenTokens(all.flat());
    const { loss, pieces, gradNorm, skipped } = await update(
      { optimizer, microBatch },
      all,
      {
        denominator: all.flat().length,
        maxGradNorm: config.maxGradNorm,
        maxSkipped: skipsAllowed(step, steps, config),
      },
      (some, denominator) => lossOf(policy, some, config, { denominator, nllDenominator }, true),
    );

    const seconds = (performance.now() - began) / 1000;
    const done = step + 1;
    const evaluates = validation.length > 0 && (done % config.evaluateEvery === 0 || done === steps);
    const held = evaluates ? await evaluate(policy, validation, config) : undefined;
    const metrics = new Mean<keyof DpoMetrics>();
    for (const piece of pieces) metrics.add(piece.metrics);
    yield {
      step: done,
      loss,
      ...metrics.sum(),
      validationLoss: held?.loss,
      validationAccuracy: held?.accuracy,
      gradNorm,
      learningRate: optimizer.learningRate,
      skipped: skipped ? 1 : undefined,
      microBatch: microBatch.reduced,
      samples: evaluates && samples ? await answerSamples(policy.model, samples, answering) : undefined,
      timing: { seconds, tokensPerSecond: all.flat().reduce((sum, pair) => sum + tokensOf(pair), 0) / seconds },
    };
  }
}

function checkReference(policy: Policy): void {
  if (policy.hasReference) return;
  throw new ArgumentError({
    argument: 'parts.policy',
    received: 'a policy without a reference',
    expected: 'a policy with a reference',
    fix: 'Create the policy with { reference: true }.',
  });
}

/** The loss of some pairs. The chosen responses are the first half of the rows, the rejected ones the second. */
async function lossOf(
  policy: Policy,
  pairs: readonly Preference[],
  { beta, nllWeight }: DpoConfig,
  denominators: { denominator: number; nllDenominator: number },
  grad: boolean,
) {
  const { sequence, responseMask } = pairRows(pairs);
  using rows = sequence;
  using mask = responseMask;
  using now = await policy.logProb(rows, { grad });
  using reference = await policy.referenceLogProb(rows);
  return await dpoLoss(now.logProb, reference, mask, { beta, nllWeight, ...denominators });
}

/** Pairs as tensors [2N, T]: token ids, and a mask of the response tokens. */
function pairRows(pairs: readonly Preference[]): { sequence: Tensor; responseMask: Tensor } {
  const all = [...pairs.map(({ chosen }) => chosen), ...pairs.map(({ rejected }) => rejected)];
  const prompts = [...pairs, ...pairs].map(({ prompt }) => prompt);
  const { tokens, shape, lengths } = padRight(
    all.map((response, row) => [...(prompts[row] as number[]), ...response]),
    0, // padding: the mask excludes it, and no earlier token sees it
  );
  const mask = new Uint8Array(tokens.length);
  for (const [row, prompt] of prompts.entries())
    mask.fill(1, row * shape[1] + prompt.length, row * shape[1] + (lengths[row] as number));
  return { sequence: Tensor.from(tokens, { shape }), responseMask: Tensor.from(mask, { shape, dtype: 'bool' }) };
}

function chosenTokens(pairs: readonly Preference[]): number {
  return pairs.reduce((sum, { chosen }) => sum + chosen.length, 0);
}

/** Loss and accuracy on all `pairs`, `batchSize` at a time. */
async function evaluate(policy: Policy, pairs: readonly Preference[], config: DpoConfig) {
  // Sums over pairs are divided at the end, so that an accuracy of 1 is exactly 1.
  const denominators = { denominator: 1, nllDenominator: chosenTokens(pairs) / pairs.length };
  let loss = 0;
  let right = 0;
  for (const some of chunks(pairs, config.batchSize)) {
    using share = await lossOf(policy, some, config, denominators, false);
    loss += await share.item();
    right += (await share.metrics()).accuracy;
  }
  return { loss: loss / pairs.length, accuracy: right / pairs.length };
}
