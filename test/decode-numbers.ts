/** Decodes numbers as files of models store them. */
import type { NumberFormat } from '../src/files/number-formats.ts';
import { addon, type Dtype } from '../src/native/addon.ts';
import { handleOf } from '../src/native/resource.ts';
import { Tensor } from '../src/tensor/tensor.ts';

/** A new tensor of `shape` with the numbers in `bytes`. */
export async function decodeNumbers(
  format: NumberFormat,
  bytes: Uint8Array,
  shape: readonly number[],
  dtype: Dtype = 'float32',
): Promise<Tensor> {
  const tensor = new Tensor(addon().tensorEmpty([...shape], dtype, 'cpu'));
  try {
    await addon().tensorDecode(handleOf(tensor), format, bytes);
    return tensor;
  } catch (error) {
    tensor.dispose();
    throw error;
  }
}
