// Written by `npm run options` from src/config/sft.ts; change the schema there, not this file.
import type { CpoCheckpointInput, CpoEvaluationInput, OptimisationInput } from './groups.ts';

/** The options of supervised fine-tuning, apart from model and rows. */
export interface SftConfigInput {
  /**
   * Passes over the rows.
   * An integer >= 1.
   * @default 3
   */
  epochs?: number | undefined;
  /**
   * Rows per batch.
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
   * Which tokens are targets: those of the response, or those of the prompt too.
   * @default "response"
   */
  lossOn?: 'response' | 'all' | undefined;
  /**
   * Nll, or dft: every token weighted by its own probability (dynamic fine-tuning).
   * @default "nll"
   */
  loss?: 'nll' | 'dft' | undefined;
  /**
   * Put several short rows into one; the numbers stay the same.
   * @default true
   */
  packing?: boolean | undefined;
  /**
   * How the learning rate falls after the warm-up.
   * @default "cosine"
   */
  decay?: 'cosine' | 'linear' | 'constant' | undefined;
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
   * @default false
   */
  lora?: number | false | undefined;
  /**
   * Share of the rows to hold out if there is no validation file.
   * A finite number >= 0 and < 1.
   * @default 0.05
   */
  validationFraction?: number | undefined;
  /**
   * Steps between evaluations on held-out rows; the last step is always evaluated.
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
