/** Tensors and parameters: arrays in native memory, which the rest of the package accepts and returns. */
import { ArgumentError, NativeError, printable, ShapeError } from '../errors.ts';
import { BOOLEAN, checkKind } from '../checks/kinds.ts';
import {
  addon,
  type Device,
  type Dtype,
  type NativeParameter,
  type NumericArray,
  type ParameterHandle,
  type TensorHandle,
} from '../native/addon.ts';
import { checkInteger, checkOptions } from '../checks/options.ts';
import { handleOf, queue, Resource, run } from '../native/resource.ts';
import { type TensorData, type TensorOptions, upload } from './upload.ts';

export type { Device, Dtype, NumericArray } from '../native/addon.ts';
export type { NestedArray, TensorArray, TensorData, TensorOptions } from './upload.ts';

/** An array in native memory. Dispose of it, or declare it with `using`: garbage collection would free it too late. */
export class Tensor extends Resource<TensorHandle> {
  readonly #filling: Promise<void> | undefined;

  /** For this package only; use `Tensor.from`. `filling` settles when all values have been copied. */
  constructor(handle: TensorHandle, filling?: Promise<void>) {
    super(handle, 'Tensor');
    this.#filling = filling;
    if (filling !== undefined) queue(this, filling);
  }

  /**
   * Creates a tensor with a copy of `values`. Up to 4 MiB are copied at once; the rest of a larger typed array follows piece by
   * piece, so the array must not change until the next awaited call on the tensor has resolved.
   * @throws ShapeError for ragged arrays, or a shape that does not fit.
   * @throws ArgumentError for a value that `dtype` cannot represent.
   * @throws DtypeError for an unknown dtype.
   * @throws DeviceError for a device that does not exist.
   */
  static from(values: TensorData, options: TensorOptions = {}): Tensor {
    const { handle, done } = upload(values, options, 'tensor');
    return new Tensor(handle, done);
  }

  /** Creates a standalone parameter, named `parameter`, with a copy of `values`; see `Tensor.from`. */
  static parameter(values: TensorData, options: TensorOptions = {}): Parameter {
    const { handle, done } = upload(values, options, 'parameter');
    using tensor = new Tensor(handle, done);
    const parameter = new Parameter(addon().parameterCreate(handle), { dtype: tensor.dtype });
    if (done !== undefined) queue(parameter, done);
    return parameter;
  }

  get shape(): number[] {
    return addon().tensorShape(handleOf(this));
  }

  get dtype(): Dtype {
    return addon().tensorDtype(handleOf(this));
  }

  get device(): Device {
    return addon().tensorDevice(handleOf(this));
  }

  /** The elements, row by row, in a new array: bfloat16 as Float32Array, bool as Uint8Array of 0 and 1. */
  data(): Promise<NumericArray> {
    return run([this], () => addon().tensorData(handleOf(this)));
  }

  /** The only element, as a number (rounded for an int64 beyond 2^53). @throws ShapeError unless there is exactly one. */
  async item(): Promise<number> {
    const { shape } = this;
    const data = await this.data();
    if (data.length === 1) return Number(data[0]);
    throw new ShapeError({
      argument: 'tensor.item',
      received: `shape ${printable(shape)}`,
      expected: 'a tensor with one element',
      fix: 'Use data() for several elements.',
    });
  }

  /**
   * Adds the gradient of this scalar to every parameter that it was computed from. This works once, as it frees the graph.
   * @throws ShapeError if it is not a scalar.
   * @throws ArgumentError if it is called a second time.
   * @throws ArgumentError if weights have changed since.
   */
  async backward(): Promise<void> {
    try {
      await run([this], () => addon().tensorBackward(handleOf(this)));
    } catch (error) {
      throw error instanceof NativeError ? (spoiltGraph(error) ?? error) : error;
    }
  }

  // A tensor that is still being filled needs its handle until the last piece is written.
  protected override release(handle: TensorHandle): void {
    const free = () => super.release(handle);
    if (this.#filling === undefined) free();
    else this.#filling.then(free, free);
  }
}

/** Rephrases libtorch's errors about a graph that can no longer be differentiated. */
function spoiltGraph(cause: NativeError): ArgumentError | undefined {
  const detail = (received: string, expected: string) =>
    new ArgumentError({ argument: 'backward', received, expected, fix: 'Compute the loss again.', cause });
  if (/backward through the graph a second time/.test(cause.message))
    return detail('a second call on this tensor', 'one call, which frees the graph');
  if (/modified by an inplace operation/.test(cause.message))
    return detail('a tensor whose weights have changed since', 'a call before any step, load or merge');
  return undefined;
}

/** What a model knows about its parameter, in addition to the native part. */
export interface ParameterContext {
  dtype: Dtype;
  /** Prefix of the native name, which distinguishes scopes. */
  prefix?: string;
  /** Throws if the parameter may not be trained. */
  guard?: () => void;
}

/** A trained tensor and its gradient. Models create their parameters once, and dispose of them. */
export class Parameter extends Resource<ParameterHandle> {
  /** Its name in checkpoints. */
  readonly name: string;
  readonly shape: readonly number[];
  readonly dtype: Dtype;
  readonly #guard: (() => void) | undefined;
  #owners = 0;
  #frozen = false;

  /** For this package only: models create their own, users call `Tensor.parameter`. */
  constructor({ name, shape, handle }: NativeParameter, context: ParameterContext) {
    const { dtype, prefix = '', guard } = context;
    super(handle, 'Parameter');
    this.name = prefix + name;
    this.shape = shape;
    this.dtype = dtype;
    this.#guard = guard;
  }

