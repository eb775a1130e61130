/** What a training command prints on stdout when its run has ended. */
import { formatNumber } from '../metrics/format.ts';
import type { RunResult } from '../training/run.ts';
import { table } from './table.ts';

/** The paths of the models, the last values of the watched metrics, and the command that shows more. */
export function resultText(
  { model, steps, metrics, stopped, best }: RunResult,
  watched: readonly string[],
  out: string,
): string {
  const known = watched.filter((name) => metrics[name] !== undefined);
  return table([
    ['model', model],
    ['best', best && `${best.model} (step ${best.step}, ${best.metric} ${formatNumber(best.value)})`],
    ['steps', steps],
    ['ended', stopped?.reason],
    ...known.map((name) => [name, formatNumber(metrics[name] as number)] as const),
    ['report', `palm report ${out}`],
  ]);
}
