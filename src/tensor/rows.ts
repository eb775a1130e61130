/** Rows of batches, whose tensors all have the same number of rows. */
import { ArgumentError, printable } from '../errors.ts';
import { checkObject } from '../checks/options.ts';
import { addon, type TensorHandle } from '../native/addon.ts';
import { handleOf, run } from '../native/resource.ts';
import { type Tensor, type TensorGroup, tensorGroup } from './tensor.ts';

/** Tensors by name. */
type Batch<Fields> = { [Field in keyof Fields]: Tensor };

/**
 * The rows of several batches in one. Those that are narrower [., T] are padded on the right with zeros.
 * @throws HandleError for a field that is not a tensor.
 */
export async function joined<Fields extends Batch<Fields>>(
  batches: readonly Fields[],
  names: readonly (keyof Fields & string)[],
): Promise<TensorGroup<Batch<Fields>>> {
  const all = await Promise.all(
    names.map(async (name) => {
      const tensors = batches.map((batch) => batch[name]);
      const handles = tensors.map((tensor) => handleOf(tensor, name));
      return [name, await run(tensors, () => addon().tensorsJoined(handles))] as const;
    }),
  );
  return tensorGroup(Object.fromEntries(all) as Record<keyof Fields, TensorHandle>);
}

/**
 * Copies of the given rows of every tensor in `batch`, under the same names.
 * @throws HandleError for a field that is not a tensor.
 * @throws ArgumentError for a row that does not exist.
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
  const copies = await run(tensors, () => addon().tensorsRows(handles, [...rows]));
  const named = Object.fromEntries(copies.map((handle, i) => [names[i] as string, handle]));
  return tensorGroup(named as Record<keyof Fields, TensorHandle>);
}
