/** Normalises scores to mean 0 and deviation 1, whatever the offset and scale of a reward. docs/ppo.md explains why. */
import type { PpoConfig } from '../config/ppo.ts';
import { ArgumentError } from '../errors.ts';
import { checkKind, checkKinds, NUMBER } from '../checks/kinds.ts';
import { RewardModel, type ScoreStatistics } from '../models/reward-model.ts';
import type { Reward } from './rollouts.ts';

/** The min divisor of scores: a smaller deviation is only rounding. */
const DEVIATION_FLOOR = 1e-6;

/** How scores are normalised. */
type Norm = NonNullable<PpoConfig['score']['norm']>;

const SCORES = {
  is: (scores: unknown) => Array.isArray(scores) && scores.length > 0 && scores.every(Number.isFinite),
  words: 'at least one finite number',
};

/** Mean and deviation of all scores of a run so far; checkpoints save `state`. */
export class RunningScores {
  #count = 0;
  #mean = 0;
  /** Sum of the squared distances from the mean. */
  #squares = 0;

  /** Adds the scores of an iteration (Chan et al. 1979) and returns the statistics including them. */
  update(scores: readonly number[]): ScoreStatistics {
    checkKind('scores', scores, SCORES);
    const { mean, deviation } = statisticsOf(scores);
    const count = this.#count + scores.length;
    const shift = mean - this.#mean;
    this.#squares += scores.length * deviation ** 2 + (shift ** 2 * this.#count * scores.length) / count;
    this.#mean += shift * (scores.length / count);
    this.#count = count;
    return { mean: this.#mean, deviation: Math.sqrt(this.#squares / count) };
  }

  /** Number of scores so far. */
  get count(): number {
    return this.#count;
  }

  /** The deviation of all scores so far, without the bias of few of them; 0 for a single one. */
  get unbiasedDeviation(): number {
    return Math.sqrt(this.#squares / Math.max(1, this.#count - 1));
  }

  state(): { count: number; mean: number; squares: number } {
    return { count: this.#count, mean: this.#mean, squares: this.#squares };
  }

  restore(state: { count: number; mean: number; squares: number }): void {
    checkKinds('RunningScores.restore', state, { count: NUMBER, mean: NUMBER, squares: NUMBER });
    const { count, mean, squares } = state;
    this.#count = count;
    this.#mean = mean;
    this.#squares = squares;
  }
}

/** Mean and population deviation of at least one score. The deviation is exactly 0 if all scores are equal. */
export function statisticsOf(scores: readonly number[]): ScoreStatistics {
  const meanOf = (values: readonly number[]) => values.reduce((sum, value) => sum + value / values.length, 0);
  const [first = 0] = scores;
  const mean = first + meanOf(scores.map((score) => score - first));
  return { mean, deviation: Math.sqrt(meanOf(scores.map((score) => (score - mean) ** 2))) };
}

/** The norm to use for `reward`. Defaults to the statistics of a reward model that has them, else to those of the run. */
export function scoreNormOf(reward: Reward, { norm }: Pick<PpoConfig['score'], 'norm'>): Norm {
  return norm ?? (referenceOf(reward) === undefined ? 'running' : 'reference');
}

/** Whether the norm of `reward` depends on the scores so far, which a checkpoint must then save. */
export function needsRunningScores(reward: Reward, score: Pick<PpoConfig['score'], 'norm'>): boolean {
  const norm = scoreNormOf(reward, score);
  return norm.startsWith('running') || (norm === 'reference-scale' && referenceOf(reward) === undefined);
}

/**
 * The function that says what the scores of an iteration are normalised by. `reference-scale` takes the deviation of the reward
 * model's statistics, or without them that of the first iteration.
 * @throws ArgumentError if the norm is `reference` and the reward has no statistics.
 */
export function scoreNorm(
  reward: Reward,
  config: Pick<PpoConfig['score'], 'norm'>,
  running: RunningScores,
): (scores: readonly number[]) => ScoreStatistics {
  const norm = scoreNormOf(reward, config);
  const statistics = referenceOf(reward);
  switch (norm) {
    case 'none':
      return () => UNIT;
    case 'running':
      return (scores) => floored(running.update(scores));
    case 'running-scale':
      return (scores) => {
        running.update(scores);
        return scaleOf(running.unbiasedDeviation);
      };
    case 'reference-scale':
      if (statistics !== undefined) return () => scaleOf(statistics.deviation);
      return (scores) => {
        if (running.count === 0) running.update(scores);
        return scaleOf(running.unbiasedDeviation);
      };
    case 'reference':
      if (statistics !== undefined) return () => floored(statistics);
  }
  throw new ArgumentError({
    argument: 'score.norm',
    received: 'reference for a reward without score statistics',
    expected: 'running or none',
    fix: 'Train the reward model with held-out pairs, which gives it statistics, or set rewardModel.statistics.',
  });
}

/** Scores minus the mean, divided by the deviation. */
export function normalised(scores: readonly number[], { mean, deviation }: ScoreStatistics): number[] {
  return scores.map((score) => (score - mean) / deviation);
}

/** Statistics with which scores stay as they are. */
export const UNIT: ScoreStatistics = { mean: 0, deviation: 1 };

function referenceOf(reward: Reward): ScoreStatistics | undefined {
  return reward instanceof RewardModel ? reward.statistics : undefined;
}

function floored({ mean, deviation }: ScoreStatistics): ScoreStatistics {
  return { mean, deviation: Math.max(deviation, DEVIATION_FLOOR) };
}

/** Equal scores have no scale: dividing them by rounding would blow them up, since their mean remains. */
function scaleOf(deviation: number): ScoreStatistics {
  return { mean: 0, deviation: deviation < DEVIATION_FLOOR ? 1 : deviation };
}
