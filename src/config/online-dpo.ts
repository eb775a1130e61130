/** How a policy is trained by DPO on its own answers; docs/online-dpo.md has the rule. */
import * as z from 'zod';
import { dpoConfig } from './dpo.ts';
import { criticFree } from './critic-free.ts';

// The ratio to the rollout is no part of the loss, so nothing ends early by it.
const { approxKlStop: _, ...fields } = criticFree({ samplesPerPrompt: { min: 2, default: 2 }, epochs: 1 });

export const onlineDpoConfig = z.strictObject({
  ...fields,
  loss: dpoConfig.shape.loss,
  beta: dpoConfig.shape.beta,
  labelSmoothing: dpoConfig.shape.labelSmoothing,
});

/** The options of online DPO, apart from model, prompts and reward. */
export type { OnlineDpoConfigInput } from './options/online-dpo.ts';
/** The options of online DPO with defaults filled in. */
export type OnlineDpoConfig = z.output<typeof onlineDpoConfig>;
