// Written by `npm run options` from src/config/online-dpo.ts; change the schema there, not this file.
import type { FlowrlCheckpointInput, FlowrlEvaluationInput, OptimisationInput, ScoreInput } from './groups.ts';

/** The options of online DPO, apart from model, prompts and reward. */
export interface OnlineDpoConfigInput {
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
         * @default 2
         */
        samplesPerPrompt?: number | undefined;
        /**
         * Log-probabilities of the rollout: recomputed by the forward pass of training, or as sampled.
         * @default "recomputed"
         */
        logProb?: 'recomputed' | 'sampled' | undefined;
      }
    | undefined;
  /**
   * How responses are scored.
   */
  score?: ScoreInput | undefined;
  /**
   * Passes over the responses of each iteration.
   * An integer >= 1.
   * @default 1
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
   * How the learning rate falls to 0 at the last step.
   * @default "linear"
   */
  decay?: 'linear' | 'cosine' | 'constant' | undefined;
  /**
   * Iterations over which the learning rate rises to lr.
   * An integer >= 0.
   * @default 3
   */
  warmupSteps?: number | undefined;
  /**
   * The optimizer and its settings.
   */
  optimisation?: OptimisationInput | undefined;
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
  evaluation?: FlowrlEvaluationInput | undefined;
  /**
   * When the run is saved.
   */
  checkpoint?: FlowrlCheckpointInput | undefined;
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
   * Loss of a pair.
   * @default "sigmoid"
   */
  loss?: 'sigmoid' | 'robust' | 'hinge' | 'ipo' | 'apo-zero' | 'apo-down' | 'exo' | undefined;
  /**
   * Scale of the log ratios to the reference, per nat.
   * A finite number > 0.
   * @default 0.1
   */
  beta?: number | undefined;
  /**
   * Assumed share of swapped pairs; for the losses sigmoid, robust and exo.
   * A finite number >= 0 and < 0.5.
   * @default 0
   */
  labelSmoothing?: number | undefined;
}
