/** Stored tensors, whatever files hold them: what a loader of models needs to know of one file or of several. */
import { FileError, nearest, printable } from '../errors.ts';
import { isNumberFormat, NUMBER_FORMATS, type NumberFormat } from './number-formats.ts';
import type { SafetensorsDtype, SafetensorsFile } from './safetensors/safetensors.ts';

/** A tensor as it is stored. */
export interface StoredTensor {
  readonly shape: readonly number[];
  /** How its numbers are stored; only a NumberFormat can be decoded. */
  readonly format: NumberFormat | SafetensorsDtype;
}

/** An open file, or several that belong together, with tensors by name. Close it, or use `await using`. */
export interface TensorSource extends AsyncDisposable {
  /** What errors call it. */
  readonly path: string;
  readonly tensors: ReadonlyMap<string, StoredTensor>;
  /**
   * Fills `target` with the stored bytes of whole rows of the tensor `name`, from row `first` on. A row is one step of
   * the last dimension's neighbour: a tensor [A, B, C] has A · B rows of C numbers, a vector is one row.
   * @throws FileError if the file ends early.
   */
  readRows(name: string, first: number, target: Uint8Array): Promise<void>;
}

/** The stored tensor `name`. @throws FileError if there is none of that name. */
export function storedTensor(source: TensorSource, name: string): StoredTensor {
  const found = source.tensors.get(name);
  if (found !== undefined) return found;
  const near = nearest(
    name,
    [...source.tensors.keys()].filter(({ length }) => length < 256),
  );
  const fix = near === undefined ? {} : { fix: `Did you mean ${printable(near)}?` };
  throw new FileError({ argument: source.path, problem: `no tensor named ${printable(name)}`, ...fix });
}

/** The rows of a tensor, and the bytes of each. @throws FileError if its numbers cannot be decoded. */
export function rowsOf(source: TensorSource, name: string): { rows: number; rowBytes: number; format: NumberFormat } {
  const { shape, format } = storedTensor(source, name);
  if (!isNumberFormat(format)) {
    const argument = `${source.path}, tensor ${printable(name)}`;
    const expected = `one of ${Object.keys(NUMBER_FORMATS).join(', ')}`;
    throw new FileError({ argument, received: `numbers of ${format}`, expected, fix: 'Convert the file first.' });
  }
  const { numbers, bytes } = NUMBER_FORMATS[format];
  const rows = shape.slice(0, -1).reduce((product, size) => product * size, 1);
  return { rows, rowBytes: ((shape.at(-1) ?? 1) / numbers) * bytes, format };
}

/** The tensors of an open safetensors file, which the source closes. */
export function safetensorsSource(file: SafetensorsFile): TensorSource {
  const tensors = new Map([...file.entries].map(([name, { shape, dtype }]) => [name, { shape, format: dtype }]));
  const source: TensorSource = {
    path: file.path,
    tensors,
    async readRows(name, first, target) {
      await file.read(file.entry(name).begin + first * rowsOf(source, name).rowBytes, target);
    },
    [Symbol.asyncDispose]: () => file.close(),
  };
  return source;
}
