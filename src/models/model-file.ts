/** What a file says of the PaLM in it: ours by its metadata, those of palm-rlhf-pytorch by their shapes. */
import { type Contents, dtypeOf, type NamedTensor, readNamed } from '../tensor/tensor-files.ts';
import { derivedNames, inferPythonPalm, isNormBias, isPythonFile } from '../import/palm-rlhf-pytorch/names.ts';
import type { SafetensorsFile } from '../files/safetensors/safetensors.ts';
import { type PalmConfig, type PalmConfigInput, resolvePalmConfig } from '../config/palm.ts';
import { ArgumentError, FileError, printable } from '../errors.ts';
import type { Device } from '../native/addon.ts';
import { checkInteger, checkOptions, checkPositive } from '../checks/options.ts';
import { type Parameter, Tensor } from '../tensor/tensor.ts';

/** How a file is loaded: hyperparameters that it does not hold, or that shall differ, and the device (cpu unless given). */
export interface LoadOptions {
  options?: Partial<Omit<PalmConfigInput, 'device'>>;
  device?: Device;
}

/** Sizes of a scope: what its adapters add is scaled by alpha / rank. */
export interface ScopeSize {
  rank: number;
  alpha: number;
}

/** A PaLM as our files describe it. */
export interface PalmDescription {
  config: PalmConfig;
  scopes: Record<string, ScopeSize>;
}

/** What has to be made before the tensors can be read, and whose names they have. */
export interface FoundPalm {
  config: PalmConfig;
  scopes: readonly (readonly [name: string, size: ScopeSize])[];
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
  const fix = `Load it with ${model === 'ActorCritic' ? 'PaLM' : model}.load.`;
  throw new FileError({ argument: file.path, received: `a ${model}`, expected: `a ${reader}`, fix });
}

/** Whose names the tensors have: ours, by default, in a file with our metadata; those of palm-rlhf-pytorch in any other. */
export function namesOf(metadata: Record<string, unknown> | undefined): 'python' | undefined {
  return metadata === undefined || metadata.names === 'python' ? 'python' : undefined;
}

/**
 * The PaLM whose tensors stand behind `prefix`.
 * @throws FileError where there is none, or a contradictory one; ConfigError for bad options.
 */
export async function findPalm(
  file: SafetensorsFile,
  { options = {}, device = 'cpu' }: LoadOptions,
  prefix: string,
): Promise<FoundPalm> {
  const metadata = readMetadata(file);
  if (metadata !== undefined) {
    const { config: described, scopes } = describedPalm(file, metadata.palm);
    const config = resolvePalmConfig({ ...described, ...options, device });
    checkSize(file, config, scopes);
    return { config, scopes, names: namesOf(metadata) };
  }
  if (isPythonFile(file, prefix)) {
    const { scopes, ...inferred } = inferPythonPalm(file, prefix);
    await checkNormBiases(file);
    const dtype = dtypeOf(file, `${prefix}token_emb.weight`) as PalmConfig['dtype'];
    const config = resolvePalmConfig({ ignoreIndex: 0, dtype, ...inferred, ...options, device });
    const sizes = [...scopes].map(([name, rank]) => [name, { rank, alpha: rank }] as const);
    checkSize(file, config, sizes);
    return { config, scopes: sizes, names: 'python' };
  }
  throw new FileError({
    argument: file.path,
    received: 'neither our metadata nor the names of palm-rlhf-pytorch',
    expected: 'a file that save() wrote, or a state_dict of palm-rlhf-pytorch as safetensors',
  });
}

