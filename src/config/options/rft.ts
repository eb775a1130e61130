// Written by `npm run options` from src/config/rft.ts; change the schema there, not this file.
import type { CpoEvaluationInput } from './groups.ts';

/** The options of rejection sampling, apart from model, prompts and reward. */
export interface RftConfigInput {
  /**
   * Rounds, each a rollout, a selection and its updates.
   * An integer >= 1.
   * @default 4
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
         * Number of responses per prompt, to select from.
         * An integer >= 2.
         * @default 32
         */
        samplesPerPrompt?: number | undefined;
      }
    | undefined;
  /**
   * Keep responses at or above this quantile of their prompt's scores, and above the worst.
   * A finite number >= 0 and <= 1.
   * @default 0.8
   */
  percentile?: number | undefined;
  /**
   * How responses are scored.
   */
  score?:
    | {
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
   * Learning rate (default: chosen by the width of the model).
   * A finite number > 0.
   */
  lr?: number | undefined;
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
  evaluation?: CpoEvaluationInput | undefined;
  /**
   * When the run is saved.
   */
  checkpoint?:
    | {
        /**
         * Steps between checkpoints; the last step is always saved.
         * An integer >= 1.
         * @default 1
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
}
