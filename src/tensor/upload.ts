/** Arrays on their way into native memory: what shape and element type they have, and how their bytes are copied. */
import { setImmediate } from 'node:timers/promises';
import { ArgumentError, DtypeError, printable, ShapeError } from '../errors.ts';
import { addon, type Device, type Dtype, type TensorHandle } from '../native/addon.ts';
import { checkInteger, checkOptions } from '../checks/options.ts';

/** Numbers, booleans, or arrays of such arrays, all of one length at each depth. */
export type NestedArray = number | boolean | readonly NestedArray[];
/** The typed arrays that a tensor can be made from. */
export type TensorArray = Float32Array | Float64Array | Int32Array | BigInt64Array | Uint8Array;
/** What a tensor can be made from. */
export type TensorData = TensorArray | NestedArray;

export interface TensorOptions {
  /** Sizes, as many elements as there are values; those of nested arrays, or one dimension, unless given. */
  shape?: readonly number[];
  /** That of a typed array; for nested arrays float32, or bool where they hold booleans, unless given. */
  dtype?: Dtype;
  /** `cpu` unless given. */
  device?: Device;
}

/** A tensor that is being filled; `done` is there when that goes on after the call, and rejects if it fails. */
export interface Upload {
  handle: TensorHandle;
  done: Promise<void> | undefined;
}

/** Larger arrays are copied in pieces of this many bytes, one in each turn of the event loop. */
const PIECE_BYTES = 4 * 1024 * 1024;

const ARRAY_DTYPES: ReadonlyMap<unknown, Dtype> = new Map<unknown, Dtype>([
  [Float32Array, 'float32'],
  [Float64Array, 'float64'],
  [Int32Array, 'int32'],
  [BigInt64Array, 'int64'],
  [Uint8Array, 'uint8'],
]);

/** Starts to copy `values` into a new tensor. `argument` names them in errors. */
export function upload(values: TensorData, options: TensorOptions, argument: string): Upload {
  checkOptions(options, ['shape', 'dtype', 'device'], argument);
  const {
    array,
    shape: own,
    dtype,
  } = isTypedArray(values)
    ? { array: values, shape: [values.length], dtype: undefined }
    : fromNested(values, options.dtype, argument);
  const stored = dtypeOf(array, argument);
  const wanted = options.dtype ?? dtype ?? stored;
  const shape = checkShape(options.shape, own, array.length, argument);
  const device = options.device ?? 'cpu';
  return wanted === stored && device === 'cpu'
    ? copyIn(array, shape, stored)
    : convert(array, shape, stored, wanted, device);
}

function convert(array: TensorArray, shape: number[], stored: Dtype, wanted: Dtype, device: Device): Upload {
  const handle = addon().tensorEmpty(shape, wanted, device);
  const source = copyIn(array, shape, stored);
  const copied = addon().tensorCopy(handle, source.handle);
  const done = Promise.all([source.done, copied]).then(() => undefined);
  // A job keeps what it reads, but pieces are still written through this handle.
  const release = () => addon().dispose(source.handle);
  if (source.done) source.done.then(release, release);
  else release();
  return { handle, done };
}

function copyIn(array: TensorArray, shape: number[], dtype: Dtype): Upload {
  if (array.byteLength > PIECE_BYTES) {
    const handle = addon().tensorOpen(shape, dtype);
    return { handle, done: copyPieces(handle, array) };
  }
  const handle = addon().tensorEmpty(shape, dtype, 'cpu');
  addon().tensorWrite(handle, array, 0);
  return { handle, done: undefined };
}

async function copyPieces(handle: TensorHandle, array: TensorArray): Promise<void> {
  const length = array.length;
  const step = PIECE_BYTES / array.BYTES_PER_ELEMENT;
  try {
    for (let begin = 0; begin < length; begin += step) {
      if (begin > 0) await setImmediate();
      if (array.length !== length) throw changedLength(array, length);
      addon().tensorWrite(handle, array.subarray(begin, Math.min(begin + step, length)), begin);
    }
  } finally {
    // Jobs are waiting for it: without this they would wait for ever.
    addon().tensorSeal(handle);
  }
}

function changedLength(array: TensorArray, length: number): ArgumentError {
  return new ArgumentError({
    argument: 'tensor',
    received: `${printable(array)} while it was being copied`,
    expected: `its ${length} elements, unchanged`,
    fix: 'Await a call on the tensor before you change, transfer or resize its array.',
  });
}

