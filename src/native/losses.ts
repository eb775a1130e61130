/** The types of the addon's exports that compute advantages and losses; exports.ts has the others. */
import type {
  NativeActionValues,
  NativeEvaluation,
  NativeExperience,
  NativeFlowrlEvaluation,
  NativeHistogram,
  NativeLogProb,
  NativeLoss,
  NativeMetrics,
  NativePrediction,
  NativeRankingOptions,
  NativeRollout,
  NativeValuedRollout,
  TensorHandle,
} from './types.ts';

/** What fills in the equation of native/losses/preference.h. */
export interface NativePreferenceOptions {
  loss: string;
  beta: number;
  labelSmoothing: number;
  targetMargin: number;
  lossWeight: number;
  bcoWeight: number;
  delta: number;
  nllWeight: number;
  lengthNormalised: boolean;
  tailWeight: number;
  divergence: string;
  alpha: number;
}

export interface NativeLosses {
  // Advantages (native/binding/advantages.cc)
  /** Turns scores [B] into rewards, advantages by GAE, and returns. */
  judge(
    rollout: NativeValuedRollout,
    score: TensorHandle,
    dense: TensorHandle | undefined,
    options: {
      klWeight: number;
      gamma: number;
      lambda: number;
      whiten: boolean;
      lengthAdaptive: number | undefined;
    },
  ): Promise<{ reward: TensorHandle; advantage: TensorHandle; returns: TensorHandle; metrics: NativeMetrics }>;
  /**
   * Turns scores [B] minus the KL penalty into advantages [B, T] within groups of `samplesPerPrompt` neighbouring rows: the same
   * number for every token of a response, 0 elsewhere. `baseline` [prompts] is for the estimator of that name.
   */
  groupAdvantages(
    rollout: NativeRollout,
    score: TensorHandle,
    baseline: TensorHandle | undefined,
    options: {
      samplesPerPrompt: number;
      klWeight: number;
      estimator: string;
      scale: string;
      rewardWeights: number[];
    },
  ): Promise<{ advantage: TensorHandle; metrics: NativeMetrics }>;
  /** Turns scores [B] into whitened returns [B, T]. */
  returnAdvantages(
    rollout: NativeRollout,
    score: TensorHandle,
    options: { samplesPerPrompt: number; klWeight: number; gamma: number; groupBaseline: boolean },
  ): Promise<{ advantage: TensorHandle; returns: TensorHandle; metrics: NativeMetrics }>;

  // Losses (native/binding/losses.cc)
  ppoLoss(
    evaluation: NativeEvaluation,
    experience: NativeExperience,
    options: {
      clip: number;
      valueClip: number;
      valueWeight: number;
      entropyWeight: number;
      dualClip: number | undefined;
      histogram: NativeHistogram | undefined;
    },
    denominator: number | undefined,
  ): Promise<NativeLoss>;
  /** The expected values [N] of logits [N, bins]. */
  histogramValue(logits: TensorHandle, histogram: NativeHistogram): Promise<TensorHandle>;
  /** Rows 0 … N − 1 of [2N, T] are chosen, the others rejected responses to the same prompts. */
  preferenceLoss(
    logProb: TensorHandle,
    referenceLogProb: TensorHandle | undefined,
    responseMask: TensorHandle,
    options: NativePreferenceOptions,
    denominator: number | undefined,
    nllDenominator: number | undefined,
  ): Promise<NativeLoss>;
  ktoLoss(
    logProb: TensorHandle,
    referenceLogProb: TensorHandle,
    responseMask: TensorHandle,
    desirable: TensorHandle,
    mismatched: TensorHandle[],
    options: { loss: string; beta: number; desirableWeight: number; undesirableWeight: number; delta: number },
    denominators: { rows?: number; desirable?: number; undesirable?: number },
  ): Promise<NativeLoss>;
  /** The sum of logProb − referenceLogProb over each response, [B]. */
  logRatio(logProb: TensorHandle, referenceLogProb: TensorHandle, responseMask: TensorHandle): Promise<TensorHandle>;
  ilqlLoss(
    read: NativeActionValues,
    response: TensorHandle,
    reward: TensorHandle,
    responseMask: TensorHandle,
    options: { tau: number; gamma: number; cqlWeight: number; awacWeight: number; beta: number },
    denominator: number | undefined,
  ): Promise<NativeLoss>;
  /** `logits + beta · min(targetQ1, targetQ2)`. */
  ilqlLogits(logits: TensorHandle, targetQ1: TensorHandle, targetQ2: TensorHandle, beta: number): Promise<TensorHandle>;
  sftLoss(
    now: NativePrediction,
    mask: TensorHandle,
    loss: string,
    denominator: number | undefined,
  ): Promise<NativeLoss>;
  /** The prediction of tokens [B, T] by logits [B, T, V]. */
  predictionOf(logits: TensorHandle, tokens: TensorHandle): Promise<NativePrediction>;
  /** Per response token [B, T], 0 elsewhere. */
  implicitReward(
    logProb: TensorHandle,
    referenceLogProb: TensorHandle,
    responseMask: TensorHandle,
    beta: number,
  ): Promise<TensorHandle>;
  /** The sum of `implicitReward` over each response, [B]. */
  implicitScore(
    logProb: TensorHandle,
    referenceLogProb: TensorHandle,
    responseMask: TensorHandle,
    beta: number,
  ): Promise<TensorHandle>;
  /** `label` [B] is 1 for right answers and 0 for wrong ones. */
  implicitRewardLoss(
    logProb: TensorHandle,
    referenceLogProb: TensorHandle,
    responseMask: TensorHandle,
    label: TensorHandle,
    options: { beta: number; perToken: boolean },
    denominators: { rows?: number; tokens?: number; desirable?: number; undesirable?: number },
  ): Promise<NativeLoss>;
  maskedMean(values: TensorHandle, mask: TensorHandle | undefined): Promise<TensorHandle>;
  whiten(values: TensorHandle, mask: TensorHandle | undefined): Promise<TensorHandle>;
  entropy(logits: TensorHandle): Promise<TensorHandle>;

