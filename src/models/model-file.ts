/** What our files say of the model in them: their metadata, whatever its family. */
import type { Family, ModelConfig } from '../families/family.ts';
import type { Contents, NamedTensor } from '../tensor/tensor-files.ts';
import type { SafetensorsFile } from '../files/safetensors/safetensors.ts';
import { ArgumentError, FileError, OutOfMemoryError, printable } from '../errors.ts';
import type { DecoderDescription, Device } from '../native/addon.ts';
import { checkInteger, checkOptions, checkPositive } from '../checks/options.ts';
import { countAdapters, countParameters } from './parameter-shapes.ts';

/** How a file is loaded: hyperparameters that it does not hold, or that shall differ, and the device (cpu unless given). */
export interface ModelLoadOptions<Options extends object> {
  options?: Options;
  device?: Device;
}

/** Sizes of a scope: what its adapters add is scaled by alpha / rank. */
export interface ScopeSize {
  rank: number;
  alpha: number;
}
/** Scopes in the order in which they were added. */
export type NamedScopes = readonly (readonly [name: string, size: ScopeSize])[];

/** A model as our files describe it. */
export interface ModelDescription<Config extends ModelConfig = ModelConfig> {
  config: Config;
  scopes: Record<string, ScopeSize>;
}

/** What has to be made before the tensors can be read, and whose names they have. */
export interface FoundModel<Config extends ModelConfig = ModelConfig> {
  config: Config;
  decoder: DecoderDescription;
  scopes: NamedScopes;
  names: 'python' | undefined;
}

/** How a model is saved. */
export interface SaveOptions {
  /** Whose names its tensors get: ours unless given, or those of palm-rlhf-pytorch. */
  names?: 'palm' | 'python';
  /** Is noted in the file, so that the commands need not be told of it. */
  tokenizer?: Described;
}

/** What is noted of a tokenizer: kind, path and hash. */
export interface Described {
  describe(): object;
}

/** The kinds of files that hold a policy: a language model, its scopes, and what it is trained with. */
export const POLICY_KINDS: readonly string[] = ['ActorCritic', 'Policy'];

const KEY = 'palm-rlhf';
/** Where the metadata of a file describe its tokenizer. */
export const TOKENIZER_KEY = 'palm-rlhf.tokenizer';

/** `contents` with a note of how text becomes the tokens of the model. */
export function withTokenizerNote({ tensors, metadata }: Contents, tokenizer: Described | undefined): Contents {
  if (tokenizer === undefined) return { tensors, metadata };
  return { tensors, metadata: new Map([...metadata, [TOKENIZER_KEY, JSON.stringify(tokenizer.describe())]]) };
}

/** Metadata of a file of ours: the kind of model and what describes it. */
export function writeMetadata(model: string, description: object): Map<string, string> {
  return new Map([[KEY, JSON.stringify({ format: 1, model, ...description })]]);
}

/** What `writeMetadata` put into a file; undefined where the file is not ours. @throws FileError when damaged. */
export function readMetadata(file: SafetensorsFile): Record<string, unknown> | undefined {
  const text = file.metadata.get(KEY);
  if (text === undefined) return undefined;
  try {
    const metadata = JSON.parse(text) as Record<string, unknown> | null;
    const model = metadata?.model;
    if (metadata?.format === 1 && typeof model === 'string' && /^\w{1,40}$/.test(model)) return metadata;
  } catch {
    // Not JSON: as bad as JSON of something else.
  }
  throw badMetadata(file, text);
}

/** @throws FileError where `file` says that it holds none of `kinds`; `reader` is what was to read it. */
export function checkModel(file: SafetensorsFile, kinds: readonly string[], reader: string): void {
  const model = readMetadata(file)?.model as string | undefined;
  if (model === undefined || kinds.includes(model)) return;
  const fix = `Load it with ${POLICY_KINDS.includes(model) ? 'PaLM' : model}.load.`;
  throw new FileError({ argument: file.path, received: `a ${model}`, expected: `a ${reader}`, fix });
}

/** Whose names the tensors have: ours, by default, in a file with our metadata; those of palm-rlhf-pytorch in any other. */
export function namesOf(metadata: Record<string, unknown> | undefined): 'python' | undefined {
  return metadata === undefined || metadata.names === 'python' ? 'python' : undefined;
}

