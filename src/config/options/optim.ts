// Written by `npm run options` from src/config/optim.ts; change the schema there, not this file.

/** The options of `new AdamW`. */
export interface AdamWConfigInput {
  /**
   * Learning rate.
   * A finite number >= 0.
   * @default 0.001
   */
  lr?: number | undefined;
  /**
   * Decay rates of the running means of gradient and squared gradient.
   * 2 values, each a finite number >= 0 and < 1.
   * @default [0.9,0.999]
   */
  betas?: [number, number] | undefined;
  /**
   * Added to the denominator for numerical stability.
   * A finite number >= 1.2e-38.
   * @default 1e-8
   */
  eps?: number | undefined;
  /**
   * Share of a weight that a step at lr 1 would subtract.
   * A finite number >= 0.
   * @default 0.01
   */
  weightDecay?: number | undefined;
}

/** The options of `new AdoptAtan2`. */
export interface AdoptAtan2ConfigInput {
  /**
   * Initial learning rate.
   * A finite number > 0.
   * @default 0.0001
   */
  lr?: number | undefined;
  /**
   * Decay rates of the running means of gradient and squared gradient.
   * 2 values, each a finite number >= 0 and < 1.
   * @default [0.9,0.99]
   */
  betas?: [number, number] | undefined;
  /**
   * Share of a weight that a step at the initial lr subtracts.
   * A finite number >= 0.
   * @default 0
   */
  weightDecay?: number | undefined;
}

/** The options of `new AdamAtan2`. */
export interface AdamAtan2ConfigInput {
  /**
   * Learning rate.
   * A finite number > 0.
   * @default 0.0001
   */
  lr?: number | undefined;
  /**
   * Decay rates of the running means of gradient and squared gradient.
   * 2 values, each a finite number >= 0 and < 1.
   * @default [0.9,0.99]
   */
  betas?: [number, number] | undefined;
  /**
   * Share of a weight that a step at lr 1 would subtract.
   * A finite number >= 0.
   * @default 0
   */
  weightDecay?: number | undefined;
}
