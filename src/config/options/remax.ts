// Written by `npm run options` from src/config/remax.ts; change the schema there, not this file.
import type {
  FlowrlCheckpointInput,
  FlowrlEvaluationInput,
  LossInput,
  OptimisationInput,
  ReinforceSamplingInput,
  ScoreInput,
} from './groups.ts';

/** The options of ReMax, apart from model, prompts and reward. */
export interface RemaxConfigInput {
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
  sampling?: ReinforceSamplingInput | undefined;
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
   * Cost of KL to the reference policy, per nat, in the reward.
   * A finite number >= 0.
   * @default 0.05
   */
  klWeight?: number | undefined;
  /**
   * The loss of the policy.
   */
  loss?: LossInput | undefined;
}
