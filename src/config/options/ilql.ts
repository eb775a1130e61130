// Written by `npm run options` from src/config/ilql.ts; change the schema there, not this file.
import type { CpoCheckpointInput, CpoEvaluationInput } from './groups.ts';

/** The options of ILQL, apart from model and samples. */
export interface IlqlConfigInput {
  /**
   * Passes over the samples.
   * An integer >= 1.
   * @default 20
   */
  epochs?: number | undefined;
  /**
   * Samples per batch.
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
   * The loss of policy and values.
   */
  loss?:
    | {
        /**
         * Expectile of the values of actions that the value of a state is.
         * A finite number >= 0 and <= 1.
         * @default 0.7
         */
        tau?: number | undefined;
        /**
         * Discount factor of rewards.
         * A finite number >= 0 and <= 1.
         * @default 0.99
         */
        gamma?: number | undefined;
        /**
         * Weight of the loss that keeps values of unseen tokens low.
         * A finite number >= 0.
         * @default 0.1
         */
        cqlWeight?: number | undefined;
        /**
         * Weight of the loss that trains the policy.
         * A finite number >= 0.
         * @default 1
         */
        awacWeight?: number | undefined;
        /**
         * How much more the policy learns from tokens above the value of their state; 0 clones all samples.
         * A finite number >= 0.
         * @default 0
         */
        beta?: number | undefined;
      }
    | undefined;
  /**
   * How the targets follow the values of actions.
   */
  target?:
    | {
        /**
         * Share of the way that the targets move at a time.
         * A finite number > 0 and <= 1.
         * @default 0.001
         */
        alpha?: number | undefined;
        /**
         * Steps between moves of the targets.
         * An integer >= 1.
         * @default 5
         */
        every?: number | undefined;
      }
    | undefined;
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
