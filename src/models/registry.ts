/**
 * Models of any family: created from a configuration, or found in a file or a Hugging Face folder. The metadata of a file, or its
 * tensor names, tell which family; a new model is a PaLM.
 */
import { statSync } from 'node:fs';
import { ArgumentError } from '../errors.ts';
import { openSafetensors, type SafetensorsFile } from '../files/safetensors/safetensors.ts';
import { isPythonFile } from '../import/palm-rlhf-pytorch/names.ts';
import { palm } from '../families/palm.ts';
import { MODEL_TYPES } from '../families/registry.ts';
import { isGguf } from './hf-folder.ts';
import { hfFamilyIn, readDescribed } from './hf-model.ts';
import { type DecoderDescription, LanguageModel } from './language-model.ts';
import { checkModel, findDescribed, type FoundModel, isPolicyOnly, POLICY_KINDS, readMetadata } from './model-file.ts';
import { findPalm, type LoadOptions, PaLM, type PalmConfigInput, readPalm } from './palm.ts';
import { TRUNK } from './reward-file.ts';

export type { LoadOptions } from './palm.ts';

/** The configuration of a new model. */
type NewModelConfig = PalmConfigInput;

/** The kinds of files that hold a language model: by itself, or as a policy. */
export const MODEL_KINDS: readonly string[] = [palm.kind, ...MODEL_TYPES, ...POLICY_KINDS];

/** The decoder of a new model with this configuration, without creating it. @throws ConfigError */
export function describeModel(config: NewModelConfig): DecoderDescription {
  return palm.describe(palm.resolve(config));
}

/** Creates a model with random weights. @throws ConfigError, DeviceError */
export function createModel(config: NewModelConfig): LanguageModel {
  return new PaLM(config);
}

/** How a model of any family is loaded. */
export type ScopedLoadOptions = LoadOptions & {
  /** For a model in a format of others: tokens of the vocabulary that can be drawn, the first ones. */
  usedTokens?: number;
  /** The element type to compute in. Defaults to that of the files. */
  dtype?: LoadedDtype;
};
/** The element types that such a model can compute in. */
export type LoadedDtype = 'float32' | 'bfloat16' | 'float64';

/**
 * Loads the model in the file or Hugging Face folder at `path`, or with this id on the hub, with all its scopes.
 * @throws FileError, ConfigError, HubError
 */
export async function loadScoped(path: string, load: ScopedLoadOptions = {}): Promise<LanguageModel> {
  if (isGguf(path) || statSync(path, { throwIfNoEntry: false })?.isFile() !== true)
    return await LanguageModel.load(path, load);
  await using file = await openSafetensors(path);
  if (hfFamilyIn(file) === undefined) return await PaLM.load(path, load);
  checkModel(file, MODEL_KINDS, 'language model');
  return await readModel(file, load, '', isPolicyOnly);
}

/**
 * Loads the language model in the file at `path` as it generates: its adapters are merged into the weights (`adapterOf` says
 * which), and it has no scopes.
 * @throws FileError, ConfigError
 * @throws ArgumentError if it is not clear which adapters to merge.
 */
export async function loadModel(path: string, load: ScopedLoadOptions = {}): Promise<LanguageModel> {
  const model = await loadScoped(path, load);
  try {
    const adapter = adapterOf(model.scopes, path);
    if (adapter !== undefined) await model.mergeScope(adapter);
    for (const scope of model.scopes) model.removeScope(scope);
    return model;
  } catch (error) {
    model.dispose();
    throw error;
  }
}

/**
 * The scope by which a model with these `scopes` generates: that of a policy's actor, or its only one; undefined without scopes.
 * @throws ArgumentError for several scopes without an actor.
 */
export function adapterOf(scopes: readonly string[], path: string): string | undefined {
  if (scopes.includes(ACTOR)) return ACTOR;
  if (scopes.length <= 1) return scopes[0];
  throw new ArgumentError({
    argument: path,
    received: `the adapters ${scopes.join(', ')}`,
    expected: `adapters named ${ACTOR}, or only one set of adapters`,
    fix: 'Choose one: palm generate --scope NAME, or palm export --merge --scope NAME for a file to train from.',
  });
}

/** The scope of a policy, unless it was given another name. */
const ACTOR = 'actor';

/** Reads the tensors of an open file whose names start with `prefix`; the others must be `ignored`. @throws FileError */
export async function readModel(
  file: SafetensorsFile,
  load: LoadOptions,
  prefix: string,
  ignored: (name: string) => boolean,
): Promise<LanguageModel> {
  const family = hfFamilyIn(file);
  if (family === undefined) return await readPalm(file, load, prefix, ignored);
  return await readDescribed(file, family, load, prefix, ignored, LanguageModel.of);
}

/** The kind of model in a file, by its metadata or tensor names: a language model, RewardModel, ActorCritic or Policy. */
export function kindIn(file: SafetensorsFile): string {
  const kind = readMetadata(file)?.model as string | undefined;
  return kind ?? (isPythonFile(file, TRUNK) ? 'RewardModel' : palm.kind);
}

/**
 * The description of a file's model, or of its reward model's trunk; the model is not created.
 * @throws FileError if there is none, or it is larger than the file.
 */
export async function findModelIn(
  file: SafetensorsFile,
  prefix = kindIn(file) === 'RewardModel' ? TRUNK : '',
): Promise<FoundModel> {
  const family = hfFamilyIn(file);
  return family === undefined
    ? await findPalm(file, {}, prefix)
    : findDescribed(file, family, readMetadata(file) ?? {}, {});
}
