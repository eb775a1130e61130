/** Reward models of Hugging Face, `…ForSequenceClassification` with one label: a trunk, and a head that reads the last token. */
import { ArgumentError, FileError } from '../errors.ts';
import type { Place } from '../families/place.ts';
import type { Shapes } from '../families/stored-names.ts';
import type { Parameter } from '../tensor/tensor.ts';
import { exportFolder, type ExportOptions } from './hf-export.ts';
import { type FolderOptions, openFolder, SCORE } from './hf-folder.ts';
import { LanguageModel } from './language-model.ts';
import { checkStored, readPlaces, wantedBy } from './read-places.ts';

/** The native name of the head. */
const HEAD = 'head.weight';

/** The head of a folder, over hidden states of D numbers. */
function scorePlaces(dim: number): { places: readonly Place[]; shapes: Shapes } {
  const place: Place = { name: SCORE, parts: [{ parameter: HEAD, dim: 0, start: 0, length: 1 }] };
  return { places: [place], shapes: new Map([[HEAD, [1, dim]]]) };
}

/**
 * Reads the trunk and, into the parameters of the reward model that `create` makes of it, the head.
 * @throws FileError, ConfigError
 */
export async function readHfReward<Model extends { parameters(): readonly Parameter[] }>(
  path: string,
  options: FolderOptions,
  create: (trunk: LanguageModel) => Model,
): Promise<Model> {
  await using folder = await openFolder(path, options);
  const { score, family, config } = folder;
  if (score === undefined) {
    const expected = 'a …ForSequenceClassification with one label';
    throw new FileError({ argument: path, received: 'a model that predicts tokens', expected });
  }
  const { places, shapes } = scorePlaces(family.describe(config).dim);
  const stored = { path, tensors: new Map([[SCORE, score.weight]]) };
  checkStored(stored, wantedBy(places, shapes), 'config.json with one label');
  const trunk = LanguageModel.of(family, config, []);
  try {
    await folder.read(trunk.parameters());
    const model = create(trunk);
    await readPlaces(stored, places, shapes, model.parameters());
    return model;
  } catch (error) {
    trunk.dispose();
    throw error;
  }
}

/** A reward model, as far as such folders are concerned. */
interface Scoring {
  model: LanguageModel;
  /** Of the trunk and of its own. */
  parameters: readonly Parameter[];
  /** What its scores come from besides trunk and head, by name: false or 0 where they do not. */
  more: Readonly<Record<string, unknown>>;
}

/**
 * Writes a reward model as such a folder.
 * @throws ArgumentError naming what such a folder cannot hold.
 * @throws FileError if it cannot be written.
 */
export async function exportHfReward(path: string, { model, parameters, more }: Scoring, options: ExportOptions) {
  const exported = model.exported();
  const homeless = Object.entries({ ...more, 'a trunk that predicts tokens': !exported.config.headless });
  const [received] = homeless.find(([, is]) => Boolean(is)) ?? (await trainedEmbedding(parameters)) ?? [];
  if (received !== undefined) {
    throw new ArgumentError({
      argument: 'export',
      received,
      expected: 'a model from a …ForSequenceClassification folder, which has a trunk, and a head over the last token',
      fix: 'Use save(), which stores everything.',
    });
  }
  await exportFolder(path, { ...exported, parameters, outside: scorePlaces(model.decoder.dim) }, options);
}

/** An embedding of prompts or responses that is not 0. */
async function trainedEmbedding(parameters: readonly Parameter[]): Promise<[string] | undefined> {
  for (const parameter of parameters.filter(({ name }) => /^(prompt|response)_embedding$/.test(name))) {
    const values = Array.from(await parameter.data(), Number);
    if (values.some((value) => value !== 0)) return [`a trained ${parameter.name}`];
  }
  return undefined;
}
