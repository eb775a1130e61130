/** Hugging Face folders and GGUF files: from config.json and weights to the configuration of a model, and to its parameters. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { checkKind, PATH } from '../checks/kinds.ts';
import { checkOptions } from '../checks/options.ts';
import { ArgumentError, ConfigError, FileError, printable } from '../errors.ts';
import { type ConfigJson, parseConfigJson } from '../families/config-json.ts';
import type { Family } from '../families/family.ts';
import { type HfConfig, type HfConfigInput, outerNames, shapesOf } from '../families/hugging-face.ts';
import type { Place } from '../families/place.ts';
import { type HfEntry, hfEntry, MODEL_TYPES } from '../families/registry.ts';
import { readWholeText } from '../files/regular-file.ts';
import type { StoredTensor, StoredTensors } from '../files/stored-tensors.ts';
import { openGgufModel } from '../import/gguf/model.ts';
import type { Parameter } from '../tensor/tensor.ts';
import { checkStored, readPlaces, wantedBy } from './read-places.ts';
import { STORED, sameNumbers, storedNumbers } from './stored-numbers.ts';
import { openWeights } from './weight-files.ts';

/** How a Hugging Face folder is loaded. */
export interface FolderOptions {
  /** Element type to compute in; `stored`, the default, is that of the files, or float32 for float16. */
  dtype?: 'stored' | HfConfig['dtype'];
  /** Defaults to cpu. */
  device?: string;
  recompute?: HfConfig['recompute'];
  /** Keys of config.json that palm-rlhf does not know and that change nothing that the model computes. */
  ignoreConfigKeys?: readonly string[];
  /** Tokens of the vocabulary that can be drawn: the first ones. Defaults to all rows of the embedding. */
  usedTokens?: number;
  /** Tokens of the longest sequence to be read. Some models turn positions otherwise beyond their original length. */
  longest?: number;
  /** Reads pytorch_model.bin even where there are safetensors. */
  bin?: boolean;
}
/** The most bytes of a config.json. */
const MAX_JSON_BYTES = 2 ** 20;
const OPTIONS = ['dtype', 'device', 'recompute', 'ignoreConfigKeys', 'usedTokens', 'longest', 'bin'];

/** A head that scores whole texts, as `…ForSequenceClassification` has it. */
export interface ScoreHead {
  /** [labels, D] */
  weight: StoredTensor;
  labels: number;
}

/** An open folder that has been checked: the model can be created, and then read. Close it, or use `await using`. */
export interface OpenFolder extends AsyncDisposable {
  family: Family<HfConfig>;
  config: HfConfig;
  /** There instead of the head that predicts tokens. */
  score: ScoreHead | undefined;
  /** Fills the parameters of a model with this configuration. @throws FileError */
  read(parameters: readonly Parameter[]): Promise<void>;
}

/** Rotary frequencies and positions, which old files store though they follow from the configuration. */
const BUFFERS = /(^|\.)(rotary_emb\.inv_freq|position_ids)$/;

/**
 * Opens the Hugging Face folder or GGUF file at `path`. Nothing in it is executed.
 * @throws ConfigError for what config.json says and palm-rlhf does not know.
 * @throws FileError for files that are missing, damaged or do not belong together.
 */
export async function openFolder(path: string, options: FolderOptions = {}): Promise<OpenFolder> {
  checkKind('path', path, PATH);
  checkOptions(options, OPTIONS, 'load');
  const source = isGguf(path) ? await openGgufSource(path) : await openFolderSource(path, options.bin ?? false);
  try {
    return await openChecked(path, options, source);
  } catch (error) {
    await source.stored[Symbol.asyncDispose]();
    throw error;
  }
}

/** What a model is read from. */
interface Source {
  /** config.json. */
  text: string;
  generation: string | undefined;
  entry: HfEntry;
  stored: StoredTensors;
}

/** Whether `path` is that of a GGUF file. */
export function isGguf(path: string): boolean {
  return path.endsWith('.gguf');
}

