// Written by `npm run options` from src/config/ppo.ts; change the schema there, not this file.
import type { FlowrlCheckpointInput, FlowrlEvaluationInput, ScoreInput } from './groups.ts';

/** The options of PPO, apart from models, prompts and a reward. */
export interface PpoConfigInput {
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
         * Responses per prompt.
         * An integer >= 1.
         * @default 1
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
   * Weight of the penalty for KL to the reference policy.
   * A finite number >= 0.
   * @default 0.05
   */
  klWeight?: number | undefined;
  /**
   * If set, adapts klWeight to reach a target KL.
   */
  adaptiveKl?:
    | {
        /**
         * Target KL to the reference policy, in nats per response.
         * A finite number > 0.
         */
        target: number;
        /**
         * Responses over which klWeight adapts.
         * A finite number > 0.
         * @default 10000
         */
        horizon?: number | undefined;
      }
    | undefined;
  /**
   * The critic, and the advantages it gives.
   */
  critic?:
    | {
        /**
         * If set, the critic learns bins of the return (HL-Gauss).
         */
        histogram?:
          | {
              /**
               * Number of bins.
               * An integer >= 2.
               * @default 51
               */
              bins?: number | undefined;
              /**
               * Centre of the lowest bin.
               * A finite number.
               * @default -5
               */
              min?: number | undefined;
              /**
               * Centre of the highest bin.
               * A finite number.
               * @default 5
               */
              max?: number | undefined;
              /**
               * Standard deviation of a target, in steps between bins.
               * A finite number > 0.
               * @default 0.75
               */
              sigma?: number | undefined;
            }
          | undefined;
        /**
         * What the critic starts from: zero values, or the adapters and head of the reward model.
         * @default "zero"
         */
        start?: 'zero' | 'reward' | undefined;
        /**
         * Discount factor of rewards.
         * A finite number >= 0 and <= 1.
         * @default 1
         */
        gamma?: number | undefined;
        /**
         * GAE lambda: 1 is unbiased, lower has less variance.
         * A finite number >= 0 and <= 1.
         * @default 0.95
         */
        lambda?: number | undefined;
        /**
         * If set, the lambda of the advantages of a response of n tokens is 1 − 1 / (lengthAdaptive · n), and lambda is that of the returns alone (VAPO: 0.05, with lambda 1).
         * A finite number > 0.
         */
        lengthAdaptive?: number | undefined;
        /**
         * Whiten advantages: mean 0 and variance 1 over each iteration.
         * @default true
         */
        whiten?: boolean | undefined;
        /**
         * Initial iterations that train only the critic.
         * An integer >= 0.
         * @default 2
         */
        warmup?: number | undefined;
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
   * Iterations of learning-rate warm-up, after the critic warm-up.
   * An integer >= 0.
   * @default 3
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
        /**
         * Train only so many of the top layers, the final norm and a head that is not tied; needs --no-lora (default: all).
         * An integer >= 1.
         */
        numLayersUnfrozen?: number | undefined;
        /**
         * If set, the run keeps an average of the weights, which moves by 1 − ema with every update.
         * A finite number >= 0 and < 1.
         */
        ema?: number | undefined;
      }
    | undefined;
  /**
   * Weights and clip ranges of the loss.
   */
  loss?:
    | {
        /**
         * Clip range of the probability ratio: 1 ± clip.
         * A finite number > 0.
         * @default 0.2
         */
        clip?: number | undefined;
        /**
         * Clip range of values around those of the rollout.
         * A finite number > 0.
         * @default 0.2
         */
        valueClip?: number | undefined;
        /**
         * Weight of the value loss.
         * A finite number >= 0.
         * @default 0.1
         */
        valueWeight?: number | undefined;
        /**
         * Weight of the entropy bonus.
         * A finite number >= 0.
         * @default 0
         */
        entropyWeight?: number | undefined;
        /**
         * The loss of a token with a negative advantage is at most this many times it (default: unlimited).
         * A finite number > 1.
         */
        dualClip?: number | undefined;
        /**
         * If set, updates also learn to predict text (PPO-ptx).
         */
        pretraining?:
          | {
              /**
               * Weight of the next-token loss of the text, in nats per token.
               * A finite number > 0.
               * @default 27.8
               */
              weight?: number | undefined;
              /**
               * Rows of text per update.
               * An integer >= 1.
               * @default 32
               */
              batchSize?: number | undefined;
              /**
               * Tokens predicted in each row.
               * An integer >= 1.
               * @default 64
               */
              sequenceLength?: number | undefined;
            }
          | undefined;
      }
    | undefined;
  /**
   * End the epochs of an iteration early above this KL, in nats per token; false never does.
   * A finite number > 0 or false.
   * @default 0.03
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
}
