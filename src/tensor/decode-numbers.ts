/** Decodes numbers as files of models store them. */
import type { NumberFormat } from '../files/number-formats.ts';
import { addon } from '../native/addon.ts';
import { handleOf, run } from '../native/resource.ts';
import { Tensor } from './tensor.ts';

/**
 * A new tensor of `shape` on the CPU with the numbers in `bytes`, which must not change until the promise settles.
 * @throws ShapeError if these are not whole blocks of the format, or more numbers than the tensor has.
 */
export async function decodeNumbers(
  format: NumberFormat,
  bytes: Uint8Array,
  shape: readonly number[],
  dtype: 'float32' | 'bfloat16' = 'float32',
): Promise<Tensor> {
  const tensor = new Tensor(addon().tensorEmpty([...shape], dtype, 'cpu'));
  try {
    await run([tensor], () => addon().tensorDecode(handleOf(tensor), 0, format, bytes));
    return tensor;
  } catch (error) {
    tensor.dispose();
    throw error;
  }
}
