/** Arguments that may be tensors or plain arrays: ids, lengths, labels, masks and scores. */
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
 * The tensors of one call. Arrays become temporary tensors on `device`; `used` lists all tensors whose earlier failures
 * affect the call. Dispose of it once the work is queued: jobs keep what they read.
 */
export class Inputs implements Disposable {
  readonly used: Tensor[] = [];
  readonly #temporary: Tensor[] = [];
  readonly #device: Device;

  constructor(device: Device) {
    this.#device = device;
  }

  /** @throws ArgumentError naming the position of a non-integer. The models check the range, also of tensors. */
  ids(value: Ids, argument: string): TensorHandle {
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

/** The handles of the fields `keys` of a batch. @throws HandleError or DisposedError naming the field. */
export function handlesOf<Key extends string>(
  fields: Readonly<Record<Key, Tensor>>,
  keys: readonly Key[],
): Record<Key, TensorHandle> {
  const entries = keys.map((key) => [key, handleOf(fields?.[key], key)]);
  return Object.fromEntries(entries) as Record<Key, TensorHandle>;
}

/** The same fields as tensors, for `run`. */
export function tensorsOf<Key extends string>(fields: Readonly<Record<Key, Tensor>>, keys: readonly Key[]): Tensor[] {
  return keys.map((key) => fields[key]);
}
