/** How our files describe the model in them: their metadata, for every family. */
import type { Family, ModelConfig } from '../families/family.ts';
import { MODEL_TYPES } from '../families/registry.ts';
import type { Contents, NamedTensor } from '../tensor/tensor-files.ts';
import type { SafetensorsFile } from '../files/safetensors/safetensors.ts';
import { ArgumentError, FileError, OutOfMemoryError, printable } from '../errors.ts';
import type { DecoderDescription, Device } from '../native/addon.ts';
import { checkOptions } from '../checks/options.ts';
import { countAdapters, countEach, countParameters } from './parameter-shapes.ts';
import { adaptersOf, checkedSize, type ModulesOf, type NamedScopes, type ScopeSize, sitesOf } from './scope-size.ts';

/** How to load a file: hyperparameters that it lacks or that should differ, and the device. Defaults to cpu. */
export interface ModelLoadOptions<Options extends object> {
  options?: Options;
  device?: Device;
}

export type { NamedScopes, ScopeSize } from './scope-size.ts';

/** A model as our files describe it. */
export interface ModelDescription<Config extends ModelConfig = ModelConfig> {
  config: Config;
  scopes: Record<string, ScopeSize>;
}

/** The model to create before its tensors can be read, and which library's names they have. */
export interface FoundModel<Config extends ModelConfig = ModelConfig> {
  config: Config;
  decoder: DecoderDescription;
  scopes: NamedScopes;
  names: 'python' | undefined;
}

/** How a model is saved. */
export interface SaveOptions {
  /** Which names its tensors get: ours (`palm`, the default) or those of palm-rlhf-pytorch (`python`). */
  names?: 'palm' | 'python';
  /** Recorded in the file, so that commands find the tokenizer by themselves. */
  tokenizer?: Described;
}

/** Something that describes itself in a file; for a tokenizer: kind, path and hash. */
export interface Described {
  describe(): object;
}

/** The kinds of files that hold a policy: a language model, its scopes, and any heads and reference copy. */
export const POLICY_KINDS: readonly string[] = ['ActorCritic', 'FlowrlPolicy', 'IlqlPolicy', 'ImplicitPRM', 'Policy'];

const KEY = 'palm-rlhf';
/** The metadata key of the tokenizer's description. */
export const TOKENIZER_KEY = 'palm-rlhf.tokenizer';

/** `contents` with the description of the model's tokenizer. */
export function withTokenizerNote({ tensors, metadata }: Contents, tokenizer: Described | undefined): Contents {
  if (tokenizer === undefined) return { tensors, metadata };
  return { tensors, metadata: new Map([...metadata, [TOKENIZER_KEY, JSON.stringify(tokenizer.describe())]]) };
}

/** The metadata of our files: the kind of model and its description. */
export function writeMetadata(model: string, description: object): Map<string, string> {
  return new Map([[KEY, JSON.stringify({ format: 1, model, ...description })]]);
}

/** What `writeMetadata` put into a file; undefined if the file is not ours. @throws FileError if it is damaged. */
export function readMetadata(file: SafetensorsFile): Record<string, unknown> | undefined {
  const text = file.metadata.get(KEY);
  if (text === undefined) return undefined;
  try {
    const metadata = JSON.parse(text) as Record<string, unknown> | null;
    const model = metadata?.model;
    if (metadata?.format === 1 && typeof model === 'string' && /^\w{1,40}$/.test(model)) return metadata;
  } catch {
    // Not JSON: reported below, like any other bad metadata.
  }
  throw badMetadata(file, text);
}

/** @throws FileError if `file` says that it holds none of `kinds`; `reader` is the class that was to load it. */
export function checkModel(file: SafetensorsFile, kinds: readonly string[], reader: string): void {
  const model = readMetadata(file)?.model as string | undefined;
  if (model === undefined || kinds.includes(model)) return;
  const fix = `Load it with ${classOf(model)}.load.`;
  throw new FileError({ argument: file.path, received: `a ${model}`, expected: `a ${reader}`, fix });
}

/** The class that reads files of a kind of model. */
function classOf(model: string): string {
  if (POLICY_KINDS.includes(model)) return 'PaLM';
  return MODEL_TYPES.includes(model) ? 'LanguageModel' : model;
}

