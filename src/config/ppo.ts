/** How a policy is trained by proximal policy optimisation; docs/ppo.md has the formulas. */
import { z } from 'zod';
import { checkpoint, computing, count, lora } from './fields.ts';
import { limits, lr, optimizer } from './optimisation.ts';
import { critic, passes, rollouts, scores } from './rollouts.ts';

const adaptiveKl = z.strictObject({
  target: z.number().gt(0).describe('KL to the reference policy per response that klWeight is steered towards'),
  horizon: z.number().gt(0).default(10000).describe('responses over which klWeight adapts'),
});

const loss = z.strictObject({
  clip: z.number().gt(0).default(0.2).describe('the probability ratio counts only within 1 ± clip'),
  valueClip: z.number().gt(0).default(0.2).describe('how far a value may move from that of the rollout'),
  valueWeight: z.number().min(0).default(0.1).describe('weight of the value loss'),
  entropyWeight: z.number().min(0).default(0).describe('weight of the entropy bonus'),
});

export const ppoConfig = z.strictObject({
  steps: count.default(100).describe('iterations: roll out, judge, learn'),
  ...rollouts,
  ...scores,
  klWeight: z.number().min(0).default(0.05).describe('cost of KL to the reference policy, per nat'),
  adaptiveKl: adaptiveKl.optional().describe('steers klWeight, where given'),
  ...critic,
  ...passes,
  lr: lr.optional().describe('highest learning rate of the policy; one that fits its width unless given'),
  warmupSteps: z
    .int()
    .min(0)
    .default(3)
    .describe('iterations after the critic warm-up over which the learning rate rises to lr'),
  decay: z.enum(['linear', 'cosine', 'constant']).default('linear').describe('how it falls to 0 at the last step'),
  optimisation: z
    .strictObject(optimizer({ betas: [0.9, 0.999], weightDecay: 0 }))
    .prefault({})
    .describe('what moves the weights'),
  loss: loss.prefault({}).describe('the loss of policy and value'),
  approxKlStop: z
    .union([z.number().gt(0), z.literal(false)])
    .default(0.03)
    .describe('ends the passes of an iteration once the policy moved so far, in nats per token; false does not'),
  ...limits,
  lora,
  checkpoint: checkpoint(50),
  ...computing,
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
