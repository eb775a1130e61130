/** The tables of a report: configuration and data. */
import { escapeHtml } from './escape.ts';
import type { ReportRun } from './read.ts';

/** A row of cells in HTML; `differs` marks one whose cells are not all the same. */
export interface TableRow {
  cells: readonly string[];
  differs?: boolean;
}

/** A table whose first column names its rows; `head` and cells are HTML. Its `kind` says whether cells hold numbers or text. */
export function tableOf(head: readonly string[], rows: readonly TableRow[], kind: 'numbers' | 'text' = 'text'): string {
  const titles = head.map((title) => `<th scope="col">${title}</th>`).join('');
  const lines = rows.map(({ cells: [name = '', ...cells], differs = false }) => {
    const values = cells.map((cell) => `<td>${cell}</td>`).join('');
    return `<tr${differs ? ' class="differs"' : ''}><th scope="row">${name}</th>${values}</tr>`;
  });
  return `<div class="scroll" tabindex="0"><table class="${kind}"><thead><tr>${titles}</tr></thead><tbody>${lines.join('\n')}</tbody></table></div>`;
}

/** The letter of a run: A, B, …, Z, AA. */
export function labelOf(index: number): string {
  const letter = String.fromCharCode(65 + (index % 26));
  return index < 26 ? letter : labelOf(Math.floor(index / 26) - 1) + letter;
}

/** All settings of all runs; those that differ come first, and are marked. */
export function configurationSection(runs: readonly ReportRun[]): string {
  // The folder of a run is its name, and never the same.
  const keys = [...new Set(runs.flatMap(({ config }) => [...config.keys()]))].filter((key) => key !== 'out');
  const rows = keys.map((key) =>
    rowOf(
      key,
      runs.map(({ config }) => config.get(key)),
    ),
  );
  if (rows.length === 0) return '';
  const note = runs.length > 1 ? '<p class="soft">≠ marks settings that differ between the runs.</p>' : '';
  return section('Configuration', `${note}${tableOf(headOf('setting', runs), differingFirst(rows))}`);
}

/** Versions, rows and files of the runs, with hashes; the facts of run.json. */
export function dataSection(runs: readonly ReportRun[]): string {
  const facts = runs.map(({ note }) => new Map(note === undefined ? [] : factsOf(note)));
  const keys = [...new Set(facts.flatMap((each) => [...each.keys()]))];
  if (keys.length === 0) return '';
  const rows = keys.map((key) =>
    rowOf(
      key,
      facts.map((each) => each.get(key)),
    ),
  );
  return section('Data', tableOf(headOf('fact', runs), rows));
}

function factsOf({ version, tokenizer, inputs, rows = {} }: NonNullable<ReportRun['note']>): [string, string][] {
  return [
    ['version', version],
    ['tokenizer', tokenizer === 'byte' ? 'byte' : `sha256 ${tokenizer.slice(0, 12)}`],
    ...Object.entries(rows).map(([name, count]): [string, string] => [`rows: ${name}`, count.toLocaleString('en-US')]),
    ...Object.entries(inputs).map(([name, { path, bytes, sha256 }]): [string, string] => {
      return [name, `${path}, ${bytes.toLocaleString('en-US')} bytes, sha256 ${sha256.slice(0, 12)}`];
    }),
  ];
}

function rowOf(key: string, values: readonly (string | undefined)[]): TableRow {
  const differs = values.some((value) => value !== values[0]);
  const cells = values.map((value) => (value === undefined ? '—' : escapeHtml(value)));
  return { cells: [`${differs ? '≠ ' : ''}${escapeHtml(key)}`, ...cells], differs };
}

function differingFirst(rows: readonly TableRow[]): TableRow[] {
  return [...rows.filter(({ differs }) => differs), ...rows.filter(({ differs }) => !differs)];
}

function headOf(title: string, runs: readonly ReportRun[]): string[] {
  const named = (name: string, i: number) =>
    runs.length > 1 ? `${labelOf(i)}: ${escapeHtml(name)}` : escapeHtml(name);
  return [title, ...runs.map(({ name }, i) => named(name, i))];
}

function section(title: string, content: string): string {
  return `<section><h2>${title}</h2>${content}</section>`;
}
