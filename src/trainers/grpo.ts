/**
 * Group relative policy optimisation (Shao et al. 2024) and its relatives: the responses to a prompt are compared with one another.
 * docs/grpo.md has the formulas.
 */
import { type GroupMetrics, groupAdvantages } from '../advantages.ts';
import { type GrpoConfig, grpoConfig } from '../config/grpo.ts';
import { parseKnown } from '../config/schema.ts';
import { ConfigError } from '../errors.ts';
import { type PolicyMetrics, policyLoss } from '../losses/policy.ts';
import type { Tensor } from '../tensor/tensor.ts';
import {
  type AdvantageBatch,
  comparisonOf,
  type CriticFreeMethod,
  type CriticFreeStep,
  type PolicyParts,
  trainWithoutCritic,
} from './critic-free.ts';
import { sum } from './on-policy.ts';

/** The parts of a GRPO run. */
export type GrpoParts = PolicyParts;
/** The metrics of an iteration. `klLoss` is there with `loss.kl`, `dualClipFraction` with `loss.dualClip`. */
export type GrpoStep = CriticFreeStep<GroupMetrics, keyof PolicyMetrics>;

type Batch = AdvantageBatch & { referenceLogProb: Tensor };

const method: CriticFreeMethod<GrpoConfig, Batch, GroupMetrics, keyof PolicyMetrics> = {
  klWeight: ({ klWeight }) => klWeight,
  dynamic: ({ sampling }) => sampling.dynamic,

  async compare(_parts, { advantage, sampling, klWeight, loss }, { rollout, normalised }) {
    const { estimator, scale = estimator === 'group' ? 'group' : 'none' } = advantage;
    const { samplesPerPrompt } = sampling;
    const inReward = loss.kl === undefined ? klWeight : 0;
    const options = { samplesPerPrompt, klWeight: inReward, estimator, scale };
    const compared = await groupAdvantages(rollout, normalised, options);
    const found = await comparisonOf(rollout, compared);
    return { ...found, batch: { ...found.batch, referenceLogProb: rollout.referenceLogProb } };
  },

  countOf(lengths, { loss, sampling }) {
    const aggregation = aggregationOf(loss);
    if (aggregation === 'row-mean') return lengths.length;
    return aggregation === 'dapo' ? sum(lengths) : lengths.length * sampling.maxNewTokens;
  },

  async lossOf(now, batch, { loss, klWeight }, counts) {
    const aggregation = aggregationOf(loss) === 'row-mean' ? 'row-mean' : 'dapo';
    return await policyLoss(now, batch, { ...loss, ...counts, klWeight, aggregation });
  },
};

function aggregationOf({ aggregation, level }: GrpoConfig['loss']) {
  return aggregation ?? (level === 'token' ? 'dapo' : 'row-mean');
}

/**
 * Trains `policy`, one iteration per step: answer prompts, several times each, score the answers, compare them, learn from the
 * comparison; see `trainWithoutCritic`.
 * @throws ConfigError for settings that do not go together.
 */
export async function* grpo(parts: GrpoParts, options: GrpoConfig, start = 0): AsyncGenerator<GrpoStep> {
  const config = parseKnown(grpoConfig, options, 'grpo');
  checkTogether(config);
  yield* trainWithoutCritic('grpo', method, parts, config, start);
}

/** @throws ConfigError for settings that do not go together. */
export function checkTogether({ advantage, score, klWeight, loss }: GrpoConfig): void {
  if (loss.kl !== undefined && klWeight === 0)
    throw new ConfigError({
      argument: 'grpo.loss.kl',
      received: `${loss.kl} with klWeight 0`,
      expected: 'klWeight > 0',
    });
  if (advantage.estimator !== 'max-rl') return;
  const inReward = loss.kl === undefined && klWeight > 0;
  const { missingEosPenalty, missingEosScore = 0, overlongBuffer } = score;
  const penalised = missingEosPenalty > 0 || missingEosScore < 0 || overlongBuffer !== undefined;
  if (!inReward && score.norm === 'none' && !penalised) return;
  throw new ConfigError({
    argument: 'grpo.advantage.estimator',
    received: 'max-rl with rewards that can be negative',
    expected: 'score.norm none, no penalties in score, and no KL in the reward',
    fix: 'Set score.norm to none; max-rl is for rewards of 0 and 1.',
  });
}
