// Written by `npm run options`: groups of options that several methods have.

export interface CpoCheckpointInput {
  /**
   * Steps between checkpoints; the last step is always saved.
   * An integer >= 1.
   * @default 100
   */
  every?: number | undefined;
  /**
   * Number of newest checkpoints to keep.
   * An integer >= 2.
   * @default 2
   */
  keep?: number | undefined;
  /**
   * If set, return to the last checkpoint after a loss spike.
   */
  spikes?:
    | {
        /**
         * Standard deviations above the mean of recent losses that make a spike.
         * A finite number > 0.
         * @default 6
         */
        threshold?: number | undefined;
        /**
         * Min number of batches to skip after a spike.
         * An integer >= 0.
         * @default 200
         */
        skip?: number | undefined;
      }
    | undefined;
}

export interface CpoEvaluationInput {
  /**
   * Keep the model of the step at which this metric was best, as best.safetensors.
   * Text.
   */
  keepBest?: string | undefined;
  /**
   * Whether lower or higher values of keepBest are better (default: known for losses, scores and accuracies).
   */
  mode?: 'min' | 'max' | undefined;
  /**
   * End the run after so many values of keepBest in a row that are not better than the best (default: never).
   * An integer >= 1.
   */
  stopAfter?: number | undefined;
}

export interface FlowrlCheckpointInput {
  /**
   * Steps between checkpoints; the last step is always saved.
   * An integer >= 1.
   * @default 50
   */
  every?: number | undefined;
  /**
   * Number of newest checkpoints to keep.
   * An integer >= 2.
   * @default 2
   */
  keep?: number | undefined;
}

export interface FlowrlEvaluationInput {
  /**
   * Keep the model of the step at which this metric was best, as best.safetensors.
   * Text.
   */
  keepBest?: string | undefined;
  /**
   * Whether lower or higher values of keepBest are better (default: known for losses, scores and accuracies).
   */
  mode?: 'min' | 'max' | undefined;
  /**
   * End the run after so many values of keepBest in a row that are not better than the best (default: never).
   * An integer >= 1.
   */
  stopAfter?: number | undefined;
  /**
   * Limits that end a run which leaves what its reward can judge.
   */
  guard?:
    | {
        /**
         * Scores the answers besides reward, and nothing is learned from it: a reward model, a module or a URL.
         * Text.
         */
        reward?: string | undefined;
        /**
         * Least correlation of the scores with those of guard.reward (default: 0.4).
         * A finite number >= -1 and <= 1.
         */
        agreement?: number | undefined;
        /**
         * How far the mean score of guard.reward may fall below its highest.
         * A finite number > 0.
         */
        drop?: number | undefined;
        /**
         * Most KL to the reference policy, in nats per response.
         * A finite number > 0.
         */
        kl?: number | undefined;
        /**
         * Factor by which responses may become longer or shorter than in the first iteration.
         * A finite number > 1.
         */
        length?: number | undefined;
        /**
         * How far the share of repeated trigrams may rise above that of the first iteration.
         * A finite number > 0 and <= 1.
         */
        repetition?: number | undefined;
        /**
         * Iterations in a row over a limit that end the run.
         * An integer >= 1.
         * @default 2
         */
        patience?: number | undefined;
      }
    | undefined;
}

export interface FlowrlSamplingInput {
  /**
   * Max tokens per response.
   * An integer >= 1.
   * @default 64
   */
  maxNewTokens?: number | undefined;
  /**
   * Divides the logits, both in sampling and in training.
   * A finite number > 0.
   * @default 1
   */
  temperature?: number | undefined;
  /**
   * Number of responses per prompt, compared with each other.
   * An integer >= 2.
   * @default 8
   */
  samplesPerPrompt?: number | undefined;
  /**
   * Log-probabilities of the rollout: recomputed by the forward pass of training, or as sampled.
   * @default "recomputed"
   */
  logProb?: 'recomputed' | 'sampled' | undefined;
}

export interface LossInput {
  /**
   * Lower clip of the probability ratio, at 1 − clip (default: 0.2).
   * A finite number > 0.
   */
  clip?: number | undefined;
  /**
   * Upper clip of the probability ratio, at 1 + clipHigh (default: clip).
   * A finite number > 0.
   */
  clipHigh?: number | undefined;
  /**
   * The loss of a token with a negative advantage is at most this many times it (default: unlimited).
   * A finite number > 1.
   */
  dualClip?: number | undefined;
}

export interface OptimisationInput {
  /**
   * Optimizer algorithm.
   * @default "adamw"
   */
  optimizer?: 'adamw' | 'adoptAtan2' | 'adamAtan2' | undefined;
  /**
   * Decay rates of the running means of gradient and squared gradient.
   * 2 values, each a finite number >= 0 and < 1.
   * @default [0.9,0.999]
   */
  betas?: [number, number] | undefined;
  /**
   * Weight decay.
   * A finite number >= 0.
   * @default 0
   */
  weightDecay?: number | undefined;
  /**
   * Train only so many of the top layers, the final norm and a head that is not tied; needs --no-lora (default: all).
   * An integer >= 1.
   */
  numLayersUnfrozen?: number | undefined;
}

export interface ReinforceSamplingInput {
  /**
   * Max tokens per response.
   * An integer >= 1.
   * @default 64
   */
  maxNewTokens?: number | undefined;
  /**
   * Divides the logits, both in sampling and in training.
   * A finite number > 0.
   * @default 1
   */
  temperature?: number | undefined;
  /**
   * Number of responses per prompt.
   * An integer >= 1.
   * @default 1
   */
  samplesPerPrompt?: number | undefined;
  /**
   * Log-probabilities of the rollout: recomputed by the forward pass of training, or as sampled.
   * @default "recomputed"
   */
  logProb?: 'recomputed' | 'sampled' | undefined;
}

export interface ScoreInput {
  /**
   * Statistics that normalise scores to mean 0 and deviation 1: none, those of the reward model, or those of the run so far; with -scale, scores are divided by the deviation alone (default: reference if the reward model has them, else running).
   */
  norm?: 'none' | 'reference' | 'running' | 'reference-scale' | 'running-scale' | undefined;
  /**
   * Scores are first limited to ± this (default: unlimited).
   * A finite number > 0.
   */
  clip?: number | undefined;
  /**
   * Subtracted from the normalised score of a response that did not end.
   * A finite number >= 0.
   * @default 0
   */
  missingEosPenalty?: number | undefined;
  /**
   * Takes the place of the normalised score of a response that did not end (default: its own score).
   * A finite number.
   */
  missingEosScore?: number | undefined;
  /**
   * The last tokens before maxNewTokens, over which a penalty rises to 1 (default: none).
   * An integer >= 1.
   */
  overlongBuffer?: number | undefined;
  /**
   * If set, a penalty for n-grams that a response repeats.
   */
  repetition?:
    | {
        /**
         * Number of tokens that count as repeated together.
         * An integer >= 1.
         * @default 3
         */
        ngram?: number | undefined;
        /**
         * Penalty of a response that repeats itself throughout.
         * A finite number > 0.
         * @default 1
         */
        penalty?: number | undefined;
      }
    | undefined;
  /**
   * Max seconds per call of a reward function.
   * A finite number > 0 and <= 1000000.
   * @default 600
   */
  timeout?: number | undefined;
  /**
   * How several rewards become one: their weighted sum, their mean, the min, or the mean minus disagreement × variance (default: sum).
   */
  combine?: 'sum' | 'mean' | 'min' | 'conservative' | undefined;
  /**
   * Weight of the variance in conservative (default: 0.5).
   * A finite number > 0.
   */
  disagreement?: number | undefined;
}