/** How many top layers of its model a policy in a file trains; undefined if not only these. @throws FileError for others than it has */
export function unfrozenIn(file: SafetensorsFile, { depth }: Pick<DecoderDescription, 'depth'>): number | undefined {
  const layers = readMetadata(file)?.numLayersUnfrozen;
  if (layers === undefined || (Number.isInteger(layers) && (layers as number) >= 1 && (layers as number) <= depth))
    return layers as number | undefined;
  throw new FileError({
    argument: `${file.path}, numLayersUnfrozen`,
    received: printable(layers),
    expected: `an integer from 1 to ${depth}, the number of layers of the model`,
    fix: 'Get the file again.',
  });
}

/** Which names the tensors have: by default ours in a file with our metadata, those of palm-rlhf-pytorch in any other. */
export function namesOf(metadata: Record<string, unknown> | undefined): 'python' | undefined {
  return metadata === undefined || metadata.names === 'python' ? 'python' : undefined;
}

/**
 * The model of `family` that the `metadata` of a file describes; `load` can override its hyperparameters.
 * @throws FileError if it describes no model, or one larger than the file.
 * @throws ConfigError for bad options.
 */
export function findDescribed<Config extends ModelConfig>(
  file: SafetensorsFile,
  family: Family<Config>,
  metadata: Record<string, unknown>,
  { options = {}, device = 'cpu' }: ModelLoadOptions<object>,
): FoundModel<Config> {
  const described = readDescription(file, family, metadata[family.key]);
  const config = family.resolve({ ...described.config, ...options, device });
  const found = { config, decoder: family.describe(config), scopes: described.scopes, names: namesOf(metadata) };
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

/** Files of 0.1.0 store only the rank: the scale is 1. @throws ArgumentError for an impossible size. */
function scopeSize(described: unknown): ScopeSize {
  const size = typeof described === 'number' ? { rank: described, alpha: described } : described;
  const { rank, alpha, targets, dropout, rslora, each } = (size ?? {}) as ScopeSize;
  return checkedSize({ rank, alpha, targets, dropout, rslora, each });
}

/** The number of weights in a scope. */
function countScope(decoder: DecoderDescription, family: ModulesOf, size: ScopeSize): number {
  if (size.each !== undefined) return countEach(decoder, adaptersOf(size, family, decoder.depth));
  return countAdapters(decoder, sitesOf(family, size.targets), size.rank);
}

/** @throws FileError if the model has more weights than the file has values, so that it is never allocated. */
export function checkSize(
  file: SafetensorsFile,
  family: ModulesOf,
  { decoder, scopes }: Pick<FoundModel, 'decoder' | 'scopes'>,
): void {
  let numbers = 0;
  for (const { shape } of file.entries.values()) numbers += shape.reduce((product, size) => product * size, 1);
  const refusal = (needed: string, cause?: unknown) =>
    new FileError({
      argument: file.path,
      received: `tensors with ${numbers} values`,
      expected: `${needed} for the model it describes`,
      fix: 'Check that the file and the options belong together.',
      cause,
    });
  let weights: number;
  try {
    const adapters = scopes.map(([, size]) => countScope(decoder, family, size));
    weights = adapters.reduce((sum, count) => sum + count, countParameters(decoder).total);
  } catch (error) {
    throw error instanceof OutOfMemoryError ? refusal('more than any machine could hold', error) : error;
  }
  if (weights > numbers) throw refusal(`at least ${weights}`);
}

function badMetadata(file: SafetensorsFile, received: unknown, cause?: unknown): FileError {
  return new FileError({
    argument: `${file.path}, metadata ${KEY}`,
    received: printable(received),
    expected: 'a model description written by save()',
    cause,
  });
}

/** Contents with some tensors that exist only for the file. */
export type OwnedContents = Contents & Disposable;

/** Contents that dispose of everything in `own`. */
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

/** Checks the options of `save` and returns which names to use. @throws ArgumentError */
export function namesFor(options: SaveOptions): 'palm' | 'python' {
  checkOptions(options, ['names', 'tokenizer'], 'save');
  const { names = 'palm', tokenizer } = options;
  if (tokenizer !== undefined && typeof (tokenizer as Partial<Described> | null)?.describe !== 'function') {
    const expected = 'a tokenizer from loadTokenizer';
    throw new ArgumentError({ argument: 'save.tokenizer', received: printable(tokenizer), expected });
  }
  if (names === 'palm' || names === 'python') return names;
  throw new ArgumentError({ argument: 'save.names', received: printable(names), expected: '"palm" or "python"' });
}

/** Whether a tensor of a policy's file is not part of the language model or its scopes. */
export function isPolicyOnly(name: string): boolean {
  return ['value_head.', 'reference.', 'ilql.', 'partition.'].some((prefix) => name.startsWith(prefix));
}
