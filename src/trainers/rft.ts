/** Rejection sampling: a policy is trained on the best of its own responses, round by round. docs/rft.md has the rule. */
import { checkKinds, instanceOf } from '../checks/kinds.ts';
import { checkInteger } from '../checks/options.ts';
import { type RftConfig, rftConfig } from '../config/rft.ts';
import { parseKnown } from '../config/schema.ts';
import { Mean } from '../metrics/mean.ts';
import type { Sample } from '../metrics/metrics.ts';
import { Policy, type Rollout } from '../models/policy.ts';
import { rowsOf } from '../tensor/rows.ts';
import { useDeterministic } from '../tensor/tensor.ts';
import { answerAndScore, checkPrompts, ON_POLICY_PARTS, type OnPolicyParts, type Scored, sum } from './on-policy.ts';
import { MicroBatch } from './out-of-memory.ts';
import { chunks, ended, minibatches } from './rollouts.ts';
import { defaultPolicyRate, skipsAllowed } from './schedule.ts';
import { rolloutSamples } from './samples.ts';
import { UNIT } from './score-norm.ts';
import { selectResponses } from './selection.ts';
import { update } from './update.ts';

/** The parts of a run. They hold all mutable training state, so saving them and the step number saves the run. */
export interface RftParts extends Omit<OnPolicyParts, 'runningScores'> {
  /** Trained by `optimizer`. */
  policy: Policy;
}

const { runningScores: _, ...NEEDED } = ON_POLICY_PARTS;
const PARTS = {
  policy: instanceOf(Policy),
  ...NEEDED,
};

/** The metrics of a round. */
export interface RftStep {
  /** Rounds done, from 1. */
  step: number;
  /** Negative log-likelihood of the kept responses, in nats per token, averaged over updates; undefined if none was kept. */
  loss: number | undefined;
  /** Number of responses that were kept, and their share of all. */
  kept: number;
  keptShare: number;
  /** Mean score of all responses, and of those that were kept (undefined if none was). */
  scoreAll: number;
  scoreKept: number | undefined;
  /** Number of prompts of which no response was kept: all of theirs have the same score. */
  promptsWithout: number;
  /** Mean number of tokens in a response. */
  responseLength: number;
  /** Share of responses that ended with the eos or a stop sequence. */
  eosShare: number;
  /** Norm of the gradient before clipping, averaged over updates; undefined if none was kept. */
  gradNorm: number | undefined;
  learningRate: number;
  /** Number of updates whose loss or gradient was not finite: they left the weights unchanged. */
  skipped: number;
  /** Reduced micro-batch size after running out of memory, in responses; otherwise undefined. */
  microBatch: number | undefined;
  /** Some of the answers; undefined unless `parts.samples` asks for them. */
  samples: Sample[] | undefined;
  timing: { seconds: number; rolloutSeconds: number; tokensPerSecond: number };
}

type Answered = Scored<Rollout>;

/**
 * Trains `policy`, one round per step: answer prompts several times each, score the answers, keep the best of each prompt, learn them.
 * Every round learns from new answers alone. `start` is the number of rounds already done. All native memory of a round is freed
 * before it is yielded.
 * @throws ArgumentError before the first round, for a token that the model does not have.
 * @throws RewardError if the reward returns no score for an answer.
 * @throws NumericsError if `config.maxSkippedSteps` consecutive updates are not finite.
 * @throws NumericsError if the last update is not finite.
 * @throws NumericsError if the policy's logits are not finite.
 */
export async function* rft(parts: RftParts, options: RftConfig, start = 0): AsyncGenerator<RftStep> {
  checkKinds('rft parts', parts, PARTS);
  checkInteger(start, 0, 'start');
  const config = parseKnown(rftConfig, options, 'rft');
  if (config.deterministic) await useDeterministic(true);
  checkPrompts(parts.policy, parts);
  const microBatch = new MicroBatch(config.minibatchSize);
  for (let step = start; step < config.steps; step++) yield await round(parts, config, step, microBatch);
}

