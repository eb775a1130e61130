/** What a training command prints on stdout when its run has ended. */
import { formatNumber } from '../metrics/format.ts';
import type { RunResult } from '../training/run.ts';
import { table } from './table.ts';

/** The path of the model, the last values of the watched metrics, and the command that shows more. */
export function resultText({ model, steps, metrics }: RunResult, watched: readonly string[], out: string): string {
  const known = watched.filter((name) => metrics[name] !== undefined);
  return table([
    ['model', model],
    ['steps', steps],
    ...known.map((name) => [name, formatNumber(metrics[name] as number)] as const),
    ['report', `palm report ${out}`],
  ]);
}
