/** The loss of FlowRL; docs/flowrl.md has the formulas. */
import { checkOptions } from '../checks/options.ts';
import type { FlowrlEvaluation } from '../models/flowrl-policy.ts';
import type { Rollout } from '../models/policy.ts';
import { addon } from '../native/addon.ts';
import { run } from '../native/resource.ts';
import { handlesOf, Inputs, tensorsOf, type Values } from '../tensor/arguments.ts';
import { Loss } from '../tensor/loss.ts';

/** What `flowrlLoss` measures: means over responses, except for the last three. */
export interface FlowrlMetrics {
  policyLoss: number;
  /** How far log Z, the policy and the score are from balance, in nats: 0 at the optimum. */
  balance: number;
  /** log Z of the prompts. */
  logPartition: number;
  /** The clipped ratio that weighs a response. */
  weight: number;
  /** Share of responses whose ratio is clipped. */
  clipFraction: number;
  entropy: number;
  /** Estimate of the KL from the policy of the rollout to the current one, in nats per token. */
  approxKl: number;
  /** Largest |log ratio| of a token. */
  maxLogRatio: number;
}

export interface FlowrlLossOptions {
  /** Responses per prompt, in neighbouring rows; at least 2, because their scores are compared. */
  samplesPerPrompt: number;
  /** How much a standard deviation of the scores of a prompt counts, in nats per token. */
  beta: number;
  /** The ratio that weighs a response is at least 1 − clip and at most 1 + clipHigh. */
  clip: number;
  clipHigh: number;
  /** Divisor of the sum over responses. Defaults to their number. */
  denominator?: number;
  /** Divisor of the metrics of tokens. Defaults to the number of response tokens. */
  tokens?: number;
}

const NOW = ['logProb', 'entropy', 'logPartition'] as const;
const THEN = ['rolloutLogProb', 'referenceLogProb', 'responseMask'] as const;

/**
 * How far a policy is from the reference weighted by exp(beta · score), one scalar, for scores [B]. `now` is of the current weights:
 * `logPartition` is [B], other tensors are [B, T].
 * @throws ArgumentError if the number of rows is not a multiple of `samplesPerPrompt`.
 */
export async function flowrlLoss(
  now: FlowrlEvaluation,
  rollout: Pick<Rollout, (typeof THEN)[number]>,
  score: Values,
  options: FlowrlLossOptions,
): Promise<Loss<keyof FlowrlMetrics>> {
  const names = ['samplesPerPrompt', 'beta', 'clip', 'clipHigh', 'denominator', 'tokens'];
  checkOptions(options, names, 'flowrlLoss');
  const { samplesPerPrompt, beta, clip: clipLow, clipHigh, denominator, tokens } = options;
  const current = handlesOf(now, NOW);
  const then = handlesOf(rollout, THEN);
  using inputs = new Inputs(now.logProb.device);
  const scores = inputs.values(score, 'score');
  const used = [...tensorsOf(now, NOW), ...tensorsOf(rollout, THEN), ...inputs.used];
  const chosen = { samplesPerPrompt, beta, clipLow, clipHigh };
  return new Loss(await run(used, () => addon().flowrlLoss(current, then, scores, chosen, denominator, tokens)));
}