  // Losses without a critic (native/binding/policy-losses.cc)
  policyLoss(
    now: NativeLogProb,
    compared: NativeCompared,
    options: NativePolicyOptions,
    denominator: number | undefined,
    tokens: number | undefined,
  ): Promise<NativeLoss>;
  /** `rolloutLogProb` is used by the estimator `unbiased` alone. */
  klLoss(
    logProb: TensorHandle,
    referenceLogProb: TensorHandle,
    rolloutLogProb: TensorHandle,
    responseMask: TensorHandle,
    estimator: string,
    denominator: number | undefined,
  ): Promise<NativeLoss>;
  targetPolicyLoss(
    now: NativeLogProb,
    rolloutLogProb: TensorHandle,
    responseMask: TensorHandle,
    score: TensorHandle,
    options: { samplesPerPrompt: number; eta: number },
    denominator: number | undefined,
    tokens: number | undefined,
  ): Promise<NativeLoss>;
  flowrlLoss(
    now: NativeFlowrlEvaluation,
    rollout: { rolloutLogProb: TensorHandle; referenceLogProb: TensorHandle; responseMask: TensorHandle },
    score: TensorHandle,
    options: { samplesPerPrompt: number; beta: number; clipLow: number; clipHigh: number },
    denominator: number | undefined,
    tokens: number | undefined,
  ): Promise<NativeLoss>;
  offPolicyWeight(
    rolloutLogProb: TensorHandle,
    samplerLogProb: TensorHandle,
    responseMask: TensorHandle,
    options: { mode: string; min: number | undefined; max: number },
  ): Promise<TensorHandle>;

  // Losses of reward models, which native/binding/rlhf.cc has beside the models
  /** Scores, groups and ranks are [B]; lower ranks are better. */
  rankingLoss(
    score: TensorHandle,
    groups: TensorHandle,
    ranks: TensorHandle,
    options: NativeRankingOptions,
    denominator: number | undefined,
  ): Promise<NativeLoss>;
  /** Logits and labels are [B, T]; labels are 1, 0, or negative where there is none. */
  stepLoss(logit: TensorHandle, label: TensorHandle, denominator: number | undefined): Promise<NativeLoss>;
}

/** Responses with advantages, all [B, T]. */
interface NativeCompared {
  rolloutLogProb: TensorHandle;
  advantage: TensorHandle;
  responseMask: TensorHandle;
  referenceLogProb: TensorHandle | undefined;
  weight: TensorHandle | undefined;
}

interface NativePolicyOptions {
  kind: string;
  level: string;
  aggregation: string;
  clipLow: number;
  clipHigh: number;
  ratioMax: number | undefined;
  dualClip: number | undefined;
  ratioCap: number;
  kl: string | undefined;
  klWeight: number;
  entropyWeight: number;
  topEntropy: number | undefined;
  offPolicyKl: number | undefined;
}
