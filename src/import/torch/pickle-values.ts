/** The values that a pickle can hold, and names in place of code. */
import type { SafetensorsDtype } from '../../files/safetensors/header.ts';

/** Any value in a pickle. A value may occur in several places; `unpickle` ensures that nothing contains itself. */
export type PickleValue =
  | null
  | boolean
  | number
  | bigint
  | string
  | PickleValue[]
  | PickleTuple
  | PickleDict
  | PickleSet
  | PickleGlobal
  | PickleStorage
  | PickleTensor;

export class PickleTuple {
  readonly items: readonly PickleValue[];
  constructor(items: readonly PickleValue[]) {
    this.items = items;
  }
}
/** A dict or an OrderedDict. */
export class PickleDict {
  readonly ordered: boolean;
  /** Created with the first entry: a Map takes a kilobyte, and most dicts in a file are the empty hooks of tensors. */
  private filled: Map<PickleValue, PickleValue> | undefined;
  constructor(ordered: boolean) {
    this.ordered = ordered;
  }

  get entries(): ReadonlyMap<PickleValue, PickleValue> {
    return this.filled ?? EMPTY;
  }

  set(key: PickleValue, value: PickleValue): void {
    this.filled ??= new Map();
    this.filled.set(key, value);
  }
}
const EMPTY: ReadonlyMap<PickleValue, PickleValue> = new Map();
/** An empty set: no supported opcode can fill it. */
export class PickleSet {
  readonly size = 0;
}
/** The name of a callable (which is never called, see `Machine.reduce`) or of an element type. */
export class PickleGlobal {
  readonly name: string;
  constructor(name: string) {
    this.name = name;
  }
}
/** Elements stored in the archive record named `key`. */
export class PickleStorage {
  readonly dtype: SafetensorsDtype;
  readonly key: string;
  readonly elements: number;
  constructor(dtype: SafetensorsDtype, key: string, elements: number) {
    this.dtype = dtype;
    this.key = key;
    this.elements = elements;
  }
}
/** A view that lies entirely within a storage; `offset` and `strides` count elements. */
export class PickleTensor {
  readonly storage: PickleStorage;
  readonly offset: number;
  readonly shape: readonly number[];
  readonly strides: readonly number[];
  constructor(storage: PickleStorage, offset: number, shape: readonly number[], strides: readonly number[]) {
    this.storage = storage;
    this.offset = offset;
    this.shape = shape;
    this.strides = strides;
  }
}

/** The items of a container; for a dict, its values. */
export function itemsOf(value: PickleValue): Iterable<PickleValue> {
  if (value instanceof PickleTuple) return value.items;
  if (value instanceof PickleDict) return value.entries.values();
  return Array.isArray(value) ? value : [];
}

/** Describes the kind of a value. */
export function kind(value: PickleValue | undefined): string {
  if (value === null || value === undefined) return 'nothing';
  if (Array.isArray(value)) return 'a list';
  if (typeof value !== 'object') return `a ${typeof value}`;
  if (value instanceof PickleTuple) return 'a tuple';
  if (value instanceof PickleDict) return 'a dict';
  if (value instanceof PickleGlobal) return 'a global';
  return value instanceof PickleSet ? 'a set' : 'a tensor';
}
