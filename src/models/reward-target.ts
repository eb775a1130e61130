/** What a reward model learns about single answers. */
import { ArgumentError, printable } from '../errors.ts';
import type { Dtype, TensorHandle } from '../native/addon.ts';
import type { Ids, Inputs, Values } from '../tensor/arguments.ts';

/** Training targets: labels are numbers, or with bins classes 0 ... N − 1; ratings are 1 ... N and need bins. */
export type RewardTarget = { labels: Values; ratings?: undefined } | { ratings: readonly number[]; labels?: undefined };

/** The metrics of a loss on steps: means over labelled steps that add up over the pieces of a step of training. */
export interface StepLabelMetrics {
  /** Share of labels on whose side of 0 the logit is; 0 counts half. */
  accuracy: number;
  /** Mean predicted probability that a step is right. */
  probability: number;
}

/** The target as a tensor of `inputs`, for a model with so many bins, or with a number as its output. */
export function targetOf(
  inputs: Inputs,
  { labels, ratings }: RewardTarget,
  { numBins, dtype }: { numBins: number | undefined; dtype: Dtype },
): TensorHandle {
  if ((labels === undefined) === (ratings === undefined)) {
    throw new ArgumentError({
      argument: 'labels',
      received: labels === undefined ? 'neither labels nor ratings' : 'labels and ratings',
      expected: 'exactly one of them',
    });
  }
  if (ratings !== undefined) return inputs.ids(classesOf(ratings, numBins), 'ratings');
  if (numBins !== undefined) return inputs.ids(labels as Ids, 'labels');
  return inputs.values(labels, 'labels', dtype === 'float64' ? 'float64' : 'float32');
}

function classesOf(ratings: readonly number[], bins: number | undefined): number[] {
  if (bins === undefined) {
    throw new ArgumentError({
      argument: 'ratings',
      received: 'ratings for a model without bins',
      expected: 'labels',
    });
  }
  for (const [i, rating] of ratings.entries()) {
    if (Number.isInteger(rating) && rating >= 1 && rating <= bins) continue;
    const expected = `an integer from 1 to ${bins}`;
    throw new ArgumentError({ argument: `ratings[${i}]`, received: printable(rating), expected });
  }
  return ratings.map((rating) => rating - 1);
}
