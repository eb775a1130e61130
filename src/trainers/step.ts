/** What trainers tell of a step. */

/** The metrics of a step of every trainer whose steps are optimizer steps. */
export interface LossStep {
  /** Steps done, from 1. */
  step: number;
  /** Of the rows of this step, before its update. */
  loss: number;
  /** Loss on everything held out, every `evaluateEvery` steps and after the last; otherwise undefined. */
  validationLoss: number | undefined;
  /** Norm of the gradient before clipping. */
  gradNorm: number;
  learningRate: number;
  /** 1 if the loss or the gradient was not finite, which left the weights unchanged; otherwise undefined. */
  skipped: 1 | undefined;
  /** Reduced micro-batch size after running out of memory, in rows; otherwise undefined. */
  microBatch: number | undefined;
  /** `tokensPerSecond` excludes padding. */
  timing: { seconds: number; tokensPerSecond: number };
}
