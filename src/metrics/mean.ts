/** Sums and means of metrics over the parts of a step. */

/** Accumulates records of numbers with the same names. */
export class Mean<Name extends string> {
  readonly #sums = new Map<Name, number>();
  #count = 0;

  /** Adds a part; its `weight` is its share in the mean. */
  add(values: Readonly<Record<Name, number>>, weight = 1): void {
    this.#count += weight;
    for (const name of Object.keys(values) as Name[]) {
      this.#sums.set(name, (this.#sums.get(name) ?? 0) + weight * values[name]);
    }
  }

  /** The sums by name. */
  sum(): Record<Name, number> {
    return Object.fromEntries(this.#sums) as Record<Name, number>;
  }

  /** The means by name. */
  result(): Record<Name, number> {
    const means = [...this.#sums].map(([name, sum]) => [name, sum / this.#count]);
    return Object.fromEntries(means) as Record<Name, number>;
  }
}
