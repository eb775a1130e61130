/** The optimizer that a configuration names. */
import type { OptimizerConfig } from '../config/optimisation.ts';
import { AdamAtan2, AdamW, AdoptAtan2, type Optimizer } from '../optim.ts';
import type { Parameter } from '../tensor/tensor.ts';

const KINDS = { adamw: AdamW, adoptAtan2: AdoptAtan2, adamAtan2: AdamAtan2 };

/** Creates an optimizer of `parameters`. @throws ArgumentError for a parameter that cannot be trained. */
export function optimizerOf(
  parameters: readonly Parameter[],
  { optimizer, lr, betas, weightDecay }: OptimizerConfig,
): Optimizer {
  return new KINDS[optimizer](parameters, { lr, betas, weightDecay });
}

/** The total number of values in `parameters`. */
export function countNumbers(parameters: readonly Parameter[]): number {
  return parameters.reduce((sum, { shape }) => sum + shape.reduce((product, size) => product * size, 1), 0);
}
