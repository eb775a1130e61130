/** One recorded case of a family: the files of a model and what transformers computes from them. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { LanguageModel } from '../../../src/index.ts';
import { type HfConfig, shapesOf } from '../../../src/families/hugging-face.ts';
import type { Place } from '../../../src/families/place.ts';
import { hfEntry } from '../../../src/families/registry.ts';
import { ParameterViews, type Valued } from '../../../src/models/parameter-views.ts';
import { STORED, type StoredNumbers } from '../../../src/models/stored-numbers.ts';
import { openWeights } from '../../../src/models/weight-files.ts';
import { writePlace } from '../../../src/models/write-places.ts';
import { device } from '../../device.ts';
import { readTensors, type Recorded, rows } from '../numbers.ts';

/** The cases recorded here. */
export const RECORDED = join(import.meta.dirname, 'cases');
/** The folder of the cases to run. */
export const FOLDER = process.env.PALM_FAMILIES_DIR ?? RECORDED;

export function caseNames(folder = FOLDER): string[] {
  return readdirSync(folder).filter((name) => existsSync(join(folder, name, 'expected.safetensors')));
}

export class FamilyCase {
  readonly path: string;
  readonly #tensors: ReadonlyMap<string, Recorded>;

  constructor(name: string, folder = FOLDER) {
    this.path = join(folder, name);
    this.#tensors = readTensors(join(this.path, 'expected.safetensors'));
  }

  get(name: string): Recorded {
    const tensor = this.#tensors.get(name);
    if (tensor === undefined) throw new Error(`${this.path} has no ${name}`);
    return tensor;
  }

  has(name: string): boolean {
    return this.#tensors.has(name);
  }

  /** Both rows, with their padding. */
  get ids(): number[][] {
    return rows(this.get('input_ids'));
  }

  get lengths(): number[] {
    return [...this.get('length').data];
  }

  /** Both rows, without padding. */
  get texts(): number[][] {
    return this.ids.map((row, i) => row.slice(0, this.lengths[i]));
  }

  get vocabulary(): number {
    return this.get('logits').shape[2] as number;
  }

  /** Recorded logits of the first `length` tokens of a row. */
  logits(row: number): Float64Array {
    const [, time = 0, vocabulary = 0] = this.get('logits').shape;
    const begin = row * time * vocabulary;
    return this.get('logits').data.subarray(begin, begin + (this.lengths[row] as number) * vocabulary);
  }

  /** Gradients by stored name. */
  get gradients(): Map<string, Float64Array> {
    const found = [...this.#tensors].filter(([name]) => name.startsWith('grad.'));
    return new Map(found.map(([name, { data }]) => [name.slice('grad.'.length), data]));
  }

  /**
   * A gradient of the first row without that of the padding token's embedding, if the row has this token: transformers gives it
   * none for what it is as an input, even where it is no padding.
   */
  withoutPadding(tensor: string, gradient: Float64Array, places: readonly Place[]): Float64Array {
    const { pad_token_id: pad } = JSON.parse(readFileSync(join(this.path, 'config.json'), 'utf8')) as Padded;
    const isEmbedding = places.some(({ name, parts }) => name === tensor && parts[0].parameter === 'token_embedding');
    if (!isEmbedding || typeof pad !== 'number' || !this.texts[0]?.includes(pad)) return gradient;
    const width = gradient.length / this.vocabulary;
    return gradient.map((value, i) => (Math.floor(i / width) === pad ? 0 : value));
  }

  /** The longest sequence that is read. */
  get longest(): number {
    return Math.max(...this.lengths);
  }

  load(dtype: 'float32' | 'bfloat16' | 'stored' = 'float32', path = this.path): Promise<LanguageModel> {
    return LanguageModel.load(path, { dtype, device, longest: this.longest });
  }
}

interface Padded {
  pad_token_id?: number | null;
}

/** Logits [B, T, V] of rows of equal length. */
export async function logitsOf(model: LanguageModel, texts: number[][]): Promise<Float64Array> {
  using out = await model.forward(texts);
  return Float64Array.from(await out.logits.data(), Number);
}

/** The places of a model's folder. */
export function placesOf(model: LanguageModel): readonly Place[] {
  const config = model.config as HfConfig;
  const { model_type: type } = JSON.parse(config.text) as { model_type: string };
  return hfEntry(type)?.family.places?.(config) ?? [];
}

/** Numbers as the file would store them, by stored name: of parameters, or of what stands for them. */
export async function storedNumbersOf(
  model: LanguageModel,
  values: readonly Valued[],
): Promise<Map<string, Float64Array>> {
  using views = await ParameterViews.of(values);
  const shapes = shapesOf(model.decoder);
  const found = new Map<string, Float64Array>();
  for (const place of placesOf(model)) {
    const pieces: Buffer[] = [];
    await writePlace(place, shapes, views, STORED.F32 as StoredNumbers, async (bytes) => {
      pieces.push(Buffer.from(bytes));
    });
    found.set(place.name, Float64Array.from(new Float32Array(new Uint8Array(Buffer.concat(pieces)).buffer)));
  }
  return found;
}

/** Tensors by name: what they are, and their bytes. */
export type Stored = Map<string, { about: string; bytes: Buffer }>;

/** All tensors of a folder. */
export async function bytesIn(folder: string): Promise<Stored> {
  await using stored = await openWeights(folder, false);
  const found: Stored = new Map();
  for (const [name, { shape, dtype, reader }] of stored.tensors) {
    const width = STORED[dtype]?.bytes ?? 1;
    const bytes = Buffer.alloc(shape.reduce((product, size) => product * size, width));
    await reader()(bytes);
    found.set(name, { about: `${dtype} ${shape.join()}`, bytes });
  }
  return found;
}