/**
 * The model of `family` that the `metadata` of a file describe, with other hyperparameters where `load` has them.
 * @throws FileError where they describe none, or a larger one than the file holds; ConfigError for bad options.
 */
export function findDescribed<Config extends ModelConfig>(
  file: SafetensorsFile,
  family: Family<Config>,
  metadata: Record<string, unknown>,
  { options = {}, device = 'cpu' }: ModelLoadOptions<object>,
): FoundModel<Config> {
  const told = readDescription(file, family, metadata[family.key]);
  const config = family.resolve({ ...told.config, ...options, device });
  const found = { config, decoder: family.describe(config), scopes: told.scopes, names: namesOf(metadata) };
  checkSize(file, family, found);
  return found;
}

function readDescription<Config extends ModelConfig>(file: SafetensorsFile, family: Family<Config>, value: unknown) {
  const { config, scopes = {} } = (value ?? {}) as Partial<ModelDescription>;
  try {
    const sizes = Object.entries(scopes).map(([name, size]) => [name, scopeSize(size)] as const);
    return { config: family.resolve(config), scopes: sizes };
  } catch (cause) {
    throw badMetadata(file, value, cause);
  }
}

/** Files of 0.1.0 have the rank alone: the scale is 1. @throws ArgumentError for sizes that no scope has. */
function scopeSize(described: unknown): ScopeSize {
  const size = typeof described === 'number' ? { rank: described, alpha: described } : described;
  const { rank, alpha } = (size ?? {}) as ScopeSize;
  checkInteger(rank, 1, 'rank');
  checkPositive(alpha, 'alpha');
  return { rank, alpha };
}

/** @throws FileError for a model with more weights than the file has numbers: none of it must be made. */
export function checkSize(
  file: SafetensorsFile,
  { targets }: Pick<Family, 'targets'>,
  { decoder, scopes }: Pick<FoundModel, 'decoder' | 'scopes'>,
): void {
  let numbers = 0;
  for (const { shape } of file.entries.values()) numbers += shape.reduce((product, size) => product * size, 1);
  const refusal = (weights: string, cause?: unknown) =>
    new FileError({
      argument: file.path,
      received: `tensors of ${numbers} numbers`,
      expected: `at least the ${weights} of the model that is described`,
      fix: 'Check that the file and the options belong together.',
      cause,
    });
  let weights: number;
  try {
    const adapters = scopes.map(([, { rank }]) => countAdapters(decoder, targets, rank));
    weights = adapters.reduce((sum, count) => sum + count, countParameters(decoder).total);
  } catch (error) {
    throw error instanceof OutOfMemoryError ? refusal('numbers, more than any machine could hold,', error) : error;
  }
  if (weights > numbers) throw refusal(`${weights}`);
}

function badMetadata(file: SafetensorsFile, received: unknown, cause?: unknown): FileError {
  return new FileError({
    argument: `${file.path}, metadata ${KEY}`,
    received: printable(received),
    expected: 'the description of a model that save() wrote',
    cause,
  });
}

/** Contents of which some tensors exist for the file alone. */
export type OwnedContents = Contents & Disposable;

/** Contents that dispose of what is in `own`. */
export function ownedContents(
  tensors: readonly NamedTensor[],
  metadata: ReadonlyMap<string, string>,
  own: readonly Disposable[],
): OwnedContents {
  const free = () => {
    for (const each of own) each[Symbol.dispose]();
  };
  return { tensors, metadata, [Symbol.dispose]: free };
}

/** Checks the options of `save` and says whose names are asked for. @throws ArgumentError */
export function namesFor(options: SaveOptions): 'palm' | 'python' {
  checkOptions(options, ['names', 'tokenizer'], 'save');
  const { names = 'palm', tokenizer } = options;
  if (tokenizer !== undefined && typeof (tokenizer as Partial<Described> | null)?.describe !== 'function') {
    const expected = 'a tokenizer, as loadTokenizer gives';
    throw new ArgumentError({ argument: 'save.tokenizer', received: printable(tokenizer), expected });
  }
  if (names === 'palm' || names === 'python') return names;
  throw new ArgumentError({ argument: 'save.names', received: printable(names), expected: '"palm" or "python"' });
}

/** Whether a tensor is what a policy's file holds besides the language model and its scopes. */
export function isPolicys(name: string): boolean {
  return name.startsWith('value_head.') || name.startsWith('reference.');
}
