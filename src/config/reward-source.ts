/** What scores answers, as a setting: one source, or several. */
import * as z from 'zod';
import { path } from './fields.ts';

const weighted = z.strictObject({
  from: path.describe('a reward model, a module or a URL'),
  weight: z.number().optional().describe('its weight in the sum (default: 1)'),
  name: z
    .string()
    .regex(/^[\w.-]{1,40}$/)
    .optional()
    .describe('its name in metrics (default: from its path)'),
  sha256: z
    .string()
    .regex(/^[0-9a-f]{12,64}$/)
    .optional()
    .describe('for a module: the start of its hash, which every run prints; another content is refused'),
});

const list = z.array(z.union([path, weighted])).min(1);

export const rewardSource = z.union([path, list]).meta({
  description:
    'what scores the answers: a reward model (run folder or file), a module (.mjs, .js, .ts) or a URL; ' +
    'give it several times to add up several',
  expected: 'a path, a URL, or a list of these or of { from, weight, name, sha256 }',
});

/** Where the scores come from. */
export type RewardSource = z.output<typeof rewardSource>;
/** One of several sources. */
export type WeightedSource = z.output<typeof weighted>;
