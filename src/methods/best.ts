/** Which step of a training is kept as the best. */
import { ArgumentError } from '../errors.ts';
import type { Saveable } from '../tensor/tensor-files.ts';
import { Best } from '../trainers/best.ts';
import type { Training } from './method.ts';

/**
 * What keeps the best step of a training, if its configuration names a metric; undefined if not. Dispose of it.
 * @throws ArgumentError for a metric of held-out data where no data is held out.
 */
export function bestOf({ config, rows }: Training, weights: Saveable): Best | undefined {
  const { keepBest, mode, stopAfter } = config.evaluation;
  if (keepBest === undefined) return undefined;
  if (!keepBest.startsWith('validation') || rows.heldOut !== 0) return new Best(weights, { keepBest, mode, stopAfter });
  throw new ArgumentError({
    argument: 'evaluation.keepBest',
    received: `${keepBest}, but no data is held out`,
    expected: 'a metric that the run has',
    fix: 'Raise validationFraction, or give a validation file.',
  });
}
