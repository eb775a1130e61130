/** Tensors and parameters: arrays in native memory that the rest of the package takes and gives. */
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

/** An array in native memory. Dispose of it, or declare it with `using`: the garbage collector comes too late. */
export class Tensor extends Resource<TensorHandle> {
  readonly #filling: Promise<void> | undefined;

  /** For this package only; use `Tensor.from`. `filling` settles when values that are still being copied are there. */
  constructor(handle: TensorHandle, filling?: Promise<void>) {
    super(handle, 'Tensor');
    this.#filling = filling;
    if (filling !== undefined) queue(this, filling);
  }

  /**
   * A tensor with a copy of `values`. Up to 4 MiB are copied at once; of a larger typed array the rest follows piece by
   * piece, so it must not change until the next awaited call on the tensor has resolved.
   * @throws ShapeError for ragged arrays or a shape that does not fit, ArgumentError for values that `dtype` cannot hold,
   * DtypeError and DeviceError for those that do not exist here.
   */
  static from(values: TensorData, options: TensorOptions = {}): Tensor {
    const { handle, done } = upload(values, options, 'tensor');
    return new Tensor(handle, done);
  }

  /** A parameter of its own, named `parameter`, that starts with a copy of `values`; see `Tensor.from`. */
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

  /** The one element, as a number (of an int64 beyond 2^53, the nearest). @throws ShapeError unless there is just one. */
  async item(): Promise<number> {
    const { shape } = this;
    const data = await this.data();
    if (data.length === 1) return Number(data[0]);
    throw new ShapeError({
      argument: 'tensor.item',
      received: `shape ${printable(shape)}`,
      expected: 'a tensor with one element',
      fix: 'Use data() for several.',
    });
  }

  /**
   * Adds the gradient of this scalar to every parameter that it was computed from, once: its graph is gone then.
   * @throws ShapeError unless scalar, ArgumentError for the second time, and where weights were changed since.
   */
  async backward(): Promise<void> {
    try {
      await run([this], () => addon().tensorBackward(handleOf(this)));
    } catch (error) {
      throw error instanceof NativeError ? (spoiltGraph(error) ?? error) : error;
    }
  }

  // Pieces are still written through the handle of a tensor that is being filled.
  protected override release(handle: TensorHandle): void {
    const free = () => super.release(handle);
    if (this.#filling === undefined) free();
    else this.#filling.then(free, free);
  }
}

/** What libtorch says of a graph that cannot be differentiated any more, in other words. */
function spoiltGraph(cause: NativeError): ArgumentError | undefined {
  const detail = (received: string, expected: string) =>
    new ArgumentError({ argument: 'backward', received, expected, fix: 'Compute the loss again.', cause });
  if (/backward through the graph a second time/.test(cause.message))
    return detail('a tensor that was differentiated already', 'one with its graph, which one call uses up');
  if (/modified by an inplace operation/.test(cause.message))
    return detail('a tensor of weights that were changed since', 'backward before the step, load or merge');
  return undefined;
}

/** What a model knows of its parameter besides the native part. */
export interface ParameterContext {
  dtype: Dtype;
  /** Put before the native name, to tell scopes apart. */
  prefix?: string;
  /** Throws when it may not be trained. */
  guard?: () => void;
}

/** A trained tensor and its gradient. Models make theirs once and dispose of them themselves. */
export class Parameter extends Resource<ParameterHandle> {
  /** Its name in checkpoints. */
  readonly name: string;
  readonly shape: readonly number[];
  readonly dtype: Dtype;
  readonly #guard: (() => void) | undefined;
  #owners = 0;
  #frozen = false;

  /** For this package only; models make their own, users call `Tensor.parameter`. */
  constructor({ name, shape, handle }: NativeParameter, context: ParameterContext) {
    const { dtype, prefix = '', guard } = context;
    super(handle, 'Parameter');
    this.name = prefix + name;
    this.shape = shape;
    this.dtype = dtype;
    this.#guard = guard;
  }

  /** The values as a tensor that shares their memory: it follows every later change. */
  async value(): Promise<Tensor> {
    return new Tensor(await run([this], () => addon().parameterValue(handleOf(this))));
  }

  /** The gradient as a tensor that shares its memory, float32 in bfloat16 too; null before any backward pass and after `zeroGrad`. */
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

  /** The one value. @throws ShapeError unless there is just one. */
  async item(): Promise<number> {
    using value = await this.value();
    return await value.item();
  }

  /** Whether a living optimizer moves it: that decides for what a graph is recorded. */
  get owned(): boolean {
    return this.#owners > 0;
  }

  /** For optimizers: from now on it is theirs to move. Returns how to end that. */
  own(): () => void {
    this.#owners++;
    return () => this.#owners--;
  }

  /** For models: notes whether they have frozen it. */
  setFrozen(frozen: boolean): void {
    this.#frozen = frozen;
  }

  /** @throws SharedTrunkError when others read the trunk that it is part of, ArgumentError while it is frozen. */
  checkTrainable(): void {
    this.#guard?.();
    if (!this.#frozen) return;
    throw new ArgumentError({
      argument: 'parameters',
      received: `${this.name}, which is frozen`,
      expected: 'parameters that can get a gradient',
      fix: 'Call unfreeze() on its model first, or leave it out.',
    });
  }
}

/** Several tensors that are disposed of together; spreading them (`{ ...tensors }`) copies the tensors alone. */
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

/** Wraps an object of native tensors into one of Tensors. */
export function tensorGroup<Handles extends object>(handles: Handles): TensorGroup<Wrapped<Handles>> {
  const fields = Object.entries(handles).map(([key, handle]) => [key, new Tensor(handle as TensorHandle)]);
  return Object.assign(Object.create(groupPrototype), Object.fromEntries(fields));
}

/** What this process holds, in bytes but for `liveTensors`. */
export interface MemoryUse {
  /** Tensors and models that JavaScript holds; shared memory is counted once. */
  liveTensors: number;
  liveBytes: number;
  /** On the CPU, in blocks of at least 256 KiB: all tensors, those in graphs and in the middle of a computation too. */
  usedBytes: number;
  /** The most that `usedBytes` has been since the peak was reset. */
  peakBytes: number;
  /** Freed, but kept for what comes next. */
  cachedBytes: number;
}

export interface MemoryOptions {
  /** Whether the peak starts anew once it has been told. */
  resetPeak?: boolean;
  /**
   * The most bytes that `usedBytes` may reach from now on, in this process: what would exceed it is an OutOfMemoryError. 0
   * takes the limit away. What the machine has left is a limit always.
   */
  limit?: number;
}

/** What this process holds. @throws ArgumentError for a limit that is no whole number. */
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
 * Whether a GPU takes, in this process, only algorithms that give the same bits each time, slower where there is a choice. The
 * CPU's always do. Off at first; wants to be called before a GPU has multiplied anything. Trainers turn it on
 * where they are `deterministic`, and never off. @throws ArgumentError for what is no boolean.
 */
export async function useDeterministic(on: boolean): Promise<void> {
  checkKind('on', on, BOOLEAN);
  await addon().useDeterministic(on);
}
