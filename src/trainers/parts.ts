/** What the parts of a training have to be. */
import { ArgumentError } from '../errors.ts';
import { either, having, instanceOf, type Kind } from '../checks/kinds.ts';
import { LanguageModel } from '../models/language-model.ts';
import { RewardModel } from '../models/reward-model.ts';

export const MODEL = instanceOf(LanguageModel);
export const BATCHES = having('Batches', 'next');
export const SEQUENCES = having('sequences, such as Windows', 'rows');
export const PAIRS: Kind = {
  is: (value) => Array.isArray(value) && value.every(isPair),
  words: 'an array of { prompt, chosen, rejected }, each an array of token ids',
};
const FUNCTION: Kind = { is: (value) => typeof value === 'function', words: 'a function of answers' };
export const REWARD = either(instanceOf(RewardModel), FUNCTION);

/** The model that a training takes. */
export type ModelPart = { model: LanguageModel } | { /** @deprecated Now `model`. */ palm: LanguageModel };

/** `parts` with the model under the name that it has now. */
export function withModel<Parts extends object>(parts: Parts & ModelPart): Parts & { model: LanguageModel } {
  type Named = Parts & { model: LanguageModel };
  const { palm, ...rest } = Object(parts) as { palm?: LanguageModel };
  return (palm === undefined ? parts : { ...rest, model: palm }) as Named;
}

/** @throws ArgumentError for a place that `items` do not have, where batches were made for more of them. */
export function itemsAt<T>(items: readonly T[], places: readonly number[], argument: string): T[] {
  return places.map((place) => {
    if (place < items.length) return items[place] as T;
    const expected = `places below ${items.length}, how many ${argument} there are`;
    throw new ArgumentError({ argument: 'batches', received: `${place}`, expected, fix: 'Make them of that size.' });
  });
}

function isPair(value: unknown): boolean {
  const { prompt, chosen, rejected } = Object(value) as Record<string, unknown>;
  return [prompt, chosen, rejected].every(Array.isArray);
}
