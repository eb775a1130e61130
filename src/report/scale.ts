/** Axes: which numbers to write beside them, and where a value lies. */

/** An axis from `low` to `high`. */
export interface Scale {
  low: number;
  high: number;
  log: boolean;
  /** Where the grid lines are, in ascending order, with what is written beside them. */
  ticks: readonly { value: number; label: string }[];
  /** The place of a value: 0 at `low`, 1 at `high`. */
  at(value: number): number;
}

/** A linear axis over [min, max] with about `count` ticks at multiples of 1, 2 or 5 times a power of ten. */
export function linearScale(min: number, max: number, count = 5): Scale {
  const [low, high] = min < max ? [min, max] : [min - (Math.abs(min) || 1) / 2, max + (Math.abs(max) || 1) / 2];
  const step = niceStep((high - low) / count);
  // Integer multiples, because sums of 0.1 drift.
  const first = Math.ceil(low / step);
  const values = Array.from({ length: Math.floor(high / step) - first + 1 }, (_, i) => (first + i) * step);
  return {
    low,
    high,
    log: false,
    ticks: values.map((value) => ({ value, label: tickLabel(value, step) })),
    at: (value) => (value - low) / (high - low),
  };
}

/** A logarithmic axis over [min, max], both > 0, with ticks at powers of ten, and at 2 and 5 times them over few decades. */
export function logScale(min: number, max: number): Scale {
  const [low, high] = min < max ? [min, max] : [min / 2, max * 2];
  const decades = Math.log10(high / low);
  const factors = decades <= 3 ? [1, 2, 5] : [1];
  const [first, last] = [Math.floor(Math.log10(low)), Math.ceil(Math.log10(high))];
  const every = Math.ceil(decades / 8);
  const values: number[] = [];
  for (let power = first; power <= last; power++) {
    if (power % every === 0) values.push(...factors.map((factor) => Number(`${factor}e${power}`)));
  }
  return {
    low,
    high,
    log: true,
    ticks: values
      .filter((value) => value >= low && value <= high)
      .map((value) => ({ value, label: tickLabel(value, value) })),
    at: (value) => Math.log(value / low) / Math.log(high / low),
  };
}

/** The nearest of 1, 2, 5, 10 times a power of ten, measured by ratios. */
function niceStep(rough: number): number {
  const power = Math.floor(Math.log10(rough));
  const share = rough / Number(`1e${power}`);
  const factor = [1, 2, 5].find((each, i) => share < Math.sqrt(each * ([2, 5, 10][i] as number))) ?? 10;
  return Number(`${factor}e${power}`);
}

/** A number with the digits that tell it from others `step` away. */
function tickLabel(value: number, step: number): string {
  const size = Math.max(Math.abs(value), step);
  if (value === 0) return '0';
  if (size >= 1e7 || step < 1e-4) return value.toExponential(significant(value, step)).replace('e+', 'e');
  if (size >= 1e4) return `${Number((value / 1e3).toPrecision(6))}k`;
  return value.toFixed(Math.max(0, -Math.floor(Math.log10(step) + 1e-9))).replace('-', '−');
}

function significant(value: number, step: number): number {
  return Math.min(6, Math.max(0, Math.floor(Math.log10(Math.abs(value)) + 1e-9) - Math.floor(Math.log10(step) + 1e-9)));
}
