// Written by `npm run options` from src/config/sweep.ts; change the schema there, not this file.

/** The options of a sweep, apart from its folder. */
export interface SweepConfigInput {
  /**
   * What a trial runs: a method, a shipped recipe, or a recipe file.
   * Text.
   */
  run: string;
  /**
   * Settings of all trials, which override those of the recipe.
   * An object.
   * @default {}
   */
  base?: Record<string, unknown> | undefined;
  /**
   * Grid tries all combinations of values; random draws them.
   * @default "random"
   */
  search?: 'grid' | 'random' | undefined;
  /**
   * Number of trials of a random search.
   * An integer >= 1 and <= 10000.
   */
  trials?: number | undefined;
  /**
   * Seed of the draws; a draw depends on it and the number of the trial alone.
   * An integer >= 0.
   * @default 0
   */
  seed?: number | undefined;
  /**
   * Metric of metrics.jsonl that trials are compared by.
   * Text.
   */
  metric: string;
  /**
   * Whether lower or higher values are better (default: known for losses, scores and accuracies).
   */
  mode?: 'min' | 'max' | undefined;
  /**
   * Values of each setting that is searched, by its dotted key, such as loss.clip.
   * An object.
   */
  parameters: Record<
    string,
    | unknown[]
    | {
        /**
         * 2 values, each a finite number.
         */
        uniform: [number, number];
      }
    | {
        /**
         * 2 values, each a finite number.
         */
        log: [number, number];
      }
  >;
  /**
   * If set, only the best trials go on after some steps (successive halving).
   */
  halving?:
    | {
        /**
         * Steps after which the trials are first compared.
         * An integer >= 1.
         */
        first: number;
        /**
         * One in so many trials goes on, for so many times the steps.
         * An integer >= 2.
         * @default 3
         */
        factor?: number | undefined;
      }
    | undefined;
  /**
   * Runs of each trial, with consecutive seeds; trials are compared by their mean.
   * An integer >= 1.
   * @default 1
   */
  repeats?: number | undefined;
}
