/** Decodes stored tensors: the numbers of models from elsewhere, in whatever format, as float32 or bfloat16. */
import { rowsOf, storedTensor, type TensorSource } from '../files/tensor-source.ts';
import { addon } from '../native/addon.ts';
import { handleOf, run } from '../native/resource.ts';
import { Tensor } from './tensor.ts';

/** The bytes of a file that are in memory at once, but for a row that is longer. */
const PIECE_BYTES = 4 * 1024 * 1024;

/**
 * Reads the tensor `name` of `source` as a new tensor on the CPU, piece by piece.
 * @throws FileError if there is none of that name, its numbers cannot be decoded, or the file ends early.
 */
export async function decodeTensor(source: TensorSource, name: string, dtype: 'float32' | 'bfloat16'): Promise<Tensor> {
  const { rows, rowBytes, format } = rowsOf(source, name);
  const shape = [...storedTensor(source, name).shape];
  const width = shape.at(-1) ?? 1;
  const rowsAtOnce = Math.max(1, Math.floor(PIECE_BYTES / Math.max(1, rowBytes)));
  const buffer = new Uint8Array(Math.min(rowsAtOnce, rows) * rowBytes);
  const tensor = new Tensor(addon().tensorEmpty(shape, dtype, 'cpu'));
  try {
    for (let first = 0; first < rows && rowBytes > 0; first += rowsAtOnce) {
      const piece = buffer.subarray(0, Math.min(rowsAtOnce, rows - first) * rowBytes);
      await source.readRows(name, first, piece);
      await run([tensor], () => addon().tensorDecode(handleOf(tensor), first * width, format, piece));
    }
    return tensor;
  } catch (error) {
    tensor.dispose();
    throw error;
  }
}
