/** The options of `policyLoss`, and which of them each kind of objective uses. */
import { ArgumentError, printable } from '../errors.ts';
import { checkOptions } from './options.ts';

/** Estimators of KL(policy ‖ reference); native/losses/kl.h has the formulas and their gradients. */
export type KlEstimator = 'k1' | 'k2' | 'k3' | 'k3+' | 'unbiased';

export interface PolicyLossOptions {
  /**
   * `clip`: the smaller of the ratio times the advantage and the same with the ratio clipped (PPO, GRPO, GSPO); `cispo`: log p
   * times the advantage and a ratio of at most `ratioCap`, which is not differentiated; `spo`: a quadratic penalty on the ratio
   * instead of a clip. Defaults to `clip`.
   */
  kind?: 'clip' | 'cispo' | 'spo' | undefined;
  /**
   * One ratio per `token`; or one per response, the mean over its tokens (`sequence`, GSPO) or their product (`sequence-sum`).
   * Defaults to `token`.
   */
  level?: 'token' | 'sequence' | 'sequence-sum' | undefined;
  /**
   * `dapo` averages over response tokens, `row-mean` over the tokens of a response, then over responses. Defaults to `dapo`; with
   * one ratio per response, only `row-mean`.
   */
  aggregation?: 'dapo' | 'row-mean' | undefined;
  /** The ratio counts only above 1 − clip. With `spo`, half the inverse of the penalty. Defaults to 0.2. */
  clip?: number | undefined;
  /** And below 1 + clipHigh. Defaults to `clip`. */
  clipHigh?: number | undefined;
  /** Largest ratio where the clip does not hold, with negative advantages. Unlimited by default. */
  ratioMax?: number | undefined;
  /** Where the advantage is negative, the loss of a token is at most this many times −advantage. Unlimited by default. */
  dualClip?: number | undefined;
  /** Of `cispo`. Defaults to 5. */
  ratioCap?: number | undefined;
  /** Adds an estimate of the KL to the reference, times `klWeight`. */
  kl?: KlEstimator | undefined;
  klWeight?: number | undefined;
  /** Weight of the mean entropy of tokens, which is subtracted. Defaults to 0. */
  entropyWeight?: number | undefined;
  /** Learns only from this share of the given tokens, those with the highest entropy. Defaults to all. */
  topEntropy?: number | undefined;
  /** Ignores responses with a negative advantage further than this from the rollout, in nats per token. Defaults to none. */
  offPolicyKl?: number | undefined;
  /** What sums over response tokens (`dapo`) or responses (`row-mean`) are divided by. Defaults to their number. */
  denominator?: number | undefined;
  /** What the metrics of tokens are divided by. Defaults to their number. */
  tokens?: number | undefined;
}

const SHARED = ['kind', 'level', 'aggregation', 'kl', 'klWeight', 'entropyWeight', 'topEntropy', 'offPolicyKl'];
const OWN = {
  clip: ['clip', 'clipHigh', 'ratioMax', 'dualClip'],
  cispo: ['ratioCap'],
  spo: ['clip'],
} as const;
const KNOWN = [...SHARED, ...OWN.clip, ...OWN.cispo, 'denominator', 'tokens'];

/** The first option that is set but not used by its `kind`, in words; undefined if all are used. */
export function unusedPolicyOption(options: PolicyLossOptions): { name: string; expected: string } | undefined {
  const { kind = 'clip' } = options;
  const used: readonly string[] = OWN[kind] ?? [];
  const set = [...OWN.clip, ...OWN.cispo].filter((name) => options[name] !== undefined);
  const name = set.find((each) => !used.includes(each));
  return name && { name, expected: `none with kind ${kind}, which uses ${used.join(', ')}` };
}

/** @throws ArgumentError for an option that is unknown, or that `kind` does not use. */
export function checkPolicyOptions(options: PolicyLossOptions, argument: string): void {
  checkOptions(options, KNOWN, argument);
  const unused = unusedPolicyOption(options);
  if (unused === undefined) return;
  const received = printable(options[unused.name as keyof PolicyLossOptions]);
  throw new ArgumentError({ argument: `${argument}.${unused.name}`, received, expected: unused.expected });
}
