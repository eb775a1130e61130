/** Where the model is, or would be. */
export function smollm2Path(): string;
/** Makes sure that the model is there, fetching it if need be, and returns its path. */
export function fetchSmollm2(): Promise<string>;
