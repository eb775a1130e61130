/** The processes that train one model together, as seen from one of them. */

/** Sums across the processes. */
export interface World {
  /** The sum of `value` over all processes. */
  sum(value: number): Promise<number>;
}

/** A single process that trains on its own. */
export const alone: World = { sum: async (value) => value };
