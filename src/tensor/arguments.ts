/** Arguments that may be tensors or plain arrays: ids, lengths, labels, masks and scores. */
import { ArgumentError, printable } from '../errors.ts';
import type { Device, Dtype, TensorHandle } from '../native/addon.ts';
import { handleOf } from '../native/resource.ts';
import { type NestedArray, Tensor, type TensorArray } from './tensor.ts';
import { upload } from './upload.ts';

/** Token ids, lengths, groups, ranks or class labels: a Tensor, a typed array, or nested arrays of integers. */
export type Ids = Tensor | Int32Array | BigInt64Array | NestedArray;
/** Booleans: a bool Tensor, or nested arrays of booleans or 0 and 1. */
export type Mask = Tensor | Uint8Array | NestedArray;
/** Numbers: a Tensor, a typed array, or nested arrays. */
export type Values = Tensor | TensorArray | NestedArray;

/**
 * The tensors of one call. Arrays become temporary tensors on `device`; `used` lists the others, whose earlier failures
 * concern the call. Dispose of it once the work is queued: jobs keep what they read.
 */
export class Inputs implements Disposable {
  readonly used: Tensor[] = [];
  readonly #temporary: Tensor[] = [];
  readonly #device: Device;

  constructor(device: Device) {
    this.#device = device;
  }

  /** @throws ArgumentError naming the place of what is no integer. The models check their range, of tensors too. */
  ids(value: Ids, argument: string): TensorHandle {
    if (Array.isArray(value)) checkIntegers(value, argument);
    return this.#take(value, ArrayBuffer.isView(value) ? undefined : 'int64', argument);
  }

  mask(value: Mask, argument: string): TensorHandle {
    return this.#take(value, 'bool', argument);
  }

  values(value: Values, argument: string, dtype: Dtype = 'float32'): TensorHandle {
    return this.#take(value, dtype, argument);
  }

  #take(value: Values, dtype: Dtype | undefined, argument: string): TensorHandle {
    if (value instanceof Tensor) {
      this.used.push(value);
      return handleOf(value, argument);
    }
    const { handle, done } = upload(value, { dtype, device: this.#device }, argument);
    const tensor = new Tensor(handle, done);
    this.#temporary.push(tensor);
    this.used.push(tensor);
    return handle;
  }

  [Symbol.dispose](): void {
    for (const tensor of this.#temporary) tensor.dispose();
  }
}

function checkIntegers(values: readonly NestedArray[], argument: string): void {
  const found = firstNonInteger(values);
  if (found === undefined) return;
  const received = printable(found.value);
  throw new ArgumentError({ argument: argument + found.place, received, expected: 'an integer' });
}

/** Deeper arrays are refused for their shape. */
const MAX_DEPTH = 4;

function firstNonInteger(values: readonly unknown[], depth = 1): { place: string; value: unknown } | undefined {
  for (let i = 0; i < values.length; i++) {
    const value = values[i];
    if (Number.isSafeInteger(value) || typeof value === 'boolean') continue;
    if (!Array.isArray(value)) return { place: `[${i}]`, value };
    const inner = depth < MAX_DEPTH ? firstNonInteger(value, depth + 1) : undefined;
    if (inner !== undefined) return { place: `[${i}]${inner.place}`, value: inner.value };
  }
  return undefined;
}
