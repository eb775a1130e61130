/** How a policy is trained by group relative policy optimisation; docs/grpo.md has the formulas. */
import { z } from 'zod';
import { checkpoint, computing, count, lora } from './fields.ts';
import { limits, lr, optimizer } from './optimisation.ts';
import { passes, rollouts, scores } from './rollouts.ts';

const loss = z.strictObject({
  clip: z.number().gt(0).default(0.2).describe('lower clip of the probability ratio, at 1 − clip'),
  clipHigh: z
    .number()
    .gt(0)
    .optional()
    .describe('upper clip of the probability ratio, at 1 + clipHigh (default: clip)'),
  aggregation: z
    .enum(['dapo', 'row-mean'])
    .default('dapo')
    .describe('dapo: all response tokens count the same; row-mean: all responses count the same'),
});

export const grpoConfig = z.strictObject({
  steps: count.default(100).describe('iterations, each a rollout and its updates'),
  ...rollouts,
  sampling: rollouts.sampling
    .unwrap()
    .extend({
      samplesPerPrompt: z.int().min(2).default(8).describe('number of responses per prompt, compared with each other'),
    })
    .prefault({})
    .describe('how responses are sampled'),
  ...scores,
  klWeight: z.number().min(0).default(0).describe('cost of KL to the reference policy, per nat, in the reward'),
  scale: z.boolean().default(true).describe('divide advantages by the deviation of the scores for the same prompt'),
  ...passes,
  lr: lr.optional().describe('peak learning rate of the policy (default: chosen by its width)'),
  warmupSteps: z.int().min(0).default(3).describe('iterations over which the learning rate rises to lr'),
  decay: z
    .enum(['linear', 'cosine', 'constant'])
    .default('linear')
    .describe('how the learning rate falls to 0 at the last step'),
  optimisation: z
    .strictObject(optimizer({ betas: [0.9, 0.999], weightDecay: 0 }))
    .prefault({})
    .describe('the optimizer and its settings'),
  loss: loss.prefault({}).describe('the loss of the policy'),
  approxKlStop: z
    .union([z.number().gt(0), z.literal(false)])
    .default(false)
    .describe('end the epochs of an iteration early above this KL, in nats per token; false never does'),
  ...limits,
  lora,
  checkpoint: checkpoint(50),
  ...computing,
});

/** The options of GRPO, apart from model, prompts and reward. */
export type { GrpoConfigInput } from './options/grpo.ts';
/** The options of GRPO with defaults filled in. */
export type GrpoConfig = z.output<typeof grpoConfig>;
