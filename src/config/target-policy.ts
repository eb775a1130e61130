/** How a policy is trained by target policy optimisation; docs/target-policy.md has the formulas. */
import * as z from 'zod';
import { criticFree } from './critic-free.ts';

export const targetPolicyConfig = z.strictObject({
  ...criticFree({ samplesPerPrompt: { min: 2, default: 8 }, epochs: 4 }),
  eta: z
    .number()
    .gt(0)
    .default(1)
    .describe('temperature of the target: smaller prefers better responses more strongly'),
});

/** The options of target policy optimisation, apart from model, prompts and reward. */
export type { TargetPolicyConfigInput } from './options/target-policy.ts';
/** The options of target policy optimisation with defaults filled in. */
export type TargetPolicyConfig = z.output<typeof targetPolicyConfig>;
