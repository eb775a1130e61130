/** The tensors of a GGUF file as Hugging Face has them: other names, rows in another order, norms less 1. */
import { printable } from '../../errors.ts';
import { badFile } from '../../files/gguf/cursor.ts';
import type { GgufEntry, GgufFile } from '../../files/gguf/gguf.ts';
import { NUMBER_FORMATS, type NumberFormat } from '../../files/number-formats.ts';

/** A tensor under the name that Hugging Face gives it. */
export interface GgufTensor {
  readonly name: string;
  /** As it is stored. */
  readonly shape: readonly number[];
  readonly dtype: NumberFormat;
  /** The file that it lies in. */
  readonly path: string;
  /** Whether Hugging Face has the transpose of what is stored. */
  readonly transposed: boolean;
  /** Starts at its first byte: every call fills `target` with the bytes of the whole rows that follow. */
  reader(): (target: Uint8Array) => Promise<void>;
}

/** How a tensor of the file differs from that of Hugging Face. */
export interface Changes {
  /**
   * The heads whose rows the file has in pairs: row 2i + s of a head, s = 0 or 1, is row i + s · width/2 at Hugging Face.
   */
  readonly pairedHeads: number | undefined;
  /** Whether 1 is subtracted, which the converter has added. */
  readonly minusOne: boolean;
  readonly transposed: boolean;
}

/** The tensor at `entry` of an open file. @throws GgufError if it cannot be changed as it must be. */
export function storedTensor(file: GgufFile, name: string, entry: GgufEntry, changes: Changes): GgufTensor {
  checkTensor(file.path, name, entry, changes);
  const { pairedHeads, minusOne, transposed } = changes;
  const reader = () => {
    let at = 0;
    return async (target: Uint8Array) => {
      if (pairedHeads !== undefined) await readPaired(file, entry, pairedHeads, at, target);
      else await file.read(entry.begin + at, target);
      if (minusOne) subtractOne(target);
      at += target.length;
    };
  };
  return { name, shape: entry.shape, dtype: entry.format, path: file.path, transposed, reader };
}

/** Reads the heads that `target` has rows of, from byte `from` of the tensor on, and orders them as Hugging Face does. */
async function readPaired(
  file: GgufFile,
  { begin, end, shape, format }: GgufEntry,
  heads: number,
  from: number,
  target: Uint8Array,
): Promise<void> {
  // A bias is one row of numbers, which are ordered as the rows of a matrix are.
  const rowBytes = shape.length === 1 ? NUMBER_FORMATS[format].bytes : (end - begin) / (shape[0] as number);
  const headBytes = (end - begin) / heads;
  const first = Math.floor(from / headBytes) * headBytes;
  const stored = new Uint8Array(Math.ceil((from + target.length) / headBytes) * headBytes - first);
  await file.read(begin + first, stored);
  const width = headBytes / rowBytes;
  for (let at = 0; at < target.length; at += rowBytes) {
    const row = (from + at - first) / rowBytes;
    const inHead = row % width;
    const there = row - inHead + 2 * (inHead % (width / 2)) + Math.floor(inHead / (width / 2));
    target.set(stored.subarray(there * rowBytes, (there + 1) * rowBytes), at);
  }
}

function checkTensor(path: string, name: string, { shape, format }: GgufEntry, { pairedHeads, minusOne }: Changes) {
  const argument = `${path}, tensor ${printable(name)}`;
  const isVector = shape.length === 1;
  if (minusOne && !(isVector && format === 'F32')) {
    throw badFile('bad-shape', argument, `${format} of shape ${printable(shape)}`, 'a vector of F32');
  }
  if (pairedHeads === undefined) return;
  if (isVector && format !== 'F32') throw badFile('bad-shape', argument, `a vector of ${format}`, 'one of F32');
  if (shape.length <= 2 && Number.isInteger((shape[0] as number) / pairedHeads / 2)) return;
  throw badFile('bad-shape', argument, `shape ${printable(shape)}`, `${pairedHeads} heads of even width`);
}

function subtractOne(bytes: Uint8Array): void {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (let at = 0; at < bytes.length; at += 4) view.setFloat32(at, view.getFloat32(at, true) - 1, true);
}
