/** The result of a sweep as text, for a terminal. */
import { formatNumber } from '../metrics/format.ts';
import type { Parameters } from './parameters.ts';
import type { SweepTrial } from './ranking.ts';

/** What is shown of a sweep. */
export interface Shown {
  metric: string;
  /** The best first. */
  trials: readonly SweepTrial[];
  rankCorrelations: Readonly<Record<string, number | undefined>>;
}

/** The trials as aligned lines, the best first, and which parameters go with the metric. */
export function trialTable({ metric, trials, rankCorrelations }: Shown): string {
  const keys = Object.keys(rankCorrelations);
  const rows = trials.map((trial) => cellsOf(trial, keys));
  const last = keys.map((key) => rankCorrelations[key]?.toFixed(2) ?? '-');
  const foot = ['rank corr.', ...last, '', ''];
  const lines = aligned([['trial', ...shortNames(keys), metric, 'steps'], ...rows, foot]);
  const reasons = trials.flatMap(({ trial, failed }) =>
    failed === undefined ? [] : [`trial ${trial} failed: ${failed}`],
  );
  return [...lines.slice(0, -1), '', lines.at(-1), ...reasons].join('\n');
}

/** The cells of a trial: number, parameters, value and steps. */
export function cellsOf(
  { trial, parameters, value, spread, steps, failed }: SweepTrial,
  keys: readonly string[],
): string[] {
  const shown = value === undefined ? '' : formatNumber(value);
  const result = failed !== undefined ? 'failed' : spread === undefined ? shown : `${shown} ± ${formatNumber(spread)}`;
  return [String(trial), ...keys.map((key) => settingText(parameters[key])), result, String(steps)];
}

/** A setting in few characters. */
function settingText(value: unknown): string {
  if (typeof value === 'number') return String(value);
  return typeof value === 'string' ? value : JSON.stringify(value);
}

/** The settings of a trial in a line. */
export function parametersText(parameters: Parameters): string {
  const names = shortNames(Object.keys(parameters));
  return Object.values(parameters)
    .map((value, i) => `${names[i]} ${settingText(value)}`)
    .join(', ');
}

/** The last words of dotted keys, where they tell the keys apart. */
function shortNames(keys: readonly string[]): string[] {
  const short = keys.map((key) => key.slice(key.lastIndexOf('.') + 1));
  return short.map((name, i) => (short.filter((other) => other === name).length > 1 ? (keys[i] as string) : name));
}

function aligned(rows: readonly (readonly string[])[]): string[] {
  const widths = (rows[0] ?? []).map((_, i) => Math.max(...rows.map((cells) => cells[i]?.length ?? 0)));
  return rows.map((cells) =>
    cells
      .map((cell, i) => cell.padStart(widths[i] as number))
      .join('  ')
      .trimEnd(),
  );
}