  /** The values as a tensor that shares their memory, and so reflects every later change. */
  async value(): Promise<Tensor> {
    return new Tensor(await run([this], () => addon().parameterValue(handleOf(this))));
  }

  /** The values as the leaf of a graph: `backward` of a loss computed from it gives this parameter its gradient. */
  async leaf(): Promise<Tensor> {
    return new Tensor(await run([this], () => addon().parameterLeaf(handleOf(this))));
  }

  /** The gradient as a tensor that shares its memory, float32 even for bfloat16; null if no backward pass since `zeroGrad`. */
  async grad(): Promise<Tensor | null> {
    const handle = await run([this], () => addon().parameterGrad(handleOf(this)));
    return handle === undefined ? null : new Tensor(handle);
  }

  /** Copies `grad` over the gradient. @throws ShapeError unless its shape is that of the parameter. */
  setGrad(grad: Tensor): Promise<void> {
    return run([this, grad], () => addon().parameterSetGrad(handleOf(this), handleOf(grad, 'grad')));
  }

  /** The values, row by row, in a new array. */
  async data(): Promise<NumericArray> {
    using value = await this.value();
    return await value.data();
  }

  /** The only value. @throws ShapeError unless there is exactly one. */
  async item(): Promise<number> {
    using value = await this.value();
    return await value.item();
  }

  /** Whether an undisposed optimizer trains it, which determines what a graph is recorded for. @internal */
  get owned(): boolean {
    return this.#owners > 0;
  }

  /** Whether its model has frozen it. @internal */
  get frozen(): boolean {
    return this.#frozen;
  }

  /** For optimizers: marks it as trained by one. Returns a function that ends this. @internal */
  own(): () => void {
    this.#owners++;
    return () => this.#owners--;
  }

  /** For models: records whether they have frozen it. @internal */
  setFrozen(frozen: boolean): void {
    this.#frozen = frozen;
  }

  /**
   * @throws SharedTrunkError if others read the trunk that it is part of.
   * @throws ArgumentError while it is frozen.
   * @internal
   */
  checkTrainable(): void {
    this.#guard?.();
    if (!this.#frozen) return;
    throw new ArgumentError({
      argument: 'parameters',
      received: `${this.name}, which is frozen`,
      expected: 'parameters that can get a gradient',
      fix: 'Call unfreeze() on its model first, or omit it.',
    });
  }
}

/** For models: whether these parameters of `owner` get gradients from now on. */
export function requireGrad(owner: Resource, parameters: readonly Parameter[], on: boolean): void {
  for (const parameter of parameters) parameter.setFrozen(!on);
  const handles = parameters.map((parameter) => handleOf(parameter));
  queue(owner, addon().parametersRequireGrad(handles, on));
}

/** Several tensors that are disposed of together; spreading the group (`{ ...group }`) copies only its tensors. */
export type TensorGroup<Fields extends object> = Readonly<Fields> & Disposable & { dispose(): void };

const groupPrototype = {
  dispose(): void {
    for (const tensor of Object.values(this) as unknown as Tensor[]) tensor.dispose();
  },
  [Symbol.dispose](): void {
    this.dispose();
  },
};

type Wrapped<Handles> = { [Key in keyof Handles]: Tensor };

/** Wraps an object of native tensors in one of Tensors, without those that are undefined. */
export function tensorGroup<Handles extends object>(handles: Handles): TensorGroup<Wrapped<Handles>> {
  const given = Object.entries(handles).filter(([, handle]) => handle !== undefined);
  const fields = given.map(([key, handle]) => [key, new Tensor(handle as TensorHandle)]);
  return Object.assign(Object.create(groupPrototype), Object.fromEntries(fields));
}

/** Memory use of this process, in bytes except for `liveTensors`. */
export interface MemoryUse {
  /** Tensors, including those of models, that JavaScript holds; shared memory is counted once. */
  liveTensors: number;
  liveBytes: number;
  /** On the CPU, in blocks of at least 256 KiB: all tensors, including those in graphs and temporary ones. */
  usedBytes: number;
  /** The max of `usedBytes` since the peak was reset. */
  peakBytes: number;
  /** Freed memory that is kept for reuse. */
  cachedBytes: number;
}

export interface MemoryOptions {
  /** Whether to reset the peak after reporting it. */
  resetPeak?: boolean;
  /**
   * The max of `usedBytes` in this process from now on; an allocation that would exceed it throws an OutOfMemoryError. 0 removes
   * the limit. The free memory of the system is enforced in any case.
   */
  limit?: number;
}

/** Reports the memory use of this process, and can limit it. @throws ArgumentError for a limit that is not an integer >= 0. */
export function memory(options: MemoryOptions = {}): MemoryUse {
  checkOptions(options, ['resetPeak', 'limit'], 'memory');
  const { resetPeak, limit } = options;
  if (limit !== undefined) {
    checkInteger(limit, 0, 'memory.limit');
    addon().memoryLimit(limit);
  }
  const use = addon().memory();
  if (resetPeak) addon().memoryResetPeak();
  return use;
}

/**
 * Sets whether GPUs use only bitwise reproducible algorithms in this process, which can be slower; those of the CPU always are.
 * Defaults to off. Call it before the first matrix product on a GPU. Trainers turn it on if `deterministic` is set, and never
 * turn it off.
 * @throws ArgumentError if `on` is not a boolean.
 */
export async function useDeterministic(on: boolean): Promise<void> {
  checkKind('on', on, BOOLEAN);
  await addon().useDeterministic(on);
}
