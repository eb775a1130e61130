/** What a reward model learns from in a run, whatever it is. */
import type { Completion } from '../data/completions.ts';
import type { Loss } from '../tensor/loss.ts';
import type { Tensor } from '../tensor/tensor.ts';
import type { Piece } from './update.ts';

/** What held-out rows say about a reward model, under the names of a step; undefined where rows of this kind do not say it. */
export interface RewardValidation {
  validationLoss: number | undefined;
  validationAccuracy: number | undefined;
  validationEce: number | undefined;
  validationBrier: number | undefined;
  validationError: number | undefined;
  validationKendallTau: number | undefined;
  validationScoreMean: number | undefined;
  validationScoreDeviation: number | undefined;
}

/** What a reward model is trained for: rows of one kind, their loss, and what is measured on them. */
export interface RewardObjective<Row, Name extends string = string> {
  rows: readonly Row[];
  /** Tokens of a row, prompts included as often as they are read. */
  tokensOf(row: Row): number;
  /** The loss of some rows, divided by `denominator`. */
  lossOf(some: readonly Row[], denominator: number): Promise<Tensor | Loss<Name>>;
  /** The means of what the pieces of a step measured. */
  means(pieces: readonly Piece<Name>[]): { accuracy: number | undefined; margin: number | undefined };
  /** Evaluates all that is held out. */
  evaluate(): Promise<RewardValidation>;
  /** All held-out answers. */
  heldOut: readonly Completion[];
  /** The shift of the model if there are no references. */
  shift: number;
}
