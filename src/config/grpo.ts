/** How a policy is trained by group relative policy optimisation; docs/grpo.md has the formulas. */
import { z } from 'zod';
import { checkpoint, computing, count, lora } from './fields.ts';
import { limits, lr, optimizer } from './optimisation.ts';
import { passes, rollouts, scores } from './rollouts.ts';

const loss = z.strictObject({
  clip: z.number().gt(0).default(0.2).describe('the probability ratio counts only above 1 − clip'),
  clipHigh: z.number().gt(0).optional().describe('and below 1 + clipHigh; clip unless given'),
  aggregation: z
    .enum(['dapo', 'row-mean'])
    .default('dapo')
    .describe('dapo: all response tokens count the same; row-mean: all responses count the same'),
});

export const grpoConfig = z.strictObject({
  steps: count.default(100).describe('iterations: roll out, score, learn'),
  ...rollouts,
  sampling: rollouts.sampling
    .unwrap()
    .extend({ samplesPerPrompt: z.int().min(2).default(8).describe('responses to a prompt, which are compared') })
    .prefault({})
    .describe('how responses are drawn'),
  ...scores,
  klWeight: z.number().min(0).default(0).describe('cost of KL to the reference policy, per nat, in the reward'),
  scale: z.boolean().default(true).describe('divide advantages by the deviation of the scores for the same prompt'),
  ...passes,
  lr: lr.optional().describe('highest learning rate of the policy; one that fits its width unless given'),
  warmupSteps: z.int().min(0).default(3).describe('iterations over which the learning rate rises to lr'),
  decay: z.enum(['linear', 'cosine', 'constant']).default('linear').describe('how it falls to 0 at the last step'),
  optimisation: z
    .strictObject(optimizer({ betas: [0.9, 0.999], weightDecay: 0 }))
    .prefault({})
    .describe('what moves the weights'),
  loss: loss.prefault({}).describe('the loss of the policy'),
  approxKlStop: z
    .union([z.number().gt(0), z.literal(false)])
    .default(false)
    .describe('ends the passes of an iteration once the policy moved so far, in nats per token; false does not'),
  ...limits,
  lora,
  checkpoint: checkpoint(50),
  ...computing,
});

/** What GRPO takes besides a model, prompts and a reward. */
export type GrpoConfigInput = z.input<typeof grpoConfig>;
/** The same with every default filled in. */
export type GrpoConfig = z.output<typeof grpoConfig>;
