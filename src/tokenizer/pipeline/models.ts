import { Bpe } from './bpe.ts';
import type { Model } from './model.ts';
import { isObject, type Json, Step } from './step.ts';
import { Unigram } from './unigram.ts';
import { WordLevel, WordPiece } from './words.ts';

/** Creates the model that a tokenizer.json describes. @throws Error if it is damaged or uses an unsupported option. */
export function createModel(json: unknown): Model {
  const step = new Step(json, isObject(json) ? typeOf(json) : undefined);
  switch (step.type) {
    case 'BPE':
      return new Bpe(step);
    case 'WordPiece':
      return new WordPiece(step);
    case 'WordLevel':
      return new WordLevel(step);
    case 'Unigram':
      return new Unigram(step);
    default:
      throw step.unknown('model');
  }
}

/** Old files do not name the type. */
function typeOf(json: Json): string | undefined {
  if (typeof json.type === 'string') return json.type;
  if (Array.isArray(json.vocab)) return 'Unigram';
  if (Array.isArray(json.merges)) return 'BPE';
  return Object.hasOwn(json, 'continuing_subword_prefix') ? 'WordPiece' : 'WordLevel';
}
