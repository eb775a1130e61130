/** The note in a model's file of the step that it is from, if it was kept as the best of its run. */
import { COUNT, TEXT } from '../checks/kinds.ts';
import { FileError, printable } from '../errors.ts';
import type { SafetensorsFile } from '../files/safetensors/safetensors.ts';

/** The metadata that hold the note. */
export const BEST_KEY = 'palm-rlhf.best';

/** The best step of a run. */
export interface BestStep {
  step: number;
  metric: string;
  value: number;
}

/** The step that the model in `file` is from, if it was kept as the best of its run. @throws FileError for a damaged note. */
export function readBest(file: SafetensorsFile): BestStep | undefined {
  const note = file.metadata.get(BEST_KEY);
  if (note === undefined) return undefined;
  try {
    const best: unknown = JSON.parse(note);
    if (isBestStep(best)) return best;
  } catch {
    // Not JSON: reported like any other wrong note.
  }
  const expected = 'the step, the metric and its value';
  throw new FileError({ argument: `${file.path}, metadata ${BEST_KEY}`, received: printable(note), expected });
}

export function isBestStep(best: unknown): best is BestStep {
  const { step, metric, value } = Object(best) as Partial<BestStep>;
  return COUNT.is(step) && TEXT.is(metric) && Number.isFinite(value);
}