function describedPalm(file: SafetensorsFile, palm: unknown) {
  const { config, scopes = {} } = (palm ?? {}) as Partial<PalmDescription>;
  try {
    const sizes = Object.entries(scopes).map(([name, size]) => [name, scopeSize(size)] as const);
    return { config: resolvePalmConfig(config as PalmConfigInput), scopes: sizes };
  } catch (cause) {
    throw badMetadata(file, palm, cause);
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
function checkSize(file: SafetensorsFile, config: PalmConfig, scopes: FoundPalm['scopes']): void {
  const { numTokens, dim, depth, heads, dimHead, ffMult } = config;
  const layer = dim * (2 * heads * dimHead + 2 * dimHead + 3 * ffMult * dim);
  const ranks = scopes.reduce((sum, [, { rank }]) => sum + rank, 0);
  const weights = numTokens * dim + depth * (layer + 4 * ranks * dim);
  let numbers = 0;
  for (const { shape } of file.entries.values()) numbers += shape.reduce((product, size) => product * size, 1);
  if (weights <= numbers) return;
  throw new FileError({
    argument: file.path,
    received: `tensors of ${numbers} numbers`,
    expected: `at least the ${weights} of the model that is described`,
    fix: 'Check that the file and the options belong together.',
  });
}

async function checkNormBiases(file: SafetensorsFile): Promise<void> {
  for (const name of file.entries.keys()) {
    if (!isNormBias(name)) continue;
    using bias = await readNamed(file, name);
    if ((await bias.data()).every((value) => Number(value) === 0)) continue;
    throw new FileError({
      argument: `${file.path}, tensor ${printable(name)}`,
      received: 'values other than 0',
      expected: 'the zeros that palm-rlhf-pytorch keeps there',
    });
  }
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

/** Contents that dispose of the tensors in `own`. */
export function ownedContents(
  tensors: readonly NamedTensor[],
  metadata: ReadonlyMap<string, string>,
  own: readonly Tensor[],
): OwnedContents {
  const free = () => {
    for (const tensor of own) tensor.dispose();
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

/**
 * What a state_dict of palm-rlhf-pytorch has of a PaLM: its parameters, which have the library's names already, and the
 * buffers and the second name of the token embedding, without which `load_state_dict` refuses it. `prefix` stands before them.
 * @throws ArgumentError for a model that the library would compute something else with.
 */
export function pythonContents(
  { config: { depth, dim, dimHead, qkScale }, scopes }: PalmDescription,
  parameters: readonly Parameter[],
  prefix: string,
): { tensors: NamedTensor[]; own: Tensor[] } {
  if (qkScale !== dimHead ** -0.5) {
    const expected = `${dimHead ** -0.5}, dimHead ** -0.5, which palm-rlhf-pytorch always takes`;
    throw new ArgumentError({ argument: 'qkScale', received: `${qkScale}`, expected });
  }
  for (const [name, { rank, alpha }] of Object.entries(scopes)) {
    if (alpha === rank) continue;
    throw new ArgumentError({
      argument: `alpha of scope ${name}`,
      received: `${alpha}`,
      expected: `its rank, ${rank}: palm-rlhf-pytorch has no scale`,
      fix: "Merge the scope, or save without { names: 'python' }.",
    });
  }
  const tensors: NamedTensor[] = parameters.map((tensor) => ({ name: tensor.name, tensor }));
  const embedding = parameters.find(({ name }) => name === `${prefix}token_emb.weight`) as Parameter;
  const own: Tensor[] = [];
  for (const name of derivedNames(depth)) {
    const values = derived(name, dim, dimHead);
    const tensor = values === undefined ? embedding : Tensor.from(values);
    if (tensor instanceof Tensor) own.push(tensor);
    tensors.push({ name: prefix + name, tensor });
  }
  return { tensors, own };
}

/** The values of a buffer by its name, rounded where the library rounds; undefined for what is no buffer. */
function derived(name: string, dim: number, dimHead: number): Float32Array | undefined {
  const places = Float32Array.from({ length: dimHead / 2 }, (_, i) => 2 * i);
  if (name.endsWith('norm.beta')) return new Float32Array(dim);
  if (name.endsWith('inv_freq')) return places.map((place) => 1 / Math.fround(10000 ** Math.fround(place / dimHead)));
  if (name.endsWith('scale'))
    return places.map((place) => Math.fround(place + 0.4 * dimHead) / Math.fround(1.4 * dimHead));
  return undefined;
}

/** Whether a tensor is what an ActorCritic's file holds besides a PaLM whose policy is in the scope `actor`. */
export function isActorCritics(name: string): boolean {
  return name.startsWith('value_head.') || name.startsWith('reference.');
}