async function openFolderSource(path: string, bin: boolean): Promise<Source> {
  const file = join(path, 'config.json');
  const text = readText(file, 'a config.json');
  const json = parseConfigJson(text, file);
  const entry = entryOf(json);
  checkQuantization(json);
  return { text, generation: generationOf(path), entry, stored: await openWeights(path, bin) };
}

async function openGgufSource(path: string): Promise<Source> {
  const model = await openGgufModel(path);
  return { text: JSON.stringify(model.config), generation: undefined, entry: entryOf(model.config), stored: model };
}

async function openChecked(
  path: string,
  options: FolderOptions,
  { text, generation, entry: { family, table }, stored }: Source,
): Promise<OpenFolder> {
  const scores = classOf(parseConfigJson(text, path)).endsWith('ForSequenceClassification');
  const { dtype = 'stored', bin: _, ...chosen } = options;
  const ignoreConfigKeys = [...(chosen.ignoreConfigKeys ?? [])];
  const given: HfConfigInput = { ...chosen, ignoreConfigKeys, text, headless: scores };
  const first = family.resolve({ ...given, generation });
  const { embedding, head } = outerNames(table, family.describe(first));
  const prefix = table.prefixes.find((one) => stored.tensors.has(one + embedding)) ?? (table.prefixes[0] as string);
  const tied = await tiedAs(first, family, stored, [prefix + embedding, head]);
  const config = family.resolve({ ...tied, prefix });
  const shapes = shapesOf(family.describe(config));
  const places = (family.places?.(config) ?? []).map((place) => asStored(place, stored));
  const ignored = (name: string) => BUFFERS.test(name) || table.ignored?.test(name) || (scores && name === SCORE);
  checkStored(stored, wantedBy(places, shapes), 'config.json', (name) => ignored(name) === true);
  const score = scores ? scoreHead(stored) : undefined;
  const read = places.map(({ name }) => stored.tensors.get(name) as StoredTensor);
  const types = typesOf(score === undefined ? read : [...read, score.weight]);
  return {
    family,
    config: { ...config, stored: types.stored, dtype: dtype === 'stored' ? types.widest : checkedDtype(dtype) },
    score,
    read: (parameters) => readPlaces(stored, places, shapes, parameters),
    [Symbol.asyncDispose]: () => stored[Symbol.asyncDispose](),
  };
}

/** Where a tensor goes that the file may have the other way round. */
function asStored(place: Place, { tensors }: StoredTensors): Place {
  if (tensors.get(place.name)?.transposed !== true) return place;
  const { order: _, ...straight } = place;
  return straight;
}

/** The family that config.json names. @throws ConfigError if it is not known. */
function entryOf(json: ConfigJson): HfEntry {
  const { model_type: type, auto_map: map } = json;
  const entry = typeof type === 'string' ? hfEntry(type) : undefined;
  if (entry === undefined) {
    throw new ConfigError({
      argument: 'config.json',
      problem: `this model says \`model_type\` ${type === undefined ? 'nothing' : printable(type)}, which palm-rlhf does not know`,
      fix: `It knows ${MODEL_TYPES.join(', ')}.`,
    });
  }
  if (map !== undefined) {
    const text = `config.json names Python code for this model (auto_map), which is never run: it is read as a ${type}.`;
    process.emitWarning(text, 'PalmWarning');
  }
  return entry;
}

const CLASSES = /(ForCausalLM|LMHeadModel|ForSequenceClassification|Model)$/;

/** The class that wrote the folder; '' if config.json does not say. @throws ConfigError for one with another head. */
function classOf({ architectures: given }: ConfigJson): string {
  const [name = ''] = Array.isArray(given) ? (given as unknown[]) : [];
  if (name === '' || (typeof name === 'string' && CLASSES.test(name))) return name;
  const problem = `this model says \`architectures\` ${printable(name)}, whose head palm-rlhf does not know`;
  throw new ConfigError({ argument: 'config.json', problem, expected: 'a …ForCausalLM or …ForSequenceClassification' });
}

