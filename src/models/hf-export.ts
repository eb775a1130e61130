/** Writes models as Hugging Face folders, which transformers reads: the way that they were read, backwards. */
import { join } from 'node:path';
import { checkKind, PATH } from '../checks/kinds.ts';
import { checkInteger, checkOptions } from '../checks/options.ts';
import { ArgumentError, printable } from '../errors.ts';
import { parseConfigJson } from '../families/config-json.ts';
import type { Family, ModelConfig } from '../families/family.ts';
import { type HfConfig, shapesOf } from '../families/hugging-face.ts';
import type { Place } from '../families/place.ts';
import type { Shapes } from '../families/stored-names.ts';
import { withMembers } from '../files/json-edit.ts';
import { createFolder, writeText } from '../files/new-folder.ts';
import {
  createSafetensors,
  planSafetensors,
  type SafetensorsDtype,
  type SafetensorsTensor,
} from '../files/safetensors/safetensors.ts';
import type { Parameter } from '../tensor/tensor.ts';
import { ParameterViews } from './parameter-views.ts';
import { storedShape } from './row-runs.ts';
import { STORED, type StoredNumbers } from './stored-numbers.ts';
import { writePlace } from './write-places.ts';

/** How a model is written as a Hugging Face folder. */
export interface ExportOptions {
  /** Element type of the files; `stored`, the default, is that of the files the model came from, tensor by tensor. */
  dtype?: 'stored' | 'float32' | 'float64' | 'bfloat16' | 'float16';
  /** The most bytes of tensors in one file; more are written to several, with an index. Defaults to 5 GB. */
  shardBytes?: number;
}

/** A model to export. */
export interface Exported {
  family: Family<HfConfig>;
  config: HfConfig;
  parameters: readonly Parameter[];
  /** What its folder has besides the family's places: a head that scores. */
  outside?: { places: readonly Place[]; shapes: Shapes };
}

/** A family and configuration of Hugging Face folders. @throws ArgumentError for another family. */
export function exportable<Config extends ModelConfig>(family: Family<Config>, config: Config) {
  if (family.places !== undefined) return { family, config } as unknown as Omit<Exported, 'parameters'>;
  throw new ArgumentError({
    argument: 'export',
    received: `a ${family.kind}`,
    expected: 'a model from a Hugging Face folder',
    fix: 'Use save(), or palm export without --format, for the format of this package.',
  });
}

/** Element types by the names of safetensors. */
export const TYPES: Readonly<Record<string, SafetensorsDtype>> = {
  float32: 'F32',
  float64: 'F64',
  bfloat16: 'BF16',
  float16: 'F16',
};
/** Metadata without which older versions of transformers and PEFT refuse a file. */
export const PYTORCH = new Map([['format', 'pt']]);

/** A tensor to write, and where its numbers are. */
type Planned = SafetensorsTensor & { place: Place };

/**
 * Writes the folder `path`, which must not exist: it is there as a whole, or not at all.
 * @throws FileError if it exists or cannot be written.
 */
export async function exportFolder(path: string, model: Exported, options: ExportOptions = {}): Promise<void> {
  checkKind('path', path, PATH);
  checkOptions(options, ['dtype', 'shardBytes'], 'export');
  const { dtype = 'stored', shardBytes = 5e9 } = options;
  checkInteger(shardBytes, 1, 'export.shardBytes');
  checkDtype(dtype);
  await createFolder(path, (aside) => writeAll(aside, model, { dtype, shardBytes }));
}

function checkDtype(dtype: string): void {
  if (dtype === 'stored' || Object.hasOwn(TYPES, dtype)) return;
  const expected = `one of stored, ${Object.keys(TYPES).join(', ')}`;
  throw new ArgumentError({ argument: 'export.dtype', received: printable(dtype), expected });
}

/** The places of all tensors, and the shapes of all parameters. */
function layoutOf({ family, config, outside }: Exported): { places: readonly Place[]; shapes: Shapes } {
  const [places, shapes] = [family.places?.(config) ?? [], shapesOf(family.describe(config))];
  if (outside === undefined) return { places, shapes };
  return { places: [...places, ...outside.places], shapes: new Map([...shapes, ...outside.shapes]) };
}

async function writeAll(
  folder: string,
  model: Exported,
  { dtype, shardBytes }: Required<ExportOptions>,
): Promise<void> {
  const { config } = model;
  const { places, shapes } = layoutOf(model);
  const planned = places.map((place): Planned => {
    const stored = config.stored[place.name] ?? config.stored[''] ?? 'F32';
    const shape = storedShape(place, shapes);
    return { name: place.name, shape, dtype: TYPES[dtype] ?? (stored as SafetensorsDtype), place };
  });
  const shards = shardsOf(planned, shardBytes);
  for (const [i, shard] of shards.entries()) await writeShard(join(folder, shardName(i, shards.length)), shard, model);
  if (shards.length > 1) await writeText(join(folder, 'model.safetensors.index.json'), indexOf(shards));
  await writeText(join(folder, 'config.json'), configText(config, dtype));
  if (config.generation !== undefined) await writeText(join(folder, 'generation_config.json'), config.generation);
}

function sizeOf({ dtype, shape }: Planned): number {
  return (STORED[dtype] as StoredNumbers).bytes * shape.reduce((product, size) => product * size, 1);
}

/** Tensors in their order, as many in a file as fit, at least one. */
function shardsOf(tensors: readonly Planned[], most: number): Planned[][] {
  const shards: Planned[][] = [[]];
  let bytes = 0;
  for (const tensor of tensors) {
    const size = sizeOf(tensor);
    if (bytes > 0 && bytes + size > most) {
      shards.push([]);
      bytes = 0;
    }
    (shards.at(-1) as Planned[]).push(tensor);
    bytes += size;
  }
  return shards;
}

function shardName(i: number, count: number): string {
  const digits = (number: number) => `${number}`.padStart(5, '0');
  return count === 1 ? 'model.safetensors' : `model-${digits(i + 1)}-of-${digits(count)}.safetensors`;
}

async function writeShard(path: string, tensors: readonly Planned[], model: Exported) {
  const { shapes } = layoutOf(model);
  using views = await ParameterViews.of(model.parameters);
  await using writer = await createSafetensors(path, planSafetensors(tensors, PYTORCH));
  for (const { name, place, dtype } of tensors) {
    let written = 0;
    await writePlace(place, shapes, views, STORED[dtype] as StoredNumbers, async (bytes) => {
      await writer.write(name, written, bytes);
      written += bytes.length;
    });
  }
  await writer.finish();
}

function indexOf(shards: readonly (readonly Planned[])[]): string {
  const files = shards.flatMap((shard, i) => shard.map(({ name }) => [name, shardName(i, shards.length)] as const));
  const size = shards.flat().reduce((sum, tensor) => sum + sizeOf(tensor), 0);
  return `${JSON.stringify({ metadata: { total_size: size }, weight_map: Object.fromEntries(files) }, undefined, 2)}\n`;
}

/** config.json with what has changed: what the files made untrue, and the element type, under the key that it uses. */
function configText({ text, changes }: HfConfig, dtype: string): string {
  const json = parseConfigJson(text);
  const key = 'torch_dtype' in json && !('dtype' in json) ? 'torch_dtype' : 'dtype';
  return withMembers(text, dtype === 'stored' ? changes : { ...changes, [key]: dtype });
}
