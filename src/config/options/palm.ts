// Written by `npm run options` from src/config/palm.ts; change the schema there, not this file.

/** The options of `new PaLM`. */
export interface PalmConfigInput {
  /**
   * Vocabulary size.
   * An integer >= 1.
   */
  numTokens: number;
  /**
   * Model width.
   * An integer >= 1.
   */
  dim: number;
  /**
   * Number of layers.
   * An integer >= 1.
   */
  depth: number;
  /**
   * Attention heads.
   * An integer >= 1.
   * @default 8
   */
  heads?: number | undefined;
  /**
   * Width of an attention head.
   * An integer >= 2 that is a multiple of 2.
   * @default 64
   */
  dimHead?: number | undefined;
  /**
   * Feed-forward width, in multiples of dim.
   * An integer >= 1.
   * @default 4
   */
  ffMult?: number | undefined;
  /**
   * Attend to earlier tokens only.
   * @default true
   */
  causal?: boolean | undefined;
  /**
   * Normalise queries and keys, with learned scales.
   * @default false
   */
  qkRmsnorm?: boolean | undefined;
  /**
   * Scale of attention scores (default: dimHead ** -0.5).
   * A finite number > 0.
   */
  qkScale?: number | undefined;
  /**
   * Scale of the xPos decay, in positions.
   * A finite number > 0.
   * @default 512
   */
  rotaryXposScaleBase?: number | undefined;
  /**
   * Target token that the loss ignores.
   * An integer.
   * @default -100
   */
  ignoreIndex?: number | undefined;
  /**
   * Dropout of attention probabilities.
   * A finite number >= 0 and < 1.
   * @default 0
   */
  attnDropout?: number | undefined;
  /**
   * Dropout inside the feed-forward layer.
   * A finite number >= 0 and < 1.
   * @default 0
   */
  ffDropout?: number | undefined;
  /**
   * Activations to recompute in the backward pass instead of keeping them.
   * @default "selective"
   */
  recompute?: 'none' | 'selective' | 'full' | undefined;
  /**
   * Where to compute: cpu, cuda or cuda:N.
   * Cpu, cuda or cuda:N.
   * @default "cpu"
   */
  device?: string | undefined;
  /**
   * Element type the model computes in.
   * @default "float32"
   */
  dtype?: 'float32' | 'bfloat16' | 'float64' | undefined;
  /**
   * Seed of all random numbers.
   * An integer >= 0.
   * @default 0
   */
  seed?: number | undefined;
}
