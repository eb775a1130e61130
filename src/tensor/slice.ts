/** Views of parts of tensors. */
import { ArgumentError, printable } from '../errors.ts';
import { addon } from '../native/addon.ts';
import { handleOf, run } from '../native/resource.ts';
import { Tensor } from './tensor.ts';

/** `length` entries of dimension `dim`, from `start` on. */
export interface Slice {
  dim: number;
  start: number;
  length: number;
}

/** A view of a part of `tensor`, once its values have been computed. @throws ArgumentError if there is no such part. */
export async function narrow(tensor: Tensor, slice: Slice): Promise<Tensor> {
  checkSlice(tensor.shape, slice, 'slice');
  const { dim, start, length } = slice;
  return new Tensor(await run([tensor], async () => addon().tensorNarrow(handleOf(tensor), dim, start, length)));
}

/** The shape of a part of a tensor of `shape`; without a slice, `shape` itself. */
export function slicedShape(shape: readonly number[], slice: Slice | undefined): number[] {
  return slice === undefined ? [...shape] : shape.with(slice.dim, slice.length);
}

/** @throws ArgumentError, naming `argument`, if a tensor of `shape` has no such part. */
export function checkSlice(shape: readonly number[], slice: Slice, argument: string): void {
  const { dim, start, length } = Object(slice) as Slice;
  const whole = [dim, start, length].every((number) => Number.isSafeInteger(number) && number >= 0);
  if (whole && dim < shape.length && start + length <= (shape[dim] as number)) return;
  const received = whole ? `dim ${dim}, start ${start}, length ${length}` : printable(slice);
  const expected = `{ dim, start, length } within the shape ${printable(shape)}`;
  throw new ArgumentError({ argument, received, expected });
}
