/** A reward that looks on: it scores what a policy learns from, and nothing is learned from it. */
import { ArgumentError } from '../errors.ts';
import { correlation } from '../metrics/correlation.ts';
import { type Answer, CombinedReward, type Reward } from './combined-reward.ts';
import { type ScoreOptions, scoresOf } from './rewards.ts';

/** The name under which its scores are kept, beside those of several rewards. */
const NAME = 'heldOut';

/** The scores of `heldOut`, if there is one, by its name. */
export async function heldOutScores(
  heldOut: Reward | undefined,
  answers: readonly Answer[],
  options: ScoreOptions,
): Promise<Record<string, number[]>> {
  if (heldOut === undefined) return {};
  return { [NAME]: (await scoresOf(heldOut, answers, { ...options, argument: 'guard.reward' })).scores };
}

/** The correlation of the scores that are numbers with those of the held-out reward; undefined without one. */
export function agreementOf(
  scores: readonly number[],
  { [NAME]: heldOut }: Readonly<Record<string, readonly number[]>>,
): number | undefined {
  if (heldOut === undefined) return undefined;
  const scored = (_: number, row: number) => !Number.isNaN(scores[row]);
  return correlation(scores.filter(scored), heldOut.filter(scored));
}

/** @throws ArgumentError if one of several rewards has the name of the held-out one. */
export function checkName(reward: Reward): void {
  if (!(reward instanceof CombinedReward) || !reward.rewards.some(({ name }) => name === NAME)) return;
  throw new ArgumentError({
    argument: 'parts.reward',
    received: `a reward of the name ${NAME} beside a held-out reward`,
    expected: 'another name',
  });
}
