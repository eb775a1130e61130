/** Rows of batches whose tensors have as many of them. */
import { ArgumentError, printable } from '../errors.ts';
import { checkObject } from '../checks/options.ts';
import { addon, type TensorHandle } from '../native/addon.ts';
import { handleOf, run } from '../native/resource.ts';
import { type Tensor, type TensorGroup, tensorGroup } from './tensor.ts';

/** Tensors by name. */
type Batch<Fields> = { [Field in keyof Fields]: Tensor };

/**
 * The rows `rows` of every tensor of `batch`, as copies, by the names that they have there.
 * @throws HandleError for a field that is no tensor, ArgumentError for a row that one of them does not have.
 */
export async function rowsOf<Fields extends Batch<Fields>>(
  batch: Fields,
  rows: readonly number[],
): Promise<TensorGroup<Batch<Fields>>> {
  checkObject(batch, 'batch');
  if (!Array.isArray(rows)) {
    throw new ArgumentError({ argument: 'rows', received: printable(rows), expected: 'an array of row numbers' });
  }
  const [names, tensors] = [Object.keys(batch), Object.values<Tensor>(batch)];
  const handles = tensors.map((tensor, i) => handleOf(tensor, names[i]));
  const some = await run(tensors, () => addon().tensorsRows(handles, [...rows]));
  const found = Object.fromEntries(some.map((handle, i) => [names[i] as string, handle]));
  return tensorGroup(found as Record<keyof Fields, TensorHandle>);
}
