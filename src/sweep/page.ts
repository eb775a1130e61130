/** The report of a sweep: all trials in a table, and the curves of the best. */
import { writeFile } from 'node:fs/promises';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { writeAtomically } from '../files/atomic-write.ts';
import { escapeHtml } from '../report/escape.ts';
import { reportPage } from '../report/page.ts';
import { readRun } from '../report/read.ts';
import { RUN_STYLES } from '../report/style.ts';
import { tableOf } from '../report/tables.ts';
import { runDirectory } from '../runs/run-directory.ts';
import { cellsOf, type Shown } from './text.ts';

/** Writes report.html into the folder of the sweep, and gives its path. @throws FileError */
export async function writeReport(folder: string, result: Shown): Promise<string> {
  const path = join(folder, 'report.html');
  const found = result.trials
    .flatMap(({ folders }) => folders.slice(0, 1))
    .filter((out) => existsSync(runDirectory(out).metrics))
    .slice(0, RUN_STYLES);
  const page = reportPage(found.map(readRun), {
    title: `Sweep: ${result.metric}`,
    lead: trialSection(result, found.length),
  });
  await writeAtomically(path, (aside) => writeFile(aside, page));
  return path;
}

function trialSection({ metric, trials, rankCorrelations }: Shown, compared: number): string {
  const keys = Object.keys(rankCorrelations);
  const head = ['trial', ...keys, metric, 'steps'].map(escapeHtml);
  const rows = trials.map((trial) => ({ cells: cellsOf(trial, keys).map(escapeHtml) }));
  const values = keys.map((key) => rankCorrelations[key]?.toFixed(2) ?? '—');
  const foot = { cells: [`rank correlation with ${escapeHtml(metric)}`, ...values, '', ''] };
  const failed = trials.filter((trial) => trial.failed !== undefined);
  const reasons = failed.map((trial) => `<li>trial ${trial.trial}: ${escapeHtml(trial.failed as string)}</li>`);
  return [
    `<section aria-label="Trials"><h2>Trials, the best first</h2>${tableOf(head, [...rows, foot], 'numbers')}`,
    reasons.length > 0 ? `<h3>Failed</h3><ul>${reasons.join('\n')}</ul>` : '',
    `</section><h2>The best ${compared} compared</h2>`,
  ].join('\n');
}
