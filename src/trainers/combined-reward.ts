/** What scores answers: a reward model, a function, or several of them whose scores are combined; docs/rewards.md. */
import { checkOptions, checkPositive } from '../checks/options.ts';
import { ArgumentError, printable } from '../errors.ts';
import { ImplicitPRM } from '../models/implicit-prm.ts';
import { RewardModel } from '../models/reward-model.ts';

/** A response with the prompt it answers; the texts are present if a tokenizer is given. */
export interface Answer {
  prompt: number[];
  /** The sampled tokens, including the eos if the response ended with it. */
  response: number[];
  promptText?: string;
  responseText?: string;
  /** What the row of the prompt has besides it, such as the right answer; present if the prompts have it. */
  meta?: Readonly<Record<string, unknown>>;
}

/**
 * A number; higher is better. For PPO also null, for an answer that cannot be judged, from which nothing is learned then; or a number
 * for each token of the response, a reward at that token.
 */
export type Score = number | null | readonly number[];

/** A model that scores answers. An ImplicitPRM gives PPO a reward for every token; everywhere else their sum counts. */
export type Judge = RewardModel | ImplicitPRM;

/** Scores answers with one score each. `signal` is aborted when nobody waits for the scores any more. */
export type RewardFunction = (answers: Answer[], signal?: AbortSignal) => readonly Score[] | Promise<readonly Score[]>;

/**
 * How several scores of an answer become one: their weighted `sum`, their `mean`, the `min`, or `conservative`, the mean minus
 * λ times their (population) variance (Coste et al. 2023, arXiv:2310.02743).
 */
export type Combination = 'sum' | 'mean' | 'min' | 'conservative';

/** One of several rewards. Only a `sum` uses the weight, which defaults to 1. */
export interface NamedReward {
  /** Its mean score is logged as `score.NAME`. */
  name: string;
  reward: Judge | RewardFunction;
  weight?: number | undefined;
}

/** How several rewards are combined. */
export interface CombinedOptions {
  /** Defaults to `sum`. */
  combine?: Combination | undefined;
  /** λ of `conservative`, per unit of variance. Defaults to 0.5. */
  disagreement?: number | undefined;
}

const COMBINATIONS: readonly Combination[] = ['sum', 'mean', 'min', 'conservative'];

/**
 * Several rewards that give one score together. A reward model with `statistics` counts in standard deviations from its mean,
 * because the offset and scale of its scores are arbitrary.
 */
export class CombinedReward {
  readonly rewards: readonly NamedReward[];
  readonly #combine: Combination;
  readonly #disagreement: number;

  /** @throws ArgumentError for repeated names, and for a weight or a disagreement that `combine` does not use. */
  constructor(rewards: readonly NamedReward[], options: CombinedOptions = {}) {
    checkOptions(options, ['combine', 'disagreement'], 'CombinedReward');
    const { combine = 'sum', disagreement } = options;
    checkCombination(combine, disagreement);
    checkRewards(rewards, combine);
    this.rewards = [...rewards];
    this.#combine = combine;
    this.#disagreement = disagreement ?? 0.5;
  }

  /** One score for each answer, from the scores [rewards][answers]. NaN counts as no score: the other rewards decide. */
  combine(scores: readonly (readonly number[])[]): number[] {
    return (scores[0] ?? []).map((_, answer) => {
      const places = [...this.rewards.keys()].filter((i) => !Number.isNaN(scores[i]?.[answer]));
      if (places.length === 0) return Number.NaN;
      const column = places.map((i) => this.#scaled(scores, i, answer));
      const weights = places.map((i) => this.rewards[i]?.weight ?? 1);
      return combineScores(column, this.#combine, weights, this.#disagreement);
    });
  }

  #scaled(scores: readonly (readonly number[])[], i: number, answer: number): number {
    const score = scores[i]?.[answer] as number;
    const reward = this.rewards[i]?.reward;
    const statistics = reward instanceof RewardModel ? reward.statistics : undefined;
    return statistics === undefined ? score : (score - statistics.mean) / Math.max(statistics.deviation, 1e-6);
  }
}

export type Reward = Judge | RewardFunction | CombinedReward;

/** Combines the scores of one answer; `weights` are those of a sum, `disagreement` is the λ of `conservative`. */
export function combineScores(
  scores: readonly number[],
  how: Combination,
  weights: readonly number[],
  disagreement: number,
): number {
  if (how === 'min') return Math.min(...scores);
  if (how === 'sum') return scores.reduce((sum, score, i) => sum + score * (weights[i] as number), 0);
  const meanOf = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;
  const mean = meanOf(scores);
  return how === 'mean' ? mean : mean - disagreement * meanOf(scores.map((score) => (score - mean) ** 2));
}

function checkCombination(combine: Combination, disagreement: number | undefined): void {
  if (!COMBINATIONS.includes(combine))
    throw wrong('CombinedReward.combine', combine, `one of ${COMBINATIONS.join(', ')}`);
  if (disagreement === undefined) return;
  checkPositive(disagreement, 'CombinedReward.disagreement');
  if (combine !== 'conservative')
    throw wrong('CombinedReward.disagreement', disagreement, `nothing with combine: ${combine}`);
}

function checkRewards(rewards: readonly NamedReward[], combine: Combination): void {
  if (!Array.isArray(rewards) || rewards.length === 0) throw wrong('rewards', rewards, 'a list of { name, reward }');
  for (const [i, entry] of rewards.entries()) {
    const argument = `rewards[${i}]`;
    const { name, reward, weight } = Object(entry) as NamedReward;
    if (typeof name !== 'string' || !/^[\w.-]+$/.test(name))
      throw wrong(`${argument}.name`, name, 'a name of letters, digits, _ . and -');
    if (rewards.findIndex((other) => other.name === name) !== i)
      throw wrong(`${argument}.name`, `${name}, which another has`, 'a name of its own');
    if (!(reward instanceof RewardModel || reward instanceof ImplicitPRM) && typeof reward !== 'function')
      throw wrong(`${argument}.reward`, reward, 'a RewardModel, an ImplicitPRM or a function of answers');
    if (weight === undefined) continue;
    if (!Number.isFinite(weight)) throw wrong(`${argument}.weight`, weight, 'a finite number');
    if (combine !== 'sum') throw wrong(`${argument}.weight`, weight, `nothing with combine: ${combine}`);
  }
}

function wrong(argument: string, value: unknown, expected: string): ArgumentError {
  return new ArgumentError({ argument, received: printable(value), expected });
}
