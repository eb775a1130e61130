/** How a policy is trained by proximal policy optimisation; docs/ppo.md has the formulas. */
import { z } from 'zod';
import { checkpoint, count, deterministic, device, lora, seed } from './fields.ts';
import { samplingConfig } from './sampling.ts';

// PPO trains on the distribution that it sampled from, so there are no filters, and greedy responses teach nothing.
const sampling = z.strictObject({
  maxNewTokens: samplingConfig.shape.maxNewTokens.default(64),
  temperature: z.number().gt(0).default(1).describe('divides the logits, in sampling and in training'),
  samplesPerPrompt: samplingConfig.shape.samplesPerPrompt,
});

const adaptiveKl = z.strictObject({
  target: z.number().gt(0).describe('KL to the reference policy per response that klWeight is steered towards'),
  horizon: z.number().gt(0).default(10000).describe('responses over which klWeight adapts'),
});

const score = z.strictObject({
  norm: z
    .enum(['none', 'reference', 'running'])
    .optional()
    .describe(
      'what scores are brought to mean 0 and deviation 1 by: nothing, statistics of the reward model, or those of the run; ' +
        'unless given reference where the reward model has them, else running',
    ),
});

const loss = z.strictObject({
  clip: z.number().gt(0).default(0.2).describe('the probability ratio counts only within 1 ± clip'),
  valueClip: z.number().gt(0).default(0.2).describe('how far a value may move from that of the rollout'),
  valueWeight: z.number().min(0).default(0.1).describe('weight of the value loss'),
  entropyWeight: z.number().min(0).default(0).describe('weight of the entropy bonus'),
});

export const ppoConfig = z.strictObject({
  steps: count.default(100).describe('iterations: roll out, judge, learn'),
  rolloutBatch: count.default(64).describe('prompts in an iteration'),
  maxPromptLength: count.default(96).describe('tokens of a prompt that are kept, from its end'),
  sampling: sampling.prefault({}).describe('how responses are drawn'),
  rolloutLogProb: z
    .enum(['recomputed', 'sampled'])
    .default('recomputed')
    .describe('log-probabilities of the rollout: by the forward pass that training uses, or as they were drawn'),
  klWeight: z.number().min(0).default(0.05).describe('cost of KL to the reference policy, per nat'),
  adaptiveKl: adaptiveKl.optional().describe('steers klWeight, where given'),
  rewardTimeout: z.number().gt(0).max(1e6).default(600).describe('seconds that a reward function may take'),
  score: score.prefault({}).describe('the scale of scores'),
  missingEosPenalty: z
    .number()
    .min(0)
    .default(0)
    .describe('taken from the normalised score of a response that did not end'),
  gamma: z.number().min(0).max(1).default(1).describe('discount of later rewards'),
  lambda: z.number().min(0).max(1).default(0.95).describe('bias against variance in advantages: 1 has no bias'),
  whiten: z.boolean().default(true).describe('give advantages mean 0 and variance 1 over the iteration'),
  epochs: count.default(4).describe('passes over the responses of an iteration'),
  minibatchSize: count.default(32).describe('responses in a minibatch'),
  accumulate: count.default(1).describe('minibatches whose gradients make one optimizer step'),
  criticWarmup: z.int().min(0).default(2).describe('iterations at the start in which the critic learns alone'),
  lr: z.number().gt(0).optional().describe('highest learning rate of the policy; one that fits its width unless given'),
  warmupSteps: z.int().min(0).default(3).describe('iterations after those over which the learning rate rises to lr'),
  decay: z.enum(['linear', 'cosine', 'constant']).default('linear').describe('how it falls to 0 at the last step'),
  loss: loss.prefault({}).describe('the loss of policy and value'),
  approxKlStop: z
    .union([z.number().gt(0), z.literal(false)])
    .default(0.03)
    .describe('ends the passes of an iteration once the policy moved so far, in nats per token; false does not'),
  maxGradNorm: z.number().gt(0).default(1).describe('gradient norm above which gradients are scaled down'),
  maxSkippedSteps: count.default(5).describe('updates in a row with numbers that are not finite, which end the run'),
  lora,
  checkpoint: checkpoint(50),
  seed,
  device,
  deterministic,
});

/** What PPO takes besides models, prompts and a reward. */
export type PpoConfigInput = z.input<typeof ppoConfig>;
/** The same with every default filled in. */
export type PpoConfig = z.output<typeof ppoConfig>;

/** What a run of 0.1.0 did where its configuration lacks what is new since: it is resumed with that. */
export const ppoBefore = {
  score: { norm: 'none' },
  criticWarmup: 0,
  warmupSteps: 0,
  approxKlStop: false,
} as const satisfies PpoConfigInput;
