/** Numbers of stored tensors: their formats, and how those of tensors are encoded. */
import { FileError, printable } from '../errors.ts';
import { bytesOf, NUMBER_FORMATS, type NumberFormat } from '../files/number-formats.ts';
import type { StoredTensor } from '../files/stored-tensors.ts';
import { decodeFloats, encodeFloats } from '../import/torch/floats.ts';
import { addon } from '../native/addon.ts';
import { handleOf, run } from '../native/resource.ts';
import type { Tensor } from '../tensor/tensor.ts';

/** How files of models store numbers. */
export interface ReadableNumbers {
  format: NumberFormat;
  /** Bytes per number: less than 1 where a block of numbers shares a scale. Rows are whole blocks. */
  bytes: number;
  /** The narrowest element type of ours that holds all of its numbers. */
  dtype: 'float32' | 'float64' | 'bfloat16';
}
/** A format that can be written too. */
export interface StoredNumbers extends ReadableNumbers {
  /** Fills `bytes` with the numbers of a tensor on the CPU of this `dtype`. */
  encode(tensor: Tensor, bytes: Uint8Array): Promise<void>;
}

const F32 = same('F32', 'float32');
/** Those that can be written, by the names of safetensors. */
export const STORED: Readonly<Record<string, StoredNumbers>> = {
  F64: same('F64', 'float64'),
  F32,
  BF16: same('BF16', 'bfloat16'),
  F16: {
    format: 'F16',
    bytes: 2,
    dtype: 'float32',
    encode: async (tensor, bytes) => {
      const wide = new Uint8Array(2 * bytes.length);
      await F32.encode(tensor, wide);
      bytes.set(encodeFloats('F16', decodeFloats('F32', wide)));
    },
  },
};

function same(format: NumberFormat, dtype: StoredNumbers['dtype']): StoredNumbers {
  return {
    format,
    bytes: bytesOf(format, 1),
    dtype,
    encode: (tensor, bytes) => run([tensor], () => addon().tensorReadBytes(handleOf(tensor), 0, bytes)),
  };
}

/** How the numbers of `tensor` are stored. @throws FileError for a type that cannot be read. */
export function storedNumbers({ name, dtype, path }: StoredTensor): ReadableNumbers {
  if (Object.hasOwn(STORED, dtype)) return STORED[dtype] as StoredNumbers;
  if (isBlocks(dtype)) return { format: dtype, bytes: bytesOf(dtype, 1), dtype: 'float32' };
  throw new FileError({
    argument: `${path}, tensor ${printable(name)}`,
    received: `element type ${dtype}`,
    expected: `one of ${[...Object.keys(STORED), ...Object.keys(NUMBER_FORMATS).filter(isBlocks)].join(', ')}`,
    fix: 'Save the model in bfloat16 first.',
  });
}

/** Whether a format has a scale for every block of numbers, as those of GGUF do. */
function isBlocks(dtype: string): dtype is NumberFormat {
  return Object.hasOwn(NUMBER_FORMATS, dtype) && NUMBER_FORMATS[dtype as NumberFormat].numbers > 1;
}

/** Whether two stored tensors hold the same numbers. */
export async function sameNumbers(a: StoredTensor, b: StoredTensor): Promise<boolean> {
  if (a.dtype !== b.dtype || a.shape.join() !== b.shape.join()) return false;
  const size = storedNumbers(a).bytes * a.shape.reduce((product, one) => product * one, 1);
  const [x, y] = [new Uint8Array(Math.min(size, 2 ** 22)), new Uint8Array(Math.min(size, 2 ** 22))];
  const [nextOfA, nextOfB] = [a.reader(), b.reader()];
  for (let done = 0; done < size; done += x.length) {
    const [left, right] = [x, y].map((buffer) => buffer.subarray(0, Math.min(buffer.length, size - done)));
    await nextOfA(left as Uint8Array);
    await nextOfB(right as Uint8Array);
    if (Buffer.compare(left as Uint8Array, right as Uint8Array) !== 0) return false;
  }
  return true;
}
