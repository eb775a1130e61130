// Written by `npm run options` from src/config/grpo.ts; change the schema there, not this file.
import type { FlowrlCheckpointInput, FlowrlEvaluationInput, OptimisationInput, ScoreInput } from './groups.ts';

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
  score?: ScoreInput | undefined;
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
