/** Which positions of a reward model's input are prompt, response and padding. */
import { ArgumentError } from '../errors.ts';
import type { RewardInput } from '../native/addon.ts';
import type { Ids, Inputs, Mask } from '../tensor/arguments.ts';

/** Which tokens are prompt, and which are padding: at most one option of each pair. */
export interface RewardPositions {
  /** Number of prompt tokens in each row [B]. */
  promptLengths?: Ids;
  /** True where a token is prompt [B, T]. */
  promptMask?: Mask;
  /** Number of tokens in each row [B]; everything after them is padding, whatever its ids. */
  lengths?: Ids;
  /** False where a position is padding [B, T]. Defaults to no padding. */
  mask?: Mask;
}

/** The keys of `RewardPositions`. */
export const POSITIONS = ['promptLengths', 'promptMask', 'lengths', 'mask'] as const;

/** `sequence` [B, T] with its positions, as tensors of `inputs`. @throws ArgumentError if both options of a pair are given. */
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
  return new ArgumentError({ argument, received: `a value, with ${other} given too`, expected: 'at most one of them' });
}
