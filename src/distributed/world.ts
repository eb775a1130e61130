/** All processes that train one model together, as one of them sees them. */

/** Sums over the processes. */
export interface World {
  /** The sum of what every process gives. */
  sum(value: number): Promise<number>;
}

/** One process that trains by itself. */
export const alone: World = { sum: async (value) => value };
