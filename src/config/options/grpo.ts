// Written by `npm run options` from src/config/grpo.ts; change the schema there, not this file.

/** The options of GRPO, apart from model, prompts and reward. */
export interface GrpoConfigInput {
  /**
   * Iterations, each a rollout and its updates.
   * An integer >= 1.
   * @default 100
   */
  steps?: number | undefined;
  /**
   * Prompts per iteration.
   * An integer >= 1.
   * @default 64
   */
  rolloutBatch?: number | undefined;
  /**
   * Max tokens of a prompt, kept from its end.
   * An integer >= 1.
   * @default 96
   */
  maxPromptLength?: number | undefined;
  /**
   * How responses are sampled.
   */
  sampling?:
    | {
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
        /**
         * Replace prompts whose responses all have the same score, in up to 3 draws per iteration (DAPO).
         * @default false
         */
        dynamic?: boolean | undefined;
      }
    | undefined;
  /**
   * How responses are scored.
   */
  score?:
    | {
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
    | undefined;
  /**
   * Passes over the responses of each iteration.
   * An integer >= 1.
   * @default 4
   */
  epochs?: number | undefined;
  /**
   * Responses per minibatch.
   * An integer >= 1.
   * @default 32
   */
  minibatchSize?: number | undefined;
  /**
   * Minibatches per optimizer step (gradient accumulation).
   * An integer >= 1.
   * @default 1
   */
  accumulate?: number | undefined;
  /**
   * Peak learning rate of the policy (default: chosen by its width).
   * A finite number > 0.
   */
  lr?: number | undefined;
  /**
   * Iterations over which the learning rate rises to lr.
   * An integer >= 0.
   * @default 3
   */
  warmupSteps?: number | undefined;
  /**
   * How the learning rate falls to 0 at the last step.
   * @default "linear"
   */
  decay?: 'linear' | 'cosine' | 'constant' | undefined;
  /**
   * The optimizer and its settings.
   */
  optimisation?:
    | {
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
      }
    | undefined;
  /**
   * End the epochs of an iteration early above this KL, in nats per token; false never does.
   * A finite number > 0 or false.
   * @default false
   */
  approxKlStop?: number | false | undefined;
  /**
   * Max gradient norm; larger gradients are scaled down.
   * A finite number > 0.
   * @default 1
   */
  maxGradNorm?: number | undefined;
  /**
   * Stop after this many consecutive non-finite optimizer steps.
   * An integer >= 1.
   * @default 5
   */
  maxSkippedSteps?: number | undefined;
  /**
   * Rank of the trained adapters; false (--no-lora) trains all weights.
   * An integer >= 1 or false.
   * @default 8
   */
  lora?: number | false | undefined;
  /**
   * Which step is the best, and when to stop early.
   */
  evaluation?:
    | {
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
    | undefined;
  /**
   * When the run is saved.
   */
  checkpoint?:
    | {
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
    | undefined;
  /**
   * Seed of all random numbers.
   * An integer >= 0.
   * @default 0
   */
  seed?: number | undefined;
  /**
   * Where to compute: cpu, cuda or cuda:N.
   * Cpu, cuda or cuda:N.
   * @default "cpu"
   */
  device?: string | undefined;
  /**
   * On a GPU, use only bitwise reproducible algorithms; the CPU always does.
   * @default false
   */
  deterministic?: boolean | undefined;
  /**
   * Cost of KL to the reference policy, per nat, in the reward.
   * A finite number >= 0.
   * @default 0
   */
  klWeight?: number | undefined;
  /**
   * How the responses to a prompt are compared.
   */
  advantage?:
    | {
        /**
         * What a response is compared with: the mean of its group, or see docs/grpo.md.
         * @default "group"
         */
        estimator?: 'group' | 'max-rl' | 'opo' | 'pass-k' | undefined;
        /**
         * Standard deviation that divides advantages (default: group; none with other estimators).
         */
        scale?: 'group' | 'batch' | 'none' | undefined;
      }
    | undefined;
  /**
   * The loss of the policy.
   */
  loss?:
    | {
        /**
         * Clip: a clipped ratio; cispo: a capped weight of log p; spo: a quadratic penalty on the ratio.
         * @default "clip"
         */
        kind?: 'clip' | 'cispo' | 'spo' | undefined;
        /**
         * One probability ratio per token, or per response (GSPO).
         * @default "token"
         */
        level?: 'token' | 'sequence' | undefined;
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
        /**
         * Largest ratio of a negative advantage (default: unlimited).
         * A finite number > 1.
         */
        ratioMax?: number | undefined;
        /**
         * Largest ratio of cispo (default: 5).
         * A finite number > 0.
         */
        ratioCap?: number | undefined;
        /**
         * Dapo: all response tokens count the same; row-mean: all responses do; dr-grpo: a sum over tokens, divided by responses and maxNewTokens (default: dapo, and row-mean with level sequence).
         */
        aggregation?: 'dapo' | 'row-mean' | 'dr-grpo' | undefined;
        /**
         * If set, klWeight weighs this estimate in the loss, instead of the KL in the reward.
         */
        kl?: 'unbiased' | 'k3' | undefined;
        /**
         * Weight of the entropy bonus.
         * A finite number >= 0.
         * @default 0
         */
        entropyWeight?: number | undefined;
        /**
         * Ignore worse responses further than this from the rollout, in nats per token (default: none).
         * A finite number > 0.
         */
        offPolicyKl?: number | undefined;
      }
    | undefined;
}
