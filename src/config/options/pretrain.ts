// Written by `npm run options` from src/config/pretrain.ts; change the schema there, not this file.
import type { CpoEvaluationInput } from './groups.ts';

/** The options of pretraining, apart from text. */
export interface PretrainConfigInput {
  /**
   * The model; the tokenizer sets its vocabulary.
   */
  model?:
    | {
        /**
         * Model width.
         * An integer >= 1.
         * @default 128
         */
        dim?: number | undefined;
        /**
         * Number of layers.
         * An integer >= 1.
         * @default 4
         */
        depth?: number | undefined;
        /**
         * Attention heads.
         * An integer >= 1.
         * @default 4
         */
        heads?: number | undefined;
        /**
         * Width of an attention head.
         * An integer >= 2 that is a multiple of 2.
         * @default 32
         */
        dimHead?: number | undefined;
        /**
         * Feed-forward width, in multiples of dim.
         * An integer >= 1.
         * @default 4
         */
        ffMult?: number | undefined;
        /**
         * Normalise queries and keys, with learned scales.
         * @default false
         */
        qkRmsnorm?: boolean | undefined;
        /**
         * Scale of attention scores (default: dimHead ** -0.5).
         * A finite number > 0.
         */
        qkScale?: number | undefined;
        /**
         * Scale of the xPos decay, in positions.
         * A finite number > 0.
         * @default 512
         */
        rotaryXposScaleBase?: number | undefined;
        /**
         * Dropout of attention probabilities.
         * A finite number >= 0 and < 1.
         * @default 0
         */
        attnDropout?: number | undefined;
        /**
         * Dropout inside the feed-forward layer.
         * A finite number >= 0 and < 1.
         * @default 0
         */
        ffDropout?: number | undefined;
        /**
         * Activations to recompute in the backward pass instead of keeping them.
         * @default "selective"
         */
        recompute?: 'none' | 'selective' | 'full' | undefined;
      }
    | undefined;
  /**
   * Byte, or the path of a tokenizer.json or its folder.
   * Byte or a path.
   * @default "byte"
   */
  tokenizer?: string | undefined;
  /**
   * Target tokens per training sequence.
   * An integer >= 2.
   * @default 256
   */
  sequenceLength?: number | undefined;
  /**
   * Sequences per batch.
   * An integer >= 1.
   * @default 8
   */
  batchSize?: number | undefined;
  /**
   * Batches per optimizer step (gradient accumulation).
   * An integer >= 1.
   * @default 1
   */
  accumulate?: number | undefined;
  /**
   * Optimizer steps.
   * An integer >= 1.
   * @default 1500
   */
  steps?: number | undefined;
  /**
   * Peak learning rate.
   * A finite number > 0.
   * @default 0.003
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
   * How the learning rate falls after the warm-up.
   * @default "cosine"
   */
  decay?: 'cosine' | 'linear' | 'constant' | undefined;
  /**
   * Optimizer algorithm.
   * @default "adamw"
   */
  optimizer?: 'adamw' | 'adoptAtan2' | 'adamAtan2' | undefined;
  /**
   * Decay rates of the running means of gradient and squared gradient.
   * 2 values, each a finite number >= 0 and < 1.
   * @default [0.9,0.99]
   */
  betas?: [number, number] | undefined;
  /**
   * Weight decay.
   * A finite number >= 0.
   * @default 0.1
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
   * Share of the text to hold out, from its end.
   * A finite number >= 0 and < 1.
   * @default 0.1
   */
  validationFraction?: number | undefined;
  /**
   * Steps between evaluations; the last step is always evaluated.
   * An integer >= 1.
   * @default 250
   */
  evaluateEvery?: number | undefined;
  /**
   * Max batches of held-out text per evaluation.
   * An integer >= 1.
   * @default 64
   */
  evaluateBatches?: number | undefined;
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
         * @default 500
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
   * Element type the model computes in.
   * @default "float32"
   */
  dtype?: 'float32' | 'bfloat16' | 'float64' | undefined;
}
