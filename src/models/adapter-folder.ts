/** Adapters in the format of PEFT: adapter_config.json and adapter_model.safetensors, read into a scope and written from one. */
import { join } from 'node:path';
import { checkKind, optional, PATH, TEXT } from '../checks/kinds.ts';
import { checkOptions } from '../checks/options.ts';
import type { Adaptable } from '../families/adaptable.ts';
import type { Place } from '../families/place.ts';
import { createFolder, writeText } from '../files/new-folder.ts';
import { readWholeText } from '../files/regular-file.ts';
import { createSafetensors, planSafetensors, type SafetensorsDtype } from '../files/safetensors/safetensors.ts';
import { openStored, type StoredTensor } from '../files/stored-tensors.ts';
import { openStoredTorch } from '../import/torch/stored.ts';
import type { Parameter } from '../tensor/tensor.ts';
import { parseAdapterConfig } from './adapter-config.ts';
import { type Adapted, adaptedBy, adaptedIn, scopeOf, targetsOf } from './adapter-targets.ts';
import { type Exported, PYTORCH, TYPES } from './hf-export.ts';
import { siteShapes } from './parameter-shapes.ts';
import { checkStored, put } from './read-places.ts';
import { gather, runsOf, scatter, transpose } from './row-runs.ts';
import type { ScopeSize } from './scope-size.ts';
import { STORED, type StoredNumbers, storedNumbers } from './stored-numbers.ts';
import { take } from './write-places.ts';

/** How an adapter is read. */
export interface AdapterLoadOptions {
  /** Reads adapter_model.bin, without running it, instead of adapter_model.safetensors. */
  bin?: boolean;
}

/** What an exported adapter says of its model. */
export interface AdapterExportOptions {
  /** Name or folder of the model that the adapter is for, so that PEFT finds it. */
  baseModel?: string;
}

/** What is adaptable in a model. */
interface Adaptive {
  adaptables: readonly Adaptable[];
  /** The modules that PEFT adapts by default. */
  targets: readonly string[];
  /** Shapes [out, in] by site. */
  shapes: ReadonlyMap<string, readonly number[]>;
}

function adaptive({ family, config }: Based): Adaptive {
  const { targets } = family;
  return { adaptables: family.adaptables?.(config) ?? [], targets, shapes: siteShapes(family.describe(config)) };
}

/** The model that an adapter is for. */
type Based = Pick<Exported, 'family' | 'config'>;

const CONFIG = 'adapter_config.json';
const WEIGHTS = 'adapter_model.safetensors';
const MAX_JSON_BYTES = 2 ** 20;

/** Creates a scope of this size, and fills its parameters by `read`. */
type Fill = (size: ScopeSize, read: (parameters: readonly Parameter[]) => Promise<void>) => Promise<void>;

/**
 * Reads the adapter in the folder `path` into the scope that `fill` creates. Nothing in it is executed.
 * @throws ConfigError naming what adapter_config.json says and palm-rlhf does not support.
 * @throws FileError for files that are missing, damaged or do not belong together.
 */
export async function readAdapter(path: string, base: Based, options: AdapterLoadOptions, fill: Fill): Promise<void> {
  checkKind('path', path, PATH);
  checkOptions(options, ['bin'], 'loadAdapter');
  const model = adaptive(base);
  const file = join(path, CONFIG);
  const config = parseAdapterConfig(readWholeText(file, { expected: `an ${CONFIG}`, most: MAX_JSON_BYTES }), file);
  const adapted = adaptedBy(config, model.adaptables, model.targets, file);
  const matrices = adapted.flatMap((one) => matricesOf(one, model));
  await using stored = await (options.bin
    ? openStoredTorch(join(path, 'adapter_model.bin'))
    : openStored(join(path, WEIGHTS)));
  checkStored(stored, new Map(matrices.map(({ name, shape }) => [name, shape])), CONFIG);
  await fill(scopeOf(adapted, model.adaptables, config), async (parameters) => {
    for (const matrix of matrices) {
      const tensor = stored.tensors.get(matrix.name) as StoredTensor;
      await readMatrix(matrix, tensor, parameterOf(matrix, parameters));
    }
  });
}

/**
 * Writes the scope of this size and these parameters as the folder `path`, which must not exist.
 * @throws FileError if it cannot be written.
 */
