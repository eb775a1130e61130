/** Forms that rank, rate or label responses. */
import {
  askedOf,
  booleanOf,
  type DataObject,
  type FormRows,
  given,
  isObject,
  metaOf,
  numberOf,
  question,
  responseOf,
  WrongField,
} from './fields.ts';
import type { RatingRow } from './rows.ts';

export function ranking(record: DataObject): FormRows {
  const responses = record.responses as string[];
  const rank = (record.ranking as unknown[]).map(Number);
  if (responses.length !== rank.length)
    return { skip: `it has ${responses.length} responses and ${rank.length} ranks` };
  const noneGood = booleanOf(record.none_good);
  const annotator = typeof record.annotator === 'string' ? record.annotator : undefined;
  const meta = metaOf(record, 'prompt', 'responses', 'ranking', 'none_good', 'annotator');
  const more = { ...given('noneGood', noneGood), ...given('annotator', annotator) };
  return { use: [{ kind: 'ranking', prompt: askedOf(record.prompt), responses, rank, ...more, meta }] };
}

export function rating(record: DataObject): FormRows {
  const ratings = numbersIn(record.ratings as DataObject);
  if (Object.keys(ratings).length === 0) return { skip: '"ratings" has no number' };
  return ratedBy(record, ratings, 'ratings');
}

/** A response with one rating, which is then named `rating`. */
export function oneRating(record: DataObject): FormRows {
  return ratedBy(record, { rating: numberOf(record.rating) as number }, 'rating');
}

/** The rated response of a record that has its ratings in `field`. */
function ratedBy(record: DataObject, ratings: RatingRow['ratings'], field: string): FormRows {
  const response = responseOf(record.response);
  if ('skip' in response) return response;
  const scale = Array.isArray(record.scale) && record.scale.length === 2 ? record.scale.map(Number) : undefined;
  const meta = metaOf(record, 'prompt', 'response', field, ...(scale === undefined ? [] : ['scale']));
  const prompt = askedOf(record.prompt);
  const row = { kind: 'rating' as const, prompt, response: response.use, ratings, meta };
  return { use: [withinScale({ ...row, ...given('scale', scale as RatingRow['scale']) })] };
}

/** @throws WrongField for a rating outside the scale. */
function withinScale(row: RatingRow): RatingRow {
  const [lowest, highest] = row.scale ?? [-Infinity, Infinity];
  for (const [name, value] of Object.entries(row.ratings)) {
    if (value >= lowest && value <= highest) continue;
    throw new WrongField(`${value} as "${name}"`, `a rating from ${lowest} to ${highest}`);
  }
  return row;
}

function numbersIn(ratings: DataObject): Record<string, number> {
  const numbers = Object.entries(ratings).map(([name, value]) => [name, numberOf(value)] as const);
  return Object.fromEntries(numbers.filter(([, value]) => value !== undefined)) as Record<string, number>;
}

export const HELPSTEER = ['helpfulness', 'correctness', 'coherence', 'complexity', 'verbosity'];

/** HelpSteer and HelpSteer2: five ratings from 0 to 4. */
export function helpsteer(record: DataObject): FormRows {
  const ratings = Object.fromEntries(HELPSTEER.map((name) => [name, Number(record[name])]));
  const meta = metaOf(record, 'prompt', 'response', ...HELPSTEER);
  const prompt = question(record.prompt);
  const response = record.response as string;
  return { use: [withinScale({ kind: 'rating', prompt, response, ratings, scale: [0, 4], meta })] };
}

/** UltraFeedback: several responses to an instruction, each rated from 1 to 5 for some aspects. */
export function ultrafeedback(record: DataObject): FormRows {
  const rest = metaOf(record, 'instruction', 'completions');
  const rows = (record.completions as DataObject[]).flatMap((completion): RatingRow[] => {
    const aspects = Object.entries(isObject(completion.annotations) ? completion.annotations : {});
    const ratings = numbersIn(Object.fromEntries(aspects.map(([name, said]) => [name, ratingIn(said)])));
    if (Object.keys(ratings).length === 0) return [];
    const meta = { ...rest, ...metaOf(completion, 'response') };
    const response = completion.response as string;
    const prompt = question(record.instruction);
    return [withinScale({ kind: 'rating', prompt, response, ratings, scale: [1, 5], meta })];
  });
  return rows.length === 0 ? { skip: 'none of its completions has a rating' } : { use: rows };
}

/** `Rating`, a number as text or N/A, of an aspect, which is an object or a list of one. */
function ratingIn(said: unknown): unknown {
  const one = Array.isArray(said) ? said[0] : said;
  return isObject(one) ? one.Rating : undefined;
}

export function label(record: DataObject): FormRows {
  const response = responseOf(record.completion);
  if ('skip' in response) return response;
  const good = booleanOf(record.label) as boolean;
  const meta = metaOf(record, 'prompt', 'completion', 'label');
  return { use: [{ kind: 'label', prompt: askedOf(record.prompt), response: response.use, good, meta }] };
}
