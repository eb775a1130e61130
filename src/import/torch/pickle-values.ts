/** What a pickle can hold: values, and words for what would be code. */
import type { SafetensorsDtype } from '../../files/safetensors/header.ts';

/** What a pickle can hold. Everything may occur at several places; `unpickle` has made sure that nothing contains itself. */
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
  /** Made with the first entry: a Map takes a kilobyte, and most dicts in a file are the empty hooks of tensors. */
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
/** An empty set: there is no opcode here that could fill it. */
export class PickleSet {
  readonly size = 0;
}
/** A name that may be called (never is: see `Machine.reduce`) or that stands for an element type. */
export class PickleGlobal {
  readonly name: string;
  constructor(name: string) {
    this.name = name;
  }
}
/** Elements in a record of the archive, which `key` names. */
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
/** A view of a storage, all of it inside; `offset` and `strides` count elements. */
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

/** What a container holds; of a dict, its values. */
export function itemsOf(value: PickleValue): Iterable<PickleValue> {
  if (value instanceof PickleTuple) return value.items;
  if (value instanceof PickleDict) return value.entries.values();
  return Array.isArray(value) ? value : [];
}

/** The kind of a value, in words. */
export function kind(value: PickleValue | undefined): string {
  if (value === null || value === undefined) return 'nothing';
  if (Array.isArray(value)) return 'a list';
  if (typeof value !== 'object') return `a ${typeof value}`;
  if (value instanceof PickleTuple) return 'a tuple';
  if (value instanceof PickleDict) return 'a dict';
  if (value instanceof PickleGlobal) return 'a global';
  return value instanceof PickleSet ? 'a set' : 'a tensor';
}
