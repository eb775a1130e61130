// Written by `npm run options` from src/config/reward.ts; change the schema there, not this file.
import type { CpoCheckpointInput, CpoEvaluationInput } from './groups.ts';

/** The options of reward-model training, apart from pairs. */
export interface RewardConfigInput {
  /**
   * Passes over the pairs.
   * An integer >= 1.
   * @default 2
   */
  epochs?: number | undefined;
  /**
   * Pairs per batch.
   * An integer >= 1.
   * @default 16
   */
  batchSize?: number | undefined;
  /**
   * Batches per optimizer step (gradient accumulation).
   * An integer >= 1.
   * @default 1
   */
  accumulate?: number | undefined;
  /**
   * Max tokens of prompt plus response; cuts the start of the prompt, then the end of the response.
   * An integer >= 2.
   * @default 256
   */
  maxLength?: number | undefined;
  /**
   * Max tokens of a prompt, kept from its end (default: what the responses leave room for).
   * An integer >= 1.
   */
  maxPromptLength?: number | undefined;
  /**
   * Peak learning rate (default: chosen by the width of the model).
   * A finite number > 0.
   */
  lr?: number | undefined;
  /**
   * Final learning rate (default: lr / 10).
   * A finite number >= 0.
   */
  minLr?: number | undefined;
  /**
   * Steps over which the learning rate rises to lr (default: steps / 10, max 100).
   * An integer >= 0.
   */
  warmupSteps?: number | undefined;
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
   * How compared responses become a loss.
   */
  ranking?:
    | {
        /**
         * Pairs: Bradley-Terry on every pair of a prompt; plackett-luce: on whole orders without ties.
         * @default "pairs"
         */
        model?: 'pairs' | 'plackett-luce' | undefined;
        /**
         * Whether equally good responses teach nothing (drop) or equal scores (rao-kupper).
         * @default "drop"
         */
        ties?: 'drop' | 'rao-kupper' | undefined;
        /**
         * Score difference within which a tie is likeliest, for rao-kupper (default: ln 1.5).
         * A finite number > 0.
         */
        tieWidth?: number | undefined;
        /**
         * Probability that a label is wrong.
         * A finite number >= 0 and < 0.5.
         * @default 0
         */
        labelSmoothing?: number | undefined;
        /**
         * Weight of (better + worse)^2, which centres scores around 0.
         * A finite number >= 0.
         * @default 0
         */
        centerWeight?: number | undefined;
        /**
         * Weight of (better^2 + worse^2) / 2, which also keeps scores small.
         * A finite number >= 0.
         * @default 0
         */
        l2Weight?: number | undefined;
        /**
         * Weight of a comparison with score 0: above it is the best, below it are all if none is good.
         * A finite number >= 0.
         * @default 0
         */
        anchorWeight?: number | undefined;
      }
    | undefined;
  /**
   * How rated responses become a loss.
   */
  rating?:
    | {
        /**
         * Number: a score is to equal the rating; order: responses to a prompt are compared by their ratings.
         * @default "number"
         */
        as?: 'number' | 'order' | undefined;
        /**
         * Number of different ratings, which are then classes (default: regression on the number).
         * An integer >= 2.
         */
        bins?: number | undefined;
        /**
         * The lowest rating, for bins (default: 1).
         * An integer.
         */
        lowest?: number | undefined;
        /**
         * Which of several ratings (default: their mean, without complexity and verbosity).
         * Text.
         */
        aspect?: string | undefined;
      }
    | undefined;
  /**
   * Which hidden states the score averages: those of the response, or all; last reads only that of the last token.
   * @default "response"
   */
  pooling?: 'all' | 'response' | 'last' | undefined;
  /**
   * Dropout in attention and feed-forward layers during training.
   * A finite number >= 0 and < 1.
   * @default 0
   */
  dropout?: number | undefined;
  /**
   * Share of the pairs to hold out if there is no validation file.
   * A finite number >= 0 and < 1.
   * @default 0.05
   */
  validationFraction?: number | undefined;
  /**
   * Steps between evaluations on held-out pairs; the last step is always evaluated.
   * An integer >= 1.
   * @default 50
   */
  evaluateEvery?: number | undefined;
  /**
   * Which step is the best, and when to stop early.
   */
  evaluation?: CpoEvaluationInput | undefined;
  /**
   * When the run is saved.
   */
  checkpoint?: CpoCheckpointInput | undefined;
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
}
