/** Writes parameters of a model as stored tensors, some rows at a time through one buffer. */
import type { Place } from '../families/place.ts';
import type { Shapes } from '../families/stored-names.ts';
import { addon } from '../native/addon.ts';
import { handleOf, run } from '../native/resource.ts';
import { Tensor } from '../tensor/tensor.ts';
import type { ParameterViews } from './parameter-views.ts';
import { chunks } from './read-places.ts';
import { runsOf, scatter, transpose } from './row-runs.ts';
import type { StoredNumbers } from './stored-numbers.ts';

/** Passes the bytes of the tensor at `place` to `write`, piece by piece in their order; each piece is overwritten after it. */
export async function writePlace(
  place: Place,
  shapes: Shapes,
  views: ParameterViews,
  numbers: StoredNumbers,
  write: (bytes: Uint8Array) => Promise<void>,
): Promise<void> {
  const { rows, columns, chunk } = chunks(place, shapes, numbers.bytes);
  const width = columns * numbers.bytes;
  const [piece, moved] = [new Uint8Array(chunk * width), new Uint8Array(chunk * width)];
  for (let begin = 0; begin < rows; begin += chunk) {
    const count = Math.min(rows, begin + chunk) - begin;
    const bytes = piece.subarray(0, count * width);
    if (place.order === 'transposed') {
      const values = moved.subarray(0, bytes.length);
      using view = views.columns(place.parts[0], begin, count);
      await take(view, numbers, values);
      transpose(values, { rows: columns, columns: count }, numbers.bytes, bytes);
    } else {
      for (const found of runsOf(place, begin, begin + count)) {
        const values = moved.subarray(0, found.rows.length * width);
        using view = views.rows(found);
        await take(view, numbers, values);
        scatter(values, found.rows, begin, width, bytes);
      }
    }
    await write(bytes);
  }
}

/** Encodes a view of a parameter, on whatever device, to `bytes`. */
export async function take(view: Tensor, numbers: StoredNumbers, bytes: Uint8Array): Promise<void> {
  using staged = new Tensor(addon().tensorEmpty([...view.shape], numbers.dtype, 'cpu'));
  await run([staged, view], () => addon().tensorCopy(handleOf(staged), handleOf(view)));
  await numbers.encode(staged, bytes);
}
