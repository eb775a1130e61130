// Written by `npm run options` from src/config/implicit-prm.ts; change the schema there, not this file.
import type { CpoCheckpointInput, CpoEvaluationInput, OptimisationInput } from './groups.ts';

/** The options of an implicit process reward model, apart from model and labelled responses. */
export interface ImplicitPrmConfigInput {
  /**
   * Passes over the labelled responses.
   * An integer >= 1.
   * @default 1
   */
  epochs?: number | undefined;
  /**
   * Labelled responses per batch.
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
   * Scale of the rewards: per nat of log ratio to the reference.
   * A finite number > 0.
   * @default 0.05
   */
  beta?: number | undefined;
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
   * Share of the labelled responses to hold out if there is no validation file.
   * A finite number >= 0 and < 1.
   * @default 0.05
   */
  validationFraction?: number | undefined;
  /**
   * Steps between evaluations on held-out labelled responses; the last step is always evaluated.
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
