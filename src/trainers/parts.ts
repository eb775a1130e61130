/** Checks of the parts of a training run. */
import { ArgumentError } from '../errors.ts';
import { either, having, instanceOf, type Kind } from '../checks/kinds.ts';
import { LanguageModel } from '../models/language-model.ts';
import { ImplicitPRM } from '../models/implicit-prm.ts';
import { RewardModel } from '../models/reward-model.ts';
import { CombinedReward } from './combined-reward.ts';

export const MODEL = instanceOf(LanguageModel);
export const BATCHES = having('Batches', 'next');
export const SEQUENCES = having('sequences, such as Windows', 'rows');
export const PAIRS: Kind = {
  is: (value) => Array.isArray(value) && value.every(isPair),
  words: 'an array of { prompt, chosen, rejected }, each an array of token ids',
};
export const LABELS: Kind = {
  is: (value) => Array.isArray(value) && value.every(isLabel),
  words: 'an array of { prompt, response, good }: two arrays of token ids, and true or false',
};
export const COMPLETIONS: Kind = {
  is: (value) => Array.isArray(value) && value.every(isCompletion),
  words: 'an array of { prompt, response }, each an array of token ids',
};
export const EXAMPLES: Kind = {
  is: (value) => Array.isArray(value) && value.every(isExample),
  words: 'an array of { prompt, response } or { tokens, targets }',
};
const FUNCTION: Kind = { is: (value) => typeof value === 'function', words: 'a function of answers' };
export const REWARD = either(instanceOf(RewardModel), instanceOf(ImplicitPRM), FUNCTION, instanceOf(CombinedReward));

/** The model of a training run. */
export type ModelPart = { model: LanguageModel } | { /** @deprecated Now `model`. */ palm: LanguageModel };

/** `parts` with the model under its current name. */
export function withModel<Parts extends object>(parts: Parts & ModelPart): Parts & { model: LanguageModel } {
  type Named = Parts & { model: LanguageModel };
  const { palm, ...rest } = Object(parts) as { palm?: LanguageModel };
  return (palm === undefined ? parts : { ...rest, model: palm }) as Named;
}

/** The items at `places`. @throws ArgumentError for an index beyond `items`, if the batches were created for more of them. */
export function itemsAt<T>(items: readonly T[], places: readonly number[], argument: string): T[] {
  return places.map((place) => {
    if (place < items.length) return items[place] as T;
    const expected = `indices below ${items.length}, the number of ${argument}`;
    const fix = 'Create the Batches with that size.';
    throw new ArgumentError({ argument: 'batches', received: `index ${place}`, expected, fix });
  });
}

function isExample(value: unknown): boolean {
  const { tokens, targets = [] } = Object(value) as Record<string, unknown>;
  return isCompletion(value) || (Array.isArray(tokens) && Array.isArray(targets));
}

function isCompletion(value: unknown): boolean {
  const { prompt, response } = Object(value) as Record<string, unknown>;
  return Array.isArray(prompt) && Array.isArray(response);
}

function isPair(value: unknown): boolean {
  const { prompt, chosen, rejected } = Object(value) as Record<string, unknown>;
  return [prompt, chosen, rejected].every(Array.isArray);
}

function isLabel(value: unknown): boolean {
  const { prompt, response, good } = Object(value) as Record<string, unknown>;
  return Array.isArray(prompt) && Array.isArray(response) && typeof good === 'boolean';
}
