/** A curve in one line of text. */

const LEVELS = '▁▂▃▄▅▆▇█';

/**
 * Values as bars of eight heights, from their minimum to their maximum; a value that is not finite leaves a gap. If there are
 * more than `width`, so many of them are drawn, evenly spaced.
 */
export function sparkline(all: readonly number[], width: number = all.length): string {
  const count = Math.min(width, all.length);
  const values = Array.from({ length: count }, (_, i) => all[Math.ceil(((i + 1) * all.length) / count) - 1] as number);
  const finite = values.filter(Number.isFinite);
  const low = Math.min(...finite);
  const range = Math.max(...finite) - low;
  const level = (value: number) => (range > 0 ? Math.round(((value - low) / range) * (LEVELS.length - 1)) : 0);
  return values.map((value) => (Number.isFinite(value) ? LEVELS[level(value)] : ' ')).join('');
}

/** The course of a number over a run of any length, in at most `size` means of equally many steps. */
export class Course {
  readonly #size: number;
  #means: number[] = [];
  /** Steps per mean, and those that the next mean has so far. */
  #steps = 1;
  #open: number[] = [];

  constructor(size: number) {
    this.#size = 2 * Math.ceil(size / 2);
  }

  add(value: number): void {
    this.#open.push(value);
    if (this.#open.length < this.#steps) return;
    this.#means.push(mean(this.#open));
    this.#open = [];
    if (this.#means.length < this.#size) return;
    this.#means = this.#means
      .filter((_, i) => i % 2 === 0)
      .map((even, i) => mean([even, this.#means[2 * i + 1] ?? even]));
    this.#steps *= 2;
  }

  /** The means so far, the last one of the steps that do not make a whole one yet. */
  values(): number[] {
    return this.#open.length === 0 ? [...this.#means] : [...this.#means, mean(this.#open)];
  }
}

function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}
