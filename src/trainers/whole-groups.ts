/** Shared by methods that learn from all responses to a prompt together, comparing their scores in the loss. */
import { type GroupMetrics, groupAdvantages } from '../advantages.ts';
import type { CriticFreeConfig } from '../config/critic-free.ts';
import { ConfigError } from '../errors.ts';
import type { Rollout } from '../models/policy.ts';
import type { Tensor } from '../tensor/tensor.ts';
import type { Comparison, PolicyParts } from './critic-free.ts';
import type { Scored } from './on-policy.ts';

/** Responses with their scores [B]; other tensors are [B, T]. */
export type ScoredBatch = Record<'sequence' | 'responseMask' | 'rolloutLogProb' | 'referenceLogProb' | 'score', Tensor>;

type Config = Pick<CriticFreeConfig, 'sampling'>;

/** What such methods have in common. */
export const byGroup = {
  klWeight: () => 0,
  rowsTogether: ({ sampling }: Config) => sampling.samplesPerPrompt,

  async compare(
    _parts: PolicyParts,
    { sampling: { samplesPerPrompt } }: Config,
    { rollout, normalised }: Scored<Rollout>,
  ): Promise<Comparison<ScoredBatch, GroupMetrics>> {
    const { sequence, responseMask, rolloutLogProb, referenceLogProb } = rollout;
    const options = { samplesPerPrompt, klWeight: 0, estimator: 'group', scale: 'none' } as const;
    using compared = await groupAdvantages(rollout, normalised, options);
    const batch = { sequence, responseMask, rolloutLogProb, referenceLogProb, score: normalised };
    return { batch, metrics: await compared.metrics(), [Symbol.dispose]: () => {} };
  },
};

/** @throws ConfigError unless the minibatches of `method` hold whole groups. */
export function checkWholeGroups(
  method: string,
  { minibatchSize, sampling }: Pick<CriticFreeConfig, 'minibatchSize' | 'sampling'>,
): void {
  if (minibatchSize % sampling.samplesPerPrompt === 0) return;
  throw new ConfigError({
    argument: `${method}.minibatchSize`,
    received: String(minibatchSize),
    expected: `a multiple of sampling.samplesPerPrompt, ${sampling.samplesPerPrompt}`,
    fix: 'The responses to a prompt are learned from together.',
  });
}
