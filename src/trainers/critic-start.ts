/** A critic that starts from the reward model (Stiennon et al. 2020). */
import type { PpoConfig } from '../config/ppo.ts';
import { ArgumentError } from '../errors.ts';
import type { ActorCritic } from '../models/actor-critic.ts';
import { sizesOf, startCritic } from '../models/critic-start.ts';
import { RewardModel } from '../models/reward-model.ts';
import type { Reward } from './rollouts.ts';
import { RunningScores, scoreNorm, scoreNormOf } from './score-norm.ts';

/** @throws ArgumentError for a reward, or settings, that no critic can start from. */
export function checkCriticStart(
  { lora, model }: ActorCritic,
  reward: Reward,
  { critic, score }: Pick<PpoConfig, 'critic' | 'score'>,
): void {
  const norm = scoreNormOf(reward, score);
  if (lora === false) throw refused('lora: false', 'adapters: without them, actor and critic share all weights');
  if (critic.histogram !== undefined)
    throw refused('critic.histogram', 'a critic that predicts a number, like the reward');
  if (norm !== 'none' && norm !== 'reference')
    throw refused(`score.norm ${norm}`, 'score.norm none or reference: the critic needs to know it from the start');
  if (!(reward instanceof RewardModel) || reward.numBins !== undefined)
    throw refused('another reward', 'a reward model that predicts a number');
  const size = reward.scope && reward.model.description().scopes[reward.scope];
  if (!size || size.rank !== lora || size.alpha !== lora || sizesOf(reward.model) !== sizesOf(model))
    throw refused('other adapters', `a reward model of the policy's sizes with adapters of rank and alpha ${lora}`);
}

function refused(received: string, expected: string): ArgumentError {
  return new ArgumentError({ argument: 'critic.start', received: `reward with ${received}`, expected });
}

/** Starts the critic from the reward model, in units of normalised scores. @throws ArgumentError if they read different weights. */
export async function startFromReward(
  actorCritic: ActorCritic,
  reward: Reward,
  score: Pick<PpoConfig['score'], 'norm'>,
): Promise<void> {
  await startCritic(actorCritic, reward as RewardModel, scoreNorm(reward, score, new RunningScores())([]));
}
