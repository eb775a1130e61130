/**
 * Models of whatever family: made of a configuration, or found in a file. Every model is a PaLM as yet; where there are more, the
 * kind in the metadata of a file, or its names, tell which.
 */
import type { SafetensorsFile } from '../files/safetensors/safetensors.ts';
import { isPythonFile } from '../import/palm-rlhf-pytorch/names.ts';
import { palm } from '../families/palm.ts';
import type { DecoderDescription, LanguageModel } from './language-model.ts';
import { type FoundModel, readMetadata } from './model-file.ts';
import { findPalm, type LoadOptions, PaLM, type PalmConfigInput, readPalm } from './palm.ts';
import { TRUNK } from './reward-file.ts';

export type { LoadOptions } from './palm.ts';

/** The configuration of a new model. */
type NewModelConfig = PalmConfigInput;

/** The kinds of files that hold a language model and nothing else. */
export const MODEL_KINDS: readonly string[] = [palm.kind];

/** The decoder that a new model would be. @throws ConfigError */
export function describeModel(config: NewModelConfig): DecoderDescription {
  return palm.describe(palm.resolve(config));
}

/** A new model with random weights. @throws ConfigError, DeviceError */
export function createModel(config: NewModelConfig): LanguageModel {
  return new PaLM(config);
}

/** The model in the file at `path`, a policy's with its scopes. @throws FileError, ConfigError */
export async function loadModel(path: string, load: LoadOptions = {}): Promise<LanguageModel> {
  return await PaLM.load(path, load);
}

/** Reads the model whose tensors stand behind `prefix` in an open file; the others have to be `ignored`. @throws FileError */
export async function readModel(
  file: SafetensorsFile,
  load: LoadOptions,
  prefix: string,
  ignored: (name: string) => boolean,
): Promise<LanguageModel> {
  return await readPalm(file, load, prefix, ignored);
}

/** What kind of model a file holds, by its metadata or by its names: a language model, RewardModel, ActorCritic or Policy. */
export function kindIn(file: SafetensorsFile): string {
  const kind = readMetadata(file)?.model as string | undefined;
  return kind ?? (isPythonFile(file, TRUNK) ? 'RewardModel' : palm.kind);
}

/**
 * What a file says of its model, or of the trunk of its reward model; nothing is made.
 * @throws FileError where there is none, or a larger one than the file holds
 */
export async function findModelIn(
  file: SafetensorsFile,
  prefix = kindIn(file) === 'RewardModel' ? TRUNK : '',
): Promise<FoundModel> {
  return await findPalm(file, {}, prefix);
}
