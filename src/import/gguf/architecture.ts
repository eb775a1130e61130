/** What one architecture of GGUF files is in the words of Hugging Face's config.json and tensor names. */
import { printable } from '../../errors.ts';
import type { GgufFile } from '../../files/gguf/gguf.ts';
import { badFile } from '../../files/gguf/cursor.ts';
import { unsupported } from '../../files/gguf/metadata.ts';

/** The contents of a config.json. */
export type HfConfig = Readonly<Record<string, unknown>>;

/** A table from GGUF to Hugging Face. */
export interface Architecture {
  /** `model_type` and the only entry of `architectures`. */
  readonly modelType: string;
  readonly className: string;
  /** Keys of config.json beyond those of every architecture. */
  config(keys: ArchitectureKeys): HfConfig;
  /** Names of tensors without `.weight` and `.bias`: `blk.N.x` gives the name in layer N. */
  readonly outer: Readonly<Record<string, string>>;
  readonly layer: Readonly<Record<string, string>>;
  /** What comes before the number of a layer, such as `model.layers.`. */
  readonly layers: string;
  /** Tensors of which the file has the heads' rows in pairs, as its rotary embedding turns them. */
  readonly paired?: Readonly<Record<string, 'heads' | 'keyHeads'>>;
  /** Whether norms are stored with the 1 that the model adds to them. */
  readonly normsPlusOne?: boolean;
  /** Matrices of a layer that Hugging Face stores transposed. */
  readonly transposed?: readonly string[];
}

/** Keys that change nothing that is computed. */
const HARMLESS = ['rope.scaling.finetuned', 'tensor_data_layout', 'pooling_type', 'rope.scaling.yarn_log_multiplier'];

/** Tensors that say what keys of config.json say. */
export const KEYS_IN_TENSORS: readonly string[] = ['rope_freqs.weight'];

async function readVector(file: GgufFile, name: string): Promise<Float32Array> {
  const { format, shape, begin } = file.entry(name);
  const [count = 0] = shape;
  if (format !== 'F32' || shape.length !== 1 || count > MOST_FREQUENCIES) {
    const received = `${format} of shape ${printable(shape)}`;
    throw badFile('bad-shape', `${file.path}, tensor ${name}`, received, `a vector of at most ${MOST_FREQUENCIES} F32`);
  }
  const vector = new Float32Array(count);
  await file.read(begin, new Uint8Array(vector.buffer));
  return vector;
}
/** One for every second dimension of a head. */
const MOST_FREQUENCIES = 65_536;

/** The keys of one architecture in a file. Those that nobody asked for are refused, as they could change the numbers. */
export class ArchitectureKeys {
  readonly file: GgufFile;
  readonly name: string;
  private readonly read = new Set<string>();
  private readonly vectors: ReadonlyMap<string, Float32Array>;

  private constructor(file: GgufFile, vectors: ReadonlyMap<string, Float32Array>) {
    this.file = file;
    this.name = file.metadata.text('general.architecture');
    this.vectors = vectors;
  }

  /** The keys of an open file, with the vectors in it that stand for keys. */
  static async of(file: GgufFile): Promise<ArchitectureKeys> {
    const vectors = new Map<string, Float32Array>();
    for (const name of KEYS_IN_TENSORS) {
      if (file.entries.has(name)) vectors.set(name, await readVector(file, name));
    }
    return new ArchitectureKeys(file, vectors);
  }

  count(key: string): number {
    return this.file.metadata.count(this.full(key));
  }

  findCount(key: string): number | undefined {
    return this.file.metadata.findCount(this.full(key));
  }

  /** A float32 as the shortest decimal that is it: 1e-5, not 0.000009999999747378752. */
  findNumber(key: string): number | undefined {
    const value = this.file.metadata.findNumber(this.full(key));
    if (value === undefined || Math.fround(value) !== value) return value;
    const digits = Array.from({ length: 9 }, (_, i) => Number(value.toPrecision(i + 1)));
    return digits.find((short) => Math.fround(short) === value) ?? value;
  }

  number(key: string): number {
    return this.findNumber(key) ?? this.missing(key);
  }

  findText(key: string): string | undefined {
    return this.file.metadata.findText(this.full(key));
  }

  findFlag(key: string): boolean | undefined {
    return this.file.metadata.findFlag(this.full(key));
  }

  /** The numbers in one of KEYS_IN_TENSORS, which the file has. */
  vector(tensor: string): Float32Array {
    return this.vectors.get(tensor) as Float32Array;
  }

  /** Whether a tensor of this name is in the file. */
  has(tensor: string): boolean {
    return this.file.entries.has(tensor);
  }

  /** The sizes of the embedding: tokens, width. */
  embedding(): readonly number[] {
    return this.file.entry('token_embd.weight').shape;
  }

  /** The width of a head, which keys and values must share. */
  headWidth(): number {
    const { heads, width } = { heads: this.count('attention.head_count'), width: this.count('embedding_length') };
    const keys = this.findCount('attention.key_length') ?? width / heads;
    const values = this.findCount('attention.value_length') ?? keys;
    if (Number.isInteger(keys) && keys > 0 && values === keys) return keys;
    throw this.refused('attention.key_length', `${width} numbers in ${heads} heads of ${keys} and ${values}`);
  }

  /** @throws GgufError for a key that nobody has read, because the model may need it. */
  checkAllRead(): void {
    const prefix = `${this.name}.`;
    const own = [...this.file.metadata.values.keys()].filter((key) => key.startsWith(prefix));
    const unread = own.find((key) => !this.read.has(key) && !HARMLESS.includes(key.slice(prefix.length)));
    if (unread === undefined) return;
    throw this.refused(unread.slice(prefix.length), printable(this.file.metadata.values.get(unread)));
  }

  /** The error for a value that palm-rlhf does not compute with. */
  refused(key: string, received: string) {
    return unsupported(
      `${this.file.path}, ${this.name}.${key}`,
      `${received}, which palm-rlhf does not know in a model of this kind`,
      'a model that it can compute exactly',
      'Load the model from the folder that it was converted from.',
    );
  }

  private missing(key: string): never {
    // Reads the key again, as a text, for the error about one that is missing.
    this.file.metadata.text(this.full(key));
    throw this.refused(key, 'a text');
  }

  private full(key: string): string {
    const full = `${this.name}.${key}`;
    this.read.add(full);
    return full;
  }
}
