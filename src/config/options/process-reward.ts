// Written by `npm run options` from src/config/process-reward.ts; change the schema there, not this file.
import type { CpoCheckpointInput, CpoEvaluationInput } from './groups.ts';

/** The options of process rewards, apart from model and solutions. */
export interface ProcessRewardConfigInput {
  /**
   * Passes over the solutions.
   * An integer >= 1.
   * @default 2
   */
  epochs?: number | undefined;
  /**
   * Solutions per batch.
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
   * Max tokens of prompt plus solution; cuts the start of the prompt, then the last steps.
   * An integer >= 2.
   * @default 512
   */
  maxLength?: number | undefined;
  /**
   * Max tokens of a prompt, kept from its end (default: what the responses leave room for).
   * An integer >= 1.
   */
  maxPromptLength?: number | undefined;
  /**
   * What a neutral step, such as one rated 0 in PRM800K, counts as: a right step, a wrong one, or one without a label.
   * @default "positive"
   */
  neutral?: 'positive' | 'negative' | 'skip' | undefined;
  /**
   * Dropout in attention and feed-forward layers during training.
   * A finite number >= 0 and < 1.
   * @default 0
   */
  dropout?: number | undefined;
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
   * Share of the solutions to hold out if there is no validation file.
   * A finite number >= 0 and < 1.
   * @default 0.05
   */
  validationFraction?: number | undefined;
  /**
   * Steps between evaluations on held-out solutions; the last step is always evaluated.
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
