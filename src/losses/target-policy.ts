/** The loss of target policy optimisation; docs/target-policy.md has the formulas. */
import { checkOptions } from '../checks/options.ts';
import type { LogProb, Rollout } from '../models/policy.ts';
import { addon } from '../native/addon.ts';
import { run } from '../native/resource.ts';
import { handlesOf, Inputs, tensorsOf, type Values } from '../tensor/arguments.ts';
import { Loss } from '../tensor/loss.ts';

/** What `targetPolicyLoss` measures. */
export interface TargetPolicyMetrics {
  policyLoss: number;
  /** Entropy of the target in nats, averaged over prompts: near 0, one response has all the weight. */
  targetEntropy: number;
  entropy: number;
  /** Estimate of the KL from the policy of the rollout to the current one, in nats per token. */
  approxKl: number;
  /** Largest |log ratio| of a token. */
  maxLogRatio: number;
}

export interface TargetPolicyOptions {
  /** Responses per prompt, in neighbouring rows. */
  samplesPerPrompt: number;
  /** Temperature of the target: the smaller, the more it prefers the better responses. */
  eta: number;
  /** Divisor of the sum over prompts. Defaults to their number. */
  denominator?: number;
  /** Divisor of the metrics of tokens. Defaults to the number of response tokens. */
  tokens?: number;
}

/**
 * Cross entropy between the policy's choice among the responses to a prompt and a target that prefers those with better scores
 * [B], one scalar. `now` is of the current weights; other tensors are [B, T].
 * @throws ArgumentError if the number of rows is not a multiple of `samplesPerPrompt`.
 */
export async function targetPolicyLoss(
  now: LogProb,
  rollout: Pick<Rollout, 'rolloutLogProb' | 'responseMask'>,
  score: Values,
  options: TargetPolicyOptions,
): Promise<Loss<keyof TargetPolicyMetrics>> {
  checkOptions(options, ['samplesPerPrompt', 'eta', 'denominator', 'tokens'], 'targetPolicyLoss');
  const { samplesPerPrompt, eta, denominator, tokens } = options;
  const keys = ['rolloutLogProb', 'responseMask'] as const;
  const current = handlesOf(now, ['logProb', 'entropy']);
  const { rolloutLogProb, responseMask } = handlesOf(rollout, keys);
  using inputs = new Inputs(now.logProb.device);
  const scores = inputs.values(score, 'score');
  const choice = { samplesPerPrompt, eta };
  const used = [now.logProb, now.entropy, ...tensorsOf(rollout, keys), ...inputs.used];
  const lose = () =>
    addon().targetPolicyLoss(current, rolloutLogProb, responseMask, scores, choice, denominator, tokens);
  return new Loss(await run(used, lose));
}