function isTypedArray(values: TensorData): values is TensorArray {
  return ArrayBuffer.isView(values);
}

function dtypeOf(array: TensorArray, argument: string): Dtype {
  for (const [type, dtype] of ARRAY_DTYPES) {
    if (array instanceof (type as typeof Float32Array)) return dtype;
  }
  throw new DtypeError({
    argument,
    received: printable(array),
    expected: 'a Float32Array, Float64Array, Int32Array, BigInt64Array or Uint8Array, or nested arrays',
  });
}

function checkShape(wanted: readonly number[] | undefined, own: number[], length: number, argument: string): number[] {
  if (wanted === undefined) return own;
  if (!Array.isArray(wanted)) {
    throw new ShapeError({ argument: `${argument}.shape`, received: printable(wanted), expected: 'an array of sizes' });
  }
  for (const size of wanted) checkInteger(size, 0, `${argument}.shape`);
  if (wanted.reduce((product, size) => product * size, 1) === length) return [...wanted];
  throw new ShapeError({
    argument: `${argument}.shape`,
    received: `${printable(wanted)} for ${length} values`,
    expected: `sizes whose product is ${length}`,
  });
}

function fromNested(values: NestedArray, dtype: Dtype | undefined, argument: string) {
  const shape = nestedShape(values, argument);
  const leaves: (number | boolean)[] = [];
  collect(values, shape, 0, leaves, argument);
  const wanted = dtype ?? (typeof leaves[0] === 'boolean' ? 'bool' : 'float32');
  return { array: toArray(leaves, wanted, argument), shape, dtype: wanted };
}

function nestedShape(values: NestedArray, argument: string): number[] {
  const shape: number[] = [];
  for (let inner: NestedArray | undefined = values; Array.isArray(inner); inner = inner[0]) {
    shape.push(inner.length);
    if (shape.length > 64) {
      throw new ShapeError({
        argument,
        received: 'arrays nested more than 64 deep',
        expected: 'at most 64 dimensions',
      });
    }
  }
  return shape;
}

function collect(values: NestedArray, shape: number[], depth: number, leaves: (number | boolean)[], place: string) {
  if (!Array.isArray(values)) {
    if (shape.length === 0) leaves.push(values as number | boolean);
    else throw ragged(values, shape[depth], place);
    return;
  }
  if (values.length !== shape[depth]) throw ragged(values, shape[depth], place);
  if (depth < shape.length - 1) {
    values.forEach((inner, i) => {
      collect(inner, shape, depth + 1, leaves, `${place}[${i}]`);
    });
    return;
  }
  for (const [i, leaf] of values.entries()) {
    if (Array.isArray(leaf)) throw ragged(leaf, undefined, `${place}[${i}]`);
    leaves.push(leaf);
  }
}

function ragged(values: NestedArray, size: number | undefined, argument: string): ShapeError {
  return new ShapeError({
    argument,
    received: Array.isArray(values) ? `an array of ${values.length}` : printable(values),
    expected: size === undefined ? 'a number, as its neighbours are' : `an array of ${size}, as its neighbours are`,
    fix: 'Pad the rows to one length.',
  });
}

/** The values in the typed array that holds them exactly, on their way to `dtype`. */
function toArray(leaves: (number | boolean)[], dtype: Dtype, argument: string): TensorArray {
  const check = (expected: string, allowed: (value: number) => boolean): number[] =>
    leaves.map((leaf, i) => {
      const value = typeof leaf === 'boolean' ? Number(leaf) : leaf;
      if (typeof value === 'number' && allowed(value)) return value;
      throw new ArgumentError({ argument, received: `${printable(leaf)} as element ${i}`, expected });
    });
  switch (dtype) {
    case 'int64':
      return BigInt64Array.from(check('integers', Number.isSafeInteger), BigInt);
    case 'int32':
      return Int32Array.from(check('integers of 32 bits', (value) => (value | 0) === value));
    case 'uint8':
      return Uint8Array.from(check('integers from 0 to 255', (value) => (value & 255) === value));
    case 'bool':
      return Uint8Array.from(check('booleans, 0 or 1', (value) => value === 0 || value === 1));
    case 'float64':
      return Float64Array.from(check('numbers', () => true));
    default:
      return Float32Array.from(check('numbers', () => true));
  }
}
