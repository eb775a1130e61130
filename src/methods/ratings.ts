/** Loads rated responses, and says which options of a reward model do without them. */
import type { RewardConfig } from '../config/reward.ts';
import { rewardConfig } from '../config/reward.ts';
import { meanRating } from '../data/forms/convert.ts';
import { formOptions } from '../data/forms/read.ts';
import type { RatedResponse } from '../data/ratings.ts';
import type { Paths } from '../data/records.ts';
import { loadRows } from '../data/token-rows.ts';
import { ConfigError, DataError, printable } from '../errors.ts';
import type { ModelText } from '../runs/model-file.ts';
import { expectedRating, isRating } from '../trainers/ratings.ts';
import type { ReadRows } from './held-out.ts';
import type { loadPairs } from './preferences.ts';

type RatingConfig = Parameters<typeof loadPairs>[0] & Pick<RewardConfig, 'rating'>;

/** Rated responses. @throws DataError for a rating that cannot be learned, with file and line */
export async function readRatings(
  paths: Paths,
  config: RatingConfig,
  tokenizer: ModelText,
): Promise<ReadRows<RatedResponse>> {
  const { maxLength, maxPromptLength, rating } = config;
  const limits = { maxLength, maxPromptLength, overlong: 'cut' } as const;
  const { rows, places, ...about } = await loadRows('rating', paths, tokenizer, limits, {
    ...formOptions(config),
    chat: tokenizer.chat,
  });
  const rated = rows.map(({ prompt, response, ratings }, i) => {
    return { prompt, response, rating: ratingOf(ratings, rating, places[i] as string) };
  });
  return { rows: rated, ...about };
}

function ratingOf(ratings: Readonly<Record<string, number>>, config: RewardConfig['rating'], place: string): number {
  const { aspect } = config;
  if (aspect !== undefined && !Object.hasOwn(ratings, aspect)) {
    const received = `no number as ${printable(aspect)}`;
    throw new DataError({ argument: place, received, expected: `one of ${Object.keys(ratings).join(', ')}` });
  }
  const rating = aspect === undefined ? meanRating(ratings) : (ratings[aspect] as number);
  if (isRating(rating, config)) return rating;
  const many = aspect === undefined && Object.keys(ratings).length > 1;
  throw new DataError({
    argument: place,
    received: `the ${many ? 'mean ' : ''}rating ${rating}`,
    expected: expectedRating(config),
    fix: many ? 'Choose one of several ratings with rating.aspect.' : 'Set rating.bins and rating.lowest to the scale.',
  });
}

/** Whether responses are learned by their ratings themselves. @throws ConfigError for an option that is not used */
export function learnsRatings({ rating, ranking }: Pick<RewardConfig, 'rating' | 'ranking'>, rated: boolean): boolean {
  const byNumber = rated && rating.as === 'number';
  const { as: _, ...ofNumbers } = rating;
  const why = rated ? "rating.as 'order'" : 'data without ratings';
  if (!byNumber) for (const [name, value] of Object.entries(ofNumbers)) refuse(`rating.${name}`, value, why);
  if (!byNumber) return false;
  if (rating.bins === undefined) refuse('rating.lowest', rating.lowest, 'regression');
  const defaults = rewardConfig.shape.ranking.parse({});
  for (const [name, value] of Object.entries(ranking)) {
    if (value !== defaults[name as keyof typeof defaults]) refuse(`ranking.${name}`, value, "rating.as 'number'");
  }
  return true;
}

function refuse(argument: string, value: unknown, why: string): void {
  if (value === undefined) return;
  throw new ConfigError({
    argument,
    received: printable(value),
    expected: `nothing, because ${why} does not use it`,
    fix: 'Leave it out.',
  });
}
