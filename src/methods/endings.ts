/** Which step of a training is kept as the best, and what ends it early. */
import type { EvaluationConfig } from '../config/evaluation.ts';
import { ArgumentError } from '../errors.ts';
import type { Saveable } from '../tensor/tensor-files.ts';
import { Best } from '../trainers/best.ts';
import type { Endings } from '../trainers/ending.ts';
import { Guards } from '../trainers/guards.ts';
import type { Training } from './method.ts';

/** The least agreement with a held-out reward, unless it is set: below it, the two say hardly the same of an answer. */
const AGREEMENT = 0.4;

/**
 * What keeps the best step of a training and what guards it, where its configuration asks for them. Both are parts of the run;
 * dispose of `best`.
 * @throws ArgumentError for a metric of held-out data where no data is held out.
 */
export function endingsOf({ config, rows }: Training, weights: Saveable): Endings {
  const { guard, mode, stopAfter } = config.evaluation;
  const keepBest = metricOf(config.evaluation);
  if (keepBest?.startsWith('validation') && rows.heldOut === 0)
    throw new ArgumentError({
      argument: 'evaluation.keepBest',
      received: `${keepBest}, but no data is held out`,
      expected: 'a metric that the run has',
      fix: 'Raise validationFraction, or give a validation file.',
    });
  const best = keepBest === undefined ? undefined : new Best(weights, { keepBest, mode, stopAfter });
  if (guard === undefined) return { best };
  const { reward, agreement = reward === undefined ? undefined : AGREEMENT, ...limits } = guard;
  return { best, guards: new Guards({ agreement, ...limits }) };
}

/** The metric of the best step: a guarded run always keeps it, by the held-out score if it has one. */
function metricOf({ keepBest, guard }: EvaluationConfig): string | undefined {
  if (keepBest !== undefined || guard === undefined) return keepBest;
  return guard.reward === undefined ? 'score' : 'score.heldOut';
}
