/** Random values for parameters that begin with zeros, such as those of adapters. */
import { Random } from '../src/data/random.ts';
import { addon } from '../src/native/addon.ts';
import { handleOf } from '../src/native/resource.ts';
import { type Parameter, Tensor } from '../src/tensor/tensor.ts';

/** Gives a parameter random values from -1/4 to 1/4. */
export async function fill(parameter: Parameter, seed: number): Promise<void> {
  const random = new Random(seed);
  const size = parameter.shape.reduce((product, one) => product * one, 1);
  const numbers = Float32Array.from({ length: size }, () => (random.next() - 0.5) / 2);
  using drawn = Tensor.from(numbers, { shape: parameter.shape });
  using value = await parameter.value();
  await addon().tensorCopy(handleOf(value), handleOf(drawn));
}