/** @throws ConfigError for weights that are stored as anything but numbers. */
function checkQuantization({ quantization_config: given }: ConfigJson): void {
  if (given === undefined || given === null) return;
  const { quant_method: method } = Object(given) as Record<string, unknown>;
  throw new ConfigError({
    argument: 'config.json',
    problem: `this model says \`quantization_config\` with \`quant_method\` ${printable(method)}, which palm-rlhf does not read`,
    fix: 'Use the files that were not quantised, or save it in bfloat16 first.',
  });
}

/** generation_config.json, if there is one. @throws ConfigError if it is no JSON object. */
function generationOf(path: string): string | undefined {
  const file = join(path, 'generation_config.json');
  if (!existsSync(file)) return undefined;
  const text = readText(file, 'a generation_config.json');
  parseConfigJson(text, file);
  return text;
}

function readText(path: string, expected: string): string {
  return readWholeText(path, { expected, most: MAX_JSON_BYTES });
}

/** Ties the head as transformers 5 does: both stored and different means that it is not tied, whatever config.json says. */
async function tiedAs(
  config: HfConfig,
  family: Family<HfConfig>,
  { tensors }: StoredTensors,
  names: readonly [embedding: string, head: string],
): Promise<HfConfig> {
  const [embedding, head] = names.map((name) => tensors.get(name));
  if (!family.describe(config).tied || config.headless || embedding === undefined || head === undefined) return config;
  if (await sameNumbers(head, embedding)) return { ...config, headTwice: true };
  return { ...config, changes: { tie_word_embeddings: false } };
}

/** The element types in which a folder is written again, and the narrowest of ours that holds all its numbers. */
function typesOf(tensors: readonly StoredTensor[]): { stored: Record<string, string>; widest: HfConfig['dtype'] } {
  const counts = new Map<string, number>();
  const written = ({ dtype }: StoredTensor) => (Object.hasOwn(STORED, dtype) ? dtype : 'F32');
  for (const tensor of tensors) counts.set(written(tensor), (counts.get(written(tensor)) ?? 0) + 1);
  const [most = 'F32'] = [...counts].sort(([, a], [, b]) => b - a)[0] ?? [];
  const others = tensors.filter((tensor) => written(tensor) !== most).map((tensor) => [tensor.name, written(tensor)]);
  const found = new Set(tensors.map((tensor) => storedNumbers(tensor).dtype));
  const widest = (['float64', 'float32', 'bfloat16'] as const).find((dtype) => found.has(dtype)) ?? 'float32';
  return { stored: { '': most, ...Object.fromEntries(others) }, widest };
}

function checkedDtype(dtype: HfConfig['dtype']): HfConfig['dtype'] {
  if (['float32', 'bfloat16', 'float64'].includes(dtype)) return dtype;
  const expected = 'one of stored, float32, bfloat16, float64';
  throw new ArgumentError({ argument: 'load.dtype', received: printable(dtype), expected });
}

/** The head of a model that scores. */
export const SCORE = 'score.weight';

function scoreHead({ path, tensors }: StoredTensors): ScoreHead {
  const weight = tensors.get(SCORE);
  const [labels] = weight?.shape ?? [];
  if (weight !== undefined && labels !== undefined && weight.shape.length === 2) return { weight, labels };
  const received = weight === undefined ? `weights without ${SCORE}` : `${SCORE} of shape ${printable(weight.shape)}`;
  throw new FileError({ argument: path, received, expected: `${SCORE} of shape [labels, D]` });
}

/** @throws FileError if the folder holds a model that scores texts instead of one that predicts tokens. */
export function checkScoresNone(path: string, { config, score }: OpenFolder): void {
  if (score === undefined) return;
  throw new FileError({
    argument: path,
    received: `a ${classOf(parseConfigJson(config.text))}, which scores texts`,
    expected: 'a model that predicts tokens',
  });
}
