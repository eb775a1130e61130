/** What a reward model is told of the sequences that it reads. */
import { ArgumentError } from '../errors.ts';
import type { RewardInput } from '../native/addon.ts';
import type { Ids, Inputs, Mask } from '../tensor/arguments.ts';

/** Which tokens are prompt, and which exist at all: at most one of each pair. */
export interface RewardPositions {
  /** Tokens of the prompt [B]. */
  promptLengths?: Ids;
  /** True where a token is prompt [B, T]. */
  promptMask?: Mask;
  /** Tokens of each row [B]; what is behind them is padding, whatever stands there. */
  lengths?: Ids;
  /** False where a position is padding [B, T]; all are pooled unless given. */
  mask?: Mask;
}

/** The keys of `RewardPositions`. */
export const POSITIONS = ['promptLengths', 'promptMask', 'lengths', 'mask'] as const;

/** `sequence` [B, T] with its positions, as tensors of `inputs`. @throws ArgumentError for both of a pair. */
export function positions(inputs: Inputs, sequence: Ids, options: RewardPositions): RewardInput {
  const { promptLengths, promptMask, lengths, mask } = options;
  if (promptLengths !== undefined && promptMask !== undefined) throw both('promptMask', 'promptLengths');
  if (lengths !== undefined && mask !== undefined) throw both('mask', 'lengths');
  return {
    sequence: inputs.ids(sequence, 'sequence'),
    promptLengths: promptLengths === undefined ? undefined : inputs.ids(promptLengths, 'promptLengths'),
    promptMask: promptMask === undefined ? undefined : inputs.mask(promptMask, 'promptMask'),
    lengths: lengths === undefined ? undefined : inputs.ids(lengths, 'lengths'),
    mask: mask === undefined ? undefined : inputs.mask(mask, 'mask'),
  };
}

function both(argument: string, other: string): ArgumentError {
  return new ArgumentError({ argument, received: `${other} too`, expected: 'at most one of them' });
}