export async function writeAdapter(
  path: string,
  base: Based,
  { size, parameters }: { size: ScopeSize; parameters: readonly Parameter[] },
  options: AdapterExportOptions,
): Promise<void> {
  checkKind('path', path, PATH);
  checkOptions(options, ['baseModel'], 'exportAdapter');
  checkKind('exportAdapter.baseModel', options.baseModel, optional(TEXT));
  const model = adaptive(base);
  const adapted = adaptedIn(size, model.adaptables, model.targets);
  const matrices = adapted.flatMap((one) => matricesOf(one, model));
  const config = `${JSON.stringify(configOf(size, adapted, options), undefined, 2)}\n`;
  await createFolder(path, async (aside) => {
    await writeText(join(aside, CONFIG), config);
    await writeMatrices(join(aside, WEIGHTS), matrices, parameters);
  });
}

/** One of the two matrices of an adapter. */
interface AdapterMatrix {
  /** Its name in the file, and its shape there: [rank, in] or [out, rank]. The parameter is its transpose. */
  name: string;
  shape: readonly [number, number];
  /** The end of its parameter's name. */
  parameter: string;
  /** For every column of the parameter, its row in the file. */
  rows: Uint32Array;
}

function matricesOf({ matrix, rank }: Adapted, { shapes }: Adaptive): [AdapterMatrix, AdapterMatrix] {
  const { path, layer, site, place } = matrix;
  const [height = 0, width = 0] = shapes.get(site) ?? [];
  const [name, parameter] = [`base_model.model.${path}.lora_`, `.layers.${layer}.${site}.`];
  return [
    { name: `${name}A.weight`, shape: [rank, width], parameter: `${parameter}a`, rows: counted(rank) },
    { name: `${name}B.weight`, shape: [height, rank], parameter: `${parameter}b`, rows: fileRows(place, height) },
  ];
}

function counted(count: number): Uint32Array {
  return Uint32Array.from({ length: count }, (_, i) => i);
}

/** For each of the `count` outputs of a matrix in native order, its row in the file: the order of the base's own rows. */
function fileRows({ name, parts, order }: Place, count: number): Uint32Array {
  if (parts[0].dim === 1) return counted(count);
  const start = Math.min(...parts.map((part) => part.start));
  const rows = new Uint32Array(count);
  const place = { name, parts, order: order === 'transposed' ? undefined : order };
  for (const run of runsOf(place, 0, count)) rows.set(run.rows, run.first - start);
  return rows;
}

function parameterOf({ parameter }: AdapterMatrix, parameters: readonly Parameter[]): Parameter {
  return parameters.find(({ name }) => name.endsWith(parameter)) as Parameter;
}

async function readMatrix({ shape, rows }: AdapterMatrix, stored: StoredTensor, parameter: Parameter): Promise<void> {
  const numbers = storedNumbers(stored);
  const [height, width] = shape;
  const bytes = new Uint8Array(height * width * numbers.bytes);
  await stored.reader()(bytes);
  const ordered = new Uint8Array(bytes.length);
  gather(bytes, rows, 0, width * numbers.bytes, ordered);
  transpose(ordered, { rows: height, columns: width }, numbers.bytes, bytes);
  using value = await parameter.value();
  await put(numbers.format, bytes, value);
}

async function writeMatrices(path: string, matrices: readonly AdapterMatrix[], parameters: readonly Parameter[]) {
  const planned = matrices.map((matrix) => {
    const parameter = parameterOf(matrix, parameters);
    return { ...matrix, parameter, dtype: TYPES[parameter.dtype] as SafetensorsDtype };
  });
  await using writer = await createSafetensors(path, planSafetensors(planned, PYTORCH));
  for (const { name, shape, rows, parameter, dtype } of planned) {
    const numbers = STORED[dtype] as StoredNumbers;
    const [height, width] = shape;
    const bytes = new Uint8Array(height * width * numbers.bytes);
    using value = await parameter.value();
    await take(value, numbers, bytes);
    const ordered = new Uint8Array(bytes.length);
    transpose(bytes, { rows: width, columns: height }, numbers.bytes, ordered);
    scatter(ordered, rows, 0, width * numbers.bytes, bytes);
    await writer.write(name, 0, bytes);
  }
  await writer.finish();
}

/** What adapter_config.json says; few keys, because older versions of PEFT do not accept those that they do not know. */
function configOf(size: ScopeSize, adapted: readonly Adapted[], { baseModel }: AdapterExportOptions) {
  return {
    peft_type: 'LORA',
    task_type: 'CAUSAL_LM',
    base_model_name_or_path: baseModel ?? null,
    revision: null,
    r: size.rank,
    lora_alpha: size.alpha,
    lora_dropout: size.dropout ?? 0,
    bias: 'none',
    ...targetsOf(size, adapted),
    fan_in_fan_out: adapted.some(({ matrix }) => matrix.place.order === 'transposed'),
    use_rslora: size.rslora ?? false,
    use_dora: false,
    modules_to_save: null,
    inference_mode: true,
    init_lora_weights: true,
  };
}
