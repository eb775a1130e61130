/** Group relative policy optimisation (Shao et al. 2024): PPO's policy loss without a critic. docs/grpo.md has the formulas. */
import { groupAdvantages } from '../advantages.ts';
import { type GrpoConfig, grpoConfig } from '../config/grpo.ts';
import { parseKnown } from '../config/schema.ts';
import { checkKinds, instanceOf } from '../checks/kinds.ts';
import { checkInteger } from '../checks/options.ts';
import { type GrpoMetrics, grpoLoss } from '../losses/policy.ts';
import { Policy } from '../models/policy.ts';
import { rowsOf } from '../tensor/rows.ts';
import { useDeterministic } from '../tensor/tensor.ts';
import {
  answerAndScore,
  answerMetrics,
  checkOnPolicyParts,
  checkPrompts,
  learnInPasses,
  ON_POLICY_PARTS,
  type OnPolicyParts,
  type OnPolicyStep,
  type RunState,
  runStateOf,
  sum,
} from './on-policy.ts';
import { rolloutSamples } from './samples.ts';
import { defaultPolicyRate, learningRate } from './schedule.ts';

/** The parts of a GRPO run. They hold all mutable training state, so saving them and the step number saves the run. */
export interface GrpoParts extends OnPolicyParts {
  /** Trained by `optimizer`. */
  policy: Policy;
}

const PARTS = {
  policy: instanceOf(Policy),
  ...ON_POLICY_PARTS,
};

/** The metrics of an iteration. Fields computed during updates (loss, gradNorm, …) are averaged over updates. */
export interface GrpoStep extends OnPolicyStep, Omit<GrpoMetrics, 'maxLogRatio'> {
  /** Standard deviation of the normalised scores of a prompt's responses, averaged over prompts. */
  scoreStd: number;
  /** Share of prompts whose responses all have the same reward: they teach nothing. */
  zeroStdShare: number;
}

/**
 * Trains `policy`, one iteration per step: answer prompts, several times each, score the answers, compare them, learn from the
 * comparison. `start` is the number of steps already done. All native memory of a step is freed before it is yielded.
 * @throws ArgumentError before the first step, for a token that the model does not have.
 * @throws ArgumentError before the first step, for a missing part.
 * @throws RewardError if the reward returns no score for an answer.
 * @throws NumericsError if `config.maxSkippedSteps` consecutive updates are not finite.
 * @throws NumericsError if no update of the last step is finite.
 * @throws NumericsError if the policy's logits are not finite.
 */
export async function* grpo(parts: GrpoParts, options: GrpoConfig, start = 0): AsyncGenerator<GrpoStep> {
  checkKinds('grpo parts', parts, PARTS);
  checkInteger(start, 0, 'start');
  const config = parseKnown(grpoConfig, options, 'grpo');
  if (config.deterministic) await useDeterministic(true);
  checkPrompts(parts.policy, parts);
  checkOnPolicyParts(parts.policy, parts, config, start);
  const state = runStateOf(parts, config);
  for (let step = start; step < config.steps; step++) yield await iterate(parts, config, step, state);
}

async function iterate(parts: GrpoParts, config: GrpoConfig, step: number, state: RunState): Promise<GrpoStep> {
  const { policy, optimizer } = parts;
  const { klWeight, scale, sampling, loss } = config;
  optimizer.learningRate = learningRate(step, { ...config, lr: config.lr ?? defaultPolicyRate(policy), minLr: 0 });
  const began = performance.now();

  // Act: answer every prompt several times, and have the answers scored.
  using scored = await answerAndScore(policy, parts, config, step, state.normalise);
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
    { optimizer, microBatch: state.microBatch },
    config,
    { step, rows: lengths.length, countOf },
    async (rows, denominator) => {
      using some = await rowsOf(batch, rows);
      using now = await policy.logProb(some.sequence, { temperature });
      return await grpoLoss(now, some, { ...loss, denominator });
    },
  );

  const { score, parts: byReward, eosShare } = answerMetrics(scored, parts);
  return {
    step: step + 1,
    ...measured,
    score,
    ...byReward,
    kl: policy.hasReference ? kl : undefined,
    eosShare,
    ...means,
    ...passes,
    microBatch: state.microBatch.reduced,
    learningRate: optimizer.learningRate,
    samples: await rolloutSamples(scored, {
      count: parts.samples,
      samplesPerPrompt: config.sampling.samplesPerPrompt,
      reference: policy.hasReference,
    }),
    timing: {
      seconds: (performance.now() - began) / 1000,
      rolloutSeconds,
      tokensPerSecond: sum(lengths) / rolloutSeconds,
    },
  };
}
