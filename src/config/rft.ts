/** How a policy is trained on the best of its own responses by rejection sampling; docs/rft.md has the rule. */
import * as z from 'zod';
import { evaluation } from './evaluation.ts';
import { checkpoint, computing, count, lora } from './fields.ts';
import { limits, lr, optimizer, unfrozen } from './optimisation.ts';
import { passes, rollouts, scores } from './rollouts.ts';

export const rftConfig = z.strictObject({
  steps: count.default(4).describe('rounds, each a rollout, a selection and its updates'),
  ...rollouts,
  sampling: rollouts.sampling
    .unwrap()
    .omit({ logProb: true })
    .extend({ samplesPerPrompt: z.int().min(2).default(32).describe('number of responses per prompt, to select from') })
    .prefault({})
    .describe('how responses are sampled'),
  percentile: z
    .number()
    .min(0)
    .max(1)
    .default(0.8)
    .describe("keep responses at or above this quantile of their prompt's scores, and above the worst"),
  score: scores.score
    .unwrap()
    .pick({ timeout: true, combine: true, disagreement: true })
    .prefault({})
    .describe('how responses are scored'),
  ...passes,
  lr: lr.optional().describe('learning rate (default: chosen by the width of the model)'),
  ...optimizer({ betas: [0.9, 0.999], weightDecay: 0 }),
  ...unfrozen,
  ...limits,
  lora,
  evaluation,
  checkpoint: checkpoint(1),
  ...computing,
});

/** The options of rejection sampling, apart from model, prompts and reward. */
export type { RftConfigInput } from './options/rft.ts';
/** The options of rejection sampling with defaults filled in. */
export type RftConfig = z.output<typeof rftConfig>;
