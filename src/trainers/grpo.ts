/** Group relative policy optimisation (Shao et al. 2024): PPO's policy loss without a critic. docs/grpo.md has the formulas. */
import { groupAdvantages } from '../advantages.ts';
import { type GrpoConfig, grpoConfig } from '../config/grpo.ts';
import { parseKnown } from '../config/schema.ts';
import { checkKinds, having, instanceOf, LISTS, optional, SIGNAL } from '../checks/kinds.ts';
import { checkInteger } from '../checks/options.ts';
import { type GrpoMetrics, grpoLoss } from '../losses.ts';
import { Policy } from '../models/policy.ts';
import { Optimizer } from '../optim.ts';
import { rowsOf } from '../tensor/rows.ts';
import { useDeterministic } from '../tensor/tensor.ts';
import {
  answerAndScore,
  answerMetrics,
  checkOnPolicyParts,
  checkPrompts,
  learnInPasses,
  type OnPolicyParts,
} from './on-policy.ts';
import { MicroBatch } from './out-of-memory.ts';
import { BATCHES, REWARD } from './parts.ts';
import { defaultPolicyRate, learningRate } from './schedule.ts';
import { RunningScores, scoreNorm } from './score-norm.ts';

/** What GRPO works with. All that it changes is in here, so saving these and the step number saves the run. */
export interface GrpoParts extends OnPolicyParts {
  /** `optimizer` is over its parameters. */
  policy: Policy;
}

const PARTS = {
  policy: instanceOf(Policy),
  reward: REWARD,
  prompts: LISTS,
  batches: BATCHES,
  optimizer: instanceOf(Optimizer),
  stop: optional(LISTS),
  signal: optional(SIGNAL),
  runningScores: optional(having('a RunningScores', 'update')),
};

/** What an iteration tells. What the loss measures, and gradNorm, are means over its updates. */
export interface GrpoStep extends Omit<GrpoMetrics, 'maxLogRatio'> {
  /** Iterations done, from 1. */
  step: number;
  /** Mean score of the reward, as it was given. */
  score: number;
  /** Mean per response of the normalised score less the KL penalty. */
  reward: number;
  /** Mean over prompts of the deviation of their normalised scores. */
  scoreStd: number;
  /** Share of prompts whose responses all have the same reward: nothing is learned from them. */
  zeroStdShare: number;
  /** Mean per response of log-probability less the reference's, in nats; undefined without a reference policy. */
  kl: number | undefined;
  /** Mean tokens of a response. */
  responseLength: number;
  /** Share of responses that ended by themselves. */
  eosShare: number;
  gradNorm: number;
  learningRate: number;
  /** Updates whose loss or gradient was not finite: the weights did not change. */
  skipped: number;
  /** Responses that were learned from at once, where memory did not suffice for `minibatchSize` of them. */
  microBatch: number | undefined;
  /** Passes begun over the responses. */
  epochs: number;
  /** Largest |log ratio| in the first minibatch, before any update: 0 up to rounding. */
  firstLogRatio: number;
  /** Largest difference between a log-probability that the sampler saw and the one that training computes. */
  samplerGap: number;
  timing: { seconds: number; rolloutSeconds: number; tokensPerSecond: number };
}

/**
 * Trains `policy`, one iteration a step: answer prompts, several times each, score the answers, learn from how they compare.
 * `start` is the number of steps already done. All native memory of a step is freed before it is yielded.
 * @throws ArgumentError before the first step for a token that the model does not have and for parts that are missing.
 * @throws RewardError where the reward gives no score for an answer.
 * @throws NumericsError after `config.maxSkippedSteps` updates in a row that were not finite, where no update of the last step was,
 * and where the policy's logits are not.
 */
export async function* grpo(parts: GrpoParts, options: GrpoConfig, start = 0): AsyncGenerator<GrpoStep> {
  checkKinds('grpo parts', parts, PARTS);
  checkInteger(start, 0, 'start');
  const config = parseKnown(grpoConfig, options, 'grpo');
  if (config.deterministic) await useDeterministic(true);
  checkPrompts(parts.policy, parts);
  checkOnPolicyParts(parts.policy, parts, config, start);
  const own = {
    microBatch: new MicroBatch(config.minibatchSize),
    normalise: scoreNorm(parts.reward, config.score, parts.runningScores ?? new RunningScores()),
  };
  for (let step = start; step < config.steps; step++) yield await iterate(parts, config, step, own);
}

/** What the iterations of a run share besides its parts. */
interface Own {
  microBatch: MicroBatch;
  normalise: (scores: readonly number[]) => number[];
}

async function iterate(parts: GrpoParts, config: GrpoConfig, step: number, own: Own): Promise<GrpoStep> {
  const { policy, optimizer } = parts;
  const { klWeight, scale, sampling, loss } = config;
  optimizer.learningRate = learningRate(step, { ...config, lr: config.lr ?? defaultPolicyRate(policy), minLr: 0 });
  const began = performance.now();

  // Act: answer every prompt several times, and have the answers scored.
  using scored = await answerAndScore(policy, parts, config, step, own.normalise);
  const { rollout, normalised, lengths, rolloutSeconds } = scored;

  // Compare: how much better is an answer than the others to its prompt?
  const { samplesPerPrompt, temperature } = sampling;
  using compared = await groupAdvantages(rollout, normalised, { samplesPerPrompt, klWeight, scale });
  const { kl, ...measured } = await compared.metrics();

  // Learn: a few passes over shuffled minibatches of the same answers.
  const { sequence, responseMask, rolloutLogProb } = rollout;
  const batch = { sequence, responseMask, rolloutLogProb, advantage: compared.advantage };
  const byRow = loss.aggregation === 'row-mean';
  const countOf = (rows: readonly number[]) => (byRow ? rows.length : sum(rows.map((row) => lengths[row] as number)));
  const { means, ...passes } = await learnInPasses<keyof GrpoMetrics>(
    { optimizer, microBatch: own.microBatch },
    config,
    { step, rows: lengths.length, countOf },
    async (rows, denominator) => {
      using some = await rowsOf(batch, rows);
      using now = await policy.logProb(some.sequence, { temperature });
      return await grpoLoss(now, some, { ...loss, denominator });
    },
  );

  const { score, eosShare } = answerMetrics(scored, parts);
  return {
    step: step + 1,
    ...measured,
    score,
    kl: policy.hasReference ? kl : undefined,
    eosShare,
    ...means,
    ...passes,
    microBatch: own.microBatch.reduced,
    learningRate: optimizer.learningRate,
    timing: {
      seconds: (performance.now() - began) / 1000,
      rolloutSeconds,
      tokensPerSecond: sum(lengths) / rolloutSeconds,
    },
  };
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}
