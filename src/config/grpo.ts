/** How a policy is trained by group relative policy optimisation and its relatives; docs/grpo.md has the formulas. */
import * as z from 'zod';
import { criticFree, klWeight, policyObjective, samplingOf } from './critic-free.ts';

const advantage = z
  .strictObject({
    estimator: z
      .enum(['group', 'max-rl', 'opo', 'pass-k'])
      .default('group')
      .describe('what a response is compared with: the mean of its group, or see docs/grpo.md'),
    scale: z
      .enum(['group', 'batch', 'none'])
      .optional()
      .describe('standard deviation that divides advantages (default: group; none with other estimators)'),
  })
  .superRefine(({ estimator, scale }, context) => {
    if (estimator === 'group' || scale === undefined || scale === 'none') return;
    context.addIssue({ code: 'custom', path: ['scale'], message: `none with estimator ${estimator}` });
  });

const GROUPS = { min: 2, default: 8 };

const sampling = samplingOf(GROUPS).extend({
  dynamic: z
    .boolean()
    .default(false)
    .describe('replace prompts whose responses all have the same score, in up to 3 draws per iteration (DAPO)'),
});

export const grpoConfig = z.strictObject({
  ...criticFree({ samplesPerPrompt: GROUPS, epochs: 4 }),
  sampling: sampling.prefault({}).describe('how responses are sampled'),
  klWeight: klWeight(0),
  advantage: advantage.prefault({}).describe('how the responses to a prompt are compared'),
  loss: policyObjective.prefault({}).describe('the loss of the policy'),
});

/** The options of GRPO, apart from model, prompts and reward. */
export type { GrpoConfigInput } from './options/grpo.ts';
/** The options of GRPO with defaults filled in. */
export type GrpoConfig = z.output<typeof grpoConfig>;