async function round(parts: RftParts, config: RftConfig, step: number, microBatch: MicroBatch): Promise<RftStep> {
  const { policy, optimizer } = parts;
  const { sampling, score, percentile } = config;
  optimizer.learningRate = config.lr ?? defaultPolicyRate(policy);
  const began = performance.now();

  // Answer: no log-probabilities are needed, so those of the sampler do. The order of scores is all that counts.
  const answering = {
    ...config,
    sampling: { ...sampling, logProb: 'sampled' as const },
    score: { ...score, missingEosPenalty: 0 },
  };
  using scored = await answerAndScore(policy, parts, answering, step, () => UNIT);
  const { answers, scores, lengths, rolloutSeconds } = scored;

  // Select: the best answers to each prompt.
  const { samplesPerPrompt } = sampling;
  const responses = answers.map(({ response }) => response);
  const kept = selectResponses(responses, scores, { samplesPerPrompt, percentile });
  const prompts = new Set(kept.map((place) => Math.floor(place / samplesPerPrompt)));

  // Learn: a few passes over the answers that were kept.
  const learned = await learn(policy, scored, kept, { optimizer, microBatch }, config, step);
  return {
    step: step + 1,
    loss: learned.loss,
    kept: kept.length,
    keptShare: kept.length / answers.length,
    scoreAll: sum(scores) / scores.length,
    scoreKept: kept.length === 0 ? undefined : sum(kept.map((place) => scores[place] as number)) / kept.length,
    promptsWithout: answers.length / samplesPerPrompt - prompts.size,
    responseLength: sum(lengths) / lengths.length,
    eosShare: answers.filter((answer) => ended(answer, parts)).length / answers.length,
    gradNorm: learned.gradNorm,
    learningRate: optimizer.learningRate,
    skipped: learned.skipped,
    microBatch: microBatch.reduced,
    samples: await rolloutSamples(scored, {
      count: parts.samples,
      samplesPerPrompt,
      reference: policy.hasReference,
      tokenizer: parts.tokenizer,
    }),
    timing: {
      seconds: (performance.now() - began) / 1000,
      rolloutSeconds,
      tokensPerSecond: sum(lengths) / rolloutSeconds,
    },
  };
}

/** Passes over the kept rows in shuffled minibatches: maximum likelihood of their response tokens. */
async function learn(
  { model, scopes: [scope] }: Policy,
  { rollout: { sequence, responseMask }, lengths }: Answered,
  kept: readonly number[],
  parts: { optimizer: RftParts['optimizer']; microBatch: MicroBatch },
  config: RftConfig,
  step: number,
) {
  const updates = Array.from({ length: config.epochs }, (_, epoch) => {
    const batches = minibatches(kept.length, config.minibatchSize, config, step, epoch);
    return chunks(batches, config.accumulate);
  }).flat();
  const means = new Mean<'loss' | 'gradNorm'>();
  let skips = 0;
  for (const [i, batches] of updates.entries()) {
    const rows = batches.map((batch) => batch.map((place) => kept[place] as number));
    const isLast = i + 1 === updates.length;
    const { loss, gradNorm, skipped } = await update(
      parts,
      rows,
      {
        denominator: sum(rows.flat().map((row) => lengths[row] as number)),
        maxGradNorm: config.maxGradNorm,
        maxSkipped: isLast ? skipsAllowed(step, config.steps, config) : config.maxSkippedSteps,
      },
      async (some, denominator) => {
        using batch = await rowsOf({ sequence, responseMask }, some);
        return await model.loss(batch.sequence, { scope, mask: batch.responseMask, denominator });
      },
    );
    means.add({ loss, gradNorm });
    skips += Number(skipped);
  }
  const { loss, gradNorm } = updates.length === 0 ? {} : means.result();
  return { loss, gradNorm, skipped: skips };
}
