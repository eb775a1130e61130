/** Reads recorded numbers, hands their weights to the package as files, and says how far two lots of numbers are apart. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** A tensor of a recording; ids and booleans are numbers too. */
export interface Recorded {
  dtype: 'F32' | 'F64' | 'I64' | 'BOOL';
  shape: number[];
  data: Float64Array;
}
export type RecordedTensors = Map<string, Recorded>;

/** One entry of index.json with its tensors; `about` is the entry as it stands there. */
export class Case {
  readonly name: string;
  readonly about: Record<string, unknown>;
  readonly #tensors: RecordedTensors;

  constructor(name: string, about: Record<string, unknown>, tensors: RecordedTensors) {
    this.name = name;
    this.about = about;
    this.#tensors = tensors;
  }

  /** The tensor of that name, such as `out.logits`. */
  get(name: string): Recorded {
    const tensor = this.#tensors.get(name);
    if (tensor === undefined) throw new Error(`${this.name} has no ${name}`);
    return tensor;
  }

  has(name: string): boolean {
    return this.#tensors.has(name);
  }

  /** All tensors with that prefix (`w.`, `g.`, `out.`), which is cut off their names. */
  all(prefix: string): RecordedTensors {
    const found = [...this.#tensors].filter(([name]) => name.startsWith(prefix));
    return new Map(found.map(([name, tensor]) => [name.slice(prefix.length), tensor]));
  }
}

/** The cases of a folder of recordings, by name. */
export function readCases(folder: string): Map<string, Case> {
  const index = JSON.parse(readFileSync(join(folder, 'index.json'), 'utf8')) as { cases: Record<string, object> };
  return new Map(
    Object.entries(index.cases).map(([name, about]) => [
      name,
      new Case(name, about as Record<string, unknown>, readTensors(join(folder, `${name}.safetensors`))),
    ]),
  );
}

/** A safetensors file, read without the package's own reader, so that the two check one another. */
export function readTensors(path: string): RecordedTensors {
  const file = readFileSync(path);
  const start = 8 + Number(file.readBigUInt64LE(0));
  const header = JSON.parse(file.toString('utf8', 8, start)) as Record<string, StoredTensor>;
  return new Map(
    Object.entries(header)
      .filter(([name]) => name !== '__metadata__')
      .map(
        ([
          name,
          {
            dtype,
            shape,
            data_offsets: [begin, end],
          },
        ]) => [name, { dtype, shape, data: numbers(dtype, file.subarray(start + begin, start + end)) }],
      ),
  );
}

interface StoredTensor {
  dtype: Recorded['dtype'];
  shape: number[];
  data_offsets: [number, number];
}

function numbers(dtype: Recorded['dtype'], bytes: Buffer): Float64Array {
  const { buffer } = new Uint8Array(bytes); // a copy, hence aligned
  if (dtype === 'F32') return Float64Array.from(new Float32Array(buffer));
  if (dtype === 'F64') return new Float64Array(buffer);
  if (dtype === 'I64') return Float64Array.from(new BigInt64Array(buffer), Number);
  return Float64Array.from(new Uint8Array(buffer));
}

/** Writes float tensors as a safetensors file of float32 or, where they were float64, of that. */
export function writeTensors(path: string, tensors: RecordedTensors): void {
  let offset = 0;
  const header: Record<string, StoredTensor> = {};
  const chunks: Uint8Array[] = [];
  for (const [name, { dtype, shape, data }] of tensors) {
    const values = dtype === 'F64' ? data : Float32Array.from(data);
    header[name] = { dtype, shape, data_offsets: [offset, offset + values.byteLength] };
    offset += values.byteLength;
    chunks.push(new Uint8Array(values.buffer, values.byteOffset, values.byteLength));
  }
  const json = JSON.stringify(header);
  const text = Buffer.from(json.padEnd(Math.ceil(json.length / 8) * 8));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(text.length));
  writeFileSync(path, Buffer.concat([length, text, ...chunks]));
}

/** Calls `use` with the path of a file of these tensors, which is gone when it is done. */
export async function asFile<T>(tensors: RecordedTensors, use: (path: string) => Promise<T>): Promise<T> {
  const folder = mkdtempSync(join(tmpdir(), 'palm-parity-'));
  try {
    const path = join(folder, 'model.safetensors');
    writeTensors(path, tensors);
    return await use(path);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** A matrix of ids, lengths or booleans as nested arrays, the way a user writes it. */
export function rows({ shape, data }: Recorded): number[][] {
  const [count = 0, width = 0] = shape;
  return Array.from({ length: count }, (_, row) => [...data.subarray(row * width, (row + 1) * width)]);
}

/** Anything that a tensor's `data()` may give. */
export type Numbers = ArrayLike<number | bigint>;

/** The largest absolute difference; infinite when the counts differ or a number is not one. */
export function distance(actual: Numbers, expected: Numbers): number {
  if (actual.length !== expected.length) return Number.POSITIVE_INFINITY;
  let largest = 0;
  for (let i = 0; i < actual.length; i++) {
    const difference = Math.abs(Number(actual[i]) - Number(expected[i]));
    if (!(difference <= largest)) largest = Number.isNaN(difference) ? Number.POSITIVE_INFINITY : difference;
  }
  return largest;
}

/** ‖actual − expected‖ / ‖expected‖, or ‖actual‖ where nothing was expected. */
export function relativeDistance(actual: Numbers, expected: Numbers): number {
  if (actual.length !== expected.length) return Number.POSITIVE_INFINITY;
  let off = 0;
  let size = 0;
  for (let i = 0; i < actual.length; i++) {
    off += (Number(actual[i]) - Number(expected[i])) ** 2;
    size += Number(expected[i]) ** 2;
  }
  return Number.isNaN(off) ? Number.POSITIVE_INFINITY : Math.sqrt(size > 0 ? off / size : off);
}
