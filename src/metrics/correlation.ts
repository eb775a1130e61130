/** How two lists of numbers go together. */

/** The (Pearson) correlation of two lists of the same length; undefined if the numbers of one are all equal. */
export function correlation(first: readonly number[], second: readonly number[]): number | undefined {
  const [x, y] = [centred(first), centred(second)];
  const size = Math.sqrt(product(x, x) * product(y, y));
  return size > 0 ? product(x, y) / size : undefined;
}

function centred(values: readonly number[]): number[] {
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
  return values.map((value) => value - mean);
}

function product(first: readonly number[], second: readonly number[]): number {
  return first.reduce((sum, value, i) => sum + value * (second[i] as number), 0);
}
