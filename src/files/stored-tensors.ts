/** The tensors of a model as its files store them, whatever their format: names, shapes, element types, and rows of bytes. */
import { openSafetensors, type SafetensorsFile } from './safetensors/safetensors.ts';

/** A tensor in a file. */
export interface StoredTensor {
  name: string;
  shape: readonly number[];
  /** The element type, as safetensors calls it: `F32`, `BF16`, ... */
  dtype: string;
  /** The file that it lies in. */
  path: string;
  /** Whether the file has the transpose of what Hugging Face has under this name. */
  transposed?: boolean;
  /** Starts at its first byte: every call fills `target` with the bytes that follow, row by row. */
  reader(): (target: Uint8Array) => Promise<void>;
}

/** Tensors by name, from one open file or several. Close it, or use `await using`. */
export interface StoredTensors extends AsyncDisposable {
  /** The file or folder. */
  readonly path: string;
  readonly tensors: ReadonlyMap<string, StoredTensor>;
}

/** Opens a safetensors file. @throws FileError, SafetensorsError */
export async function openStored(path: string): Promise<StoredTensors> {
  const file = await openSafetensors(path);
  const tensors = [...file.entries.keys()].map((name) => [name, storedIn(file, name)] as const);
  return { path, tensors: new Map(tensors), [Symbol.asyncDispose]: () => file.close() };
}

function storedIn(file: SafetensorsFile, name: string): StoredTensor {
  const { shape, dtype, begin } = file.entry(name);
  const reader = () => {
    let at = begin;
    return async (target: Uint8Array) => {
      await file.read(at, target);
      at += target.length;
    };
  };
  return { name, shape, dtype, path: file.path, reader };
}
