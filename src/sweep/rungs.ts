/** Runs the trials of a sweep: all of them to their end, or from rung to rung, of which each is for the best of the one before. */
import type { Mode } from '../config/evaluation.ts';
import type { SweepConfig } from '../config/sweep.ts';
import { ConfigError, LibtorchError, LockedError } from '../errors.ts';
import { formatNumber } from '../metrics/format.ts';
import type { Journal, Reached } from './journal.ts';
import { checkModules } from './modules.ts';
import { meanAndSpread, promoted, type SweepTrial } from './ranking.ts';
import { meanOf, runStretch } from './stretch.ts';
import { parametersText } from './text.ts';
import type { Trial, Trials } from './trials.ts';

/** Where results are noted, and what is told. */
export interface Reporting {
  journal: Journal;
  signal?: AbortSignal | undefined;
  say: (line: string) => void;
  warn: (line: string) => void;
}

/** Steps after `from` and up to `end`, for the trials that are left. */
interface Rung {
  number: number;
  from: number;
  end: number;
}

/** A run at a rung. */
type Place = Pick<Reached, 'trial' | 'repeat' | 'rung'>;

/** Without halving, a run is worth the mean of the metric over this share of its steps, at the end. */
const LAST = 1 / 5;

/** Runs the trials and gives what each came to. What the journal has is not run again. */
export async function runRungs(
  all: Trials,
  config: SweepConfig,
  mode: Mode,
  reporting: Reporting,
): Promise<SweepTrial[]> {
  const { halving } = config;
  const found = new Map<number, SweepTrial>();
  let left = all.trials;
  let rung: Rung = { number: 1, from: 0, end: halving?.first ?? Number.POSITIVE_INFINITY };
  for (;;) {
    let goesOn = false;
    for (const trial of left) {
      const reached = await runTrial(trial, rung, all, config, reporting);
      found.set(trial.trial, sumUp(trial, rung, reached, found.get(trial.trial)));
      if (reached.every(({ ended, failed }) => failed === undefined && !ended)) goesOn = true;
    }
    if (halving === undefined || !goesOn) return [...found.values()];
    const here = left.map(({ trial }) => found.get(trial) as SweepTrial);
    const best = promoted(here, mode, halving.factor).map(({ trial }) => trial);
    left = left.filter(({ trial }) => best.includes(trial));
    // With nobody left to compare with, the last trial runs to its end.
    const end = left.length === 1 ? Number.POSITIVE_INFINITY : rung.end * halving.factor;
    rung = { number: rung.number + 1, from: rung.end, end };
  }
}

/** What the runs of a trial reach at a rung; after one that fails the others are left out. */
async function runTrial(
  trial: Trial,
  rung: Rung,
  { method, trials }: Trials,
  { metric }: SweepConfig,
  { journal, signal, say, warn }: Reporting,
): Promise<Reached[]> {
  const all: Reached[] = [];
  for (const [i, run] of trial.runs.entries()) {
    const at = { trial: trial.trial, repeat: i + 1, rung: rung.number };
    const reached = journal.at(at.trial, at.repeat, at.rung) ?? endedBefore(journal, at) ?? (await reach(run, at));
    all.push(reached);
    if (reached.failed !== undefined) break;
  }
  return all;

  async function reach(run: Trial['runs'][number], at: Place): Promise<Reached> {
    signal?.throwIfAborted();
    for (const line of await checkModules(run, journal)) say(line);
    if (at.repeat === 1) say(announced(trial, trials.length, rung));
    const reached = { ...at, ...(await attempt(run)) };
    await journal.add({ ...reached, parameters: trial.parameters });
    say(`  ${toldOf(reached, metric)}`);
    return reached;
  }

  async function attempt(run: Trial['runs'][number]): Promise<Omit<Reached, keyof Place>> {
    try {
      const told = (line: string) => warn(`trial ${trial.trial}: ${line}`);
      const { step, ended } = await runStretch(method, run, rung.end, { metric, signal, warn: told });
      const from = rung.end === Number.POSITIVE_INFINITY && rung.from === 0 ? Math.floor(step * (1 - LAST)) : rung.from;
      const value = meanOf(run.out, metric, from, Math.min(step, rung.end));
      if (value !== undefined) return { step, ended, value };
      return { step, ended, failed: `${metric} has no finite value in steps ${from + 1} to ${step}` };
    } catch (error) {
      if (signal?.aborted || isFatal(error)) throw error;
      return { failed: (error as Error).message };
    }
  }
}

/** Errors that every trial would have. */
function isFatal(error: unknown): boolean {
  const ofSweep = error instanceof ConfigError && error.argument.startsWith('sweep.');
  return ofSweep || error instanceof LockedError || error instanceof LibtorchError;
}

/** What a run reached at an earlier rung, if it ended there. */
function endedBefore(journal: Journal, { trial, repeat, rung }: Place) {
  for (let earlier = rung - 1; earlier > 0; earlier--) {
    const reached = journal.at(trial, repeat, earlier);
    if (reached?.ended) return reached;
  }
  return undefined;
}

/** A trial after a rung; `before` is the same after an earlier one. */
function sumUp(trial: Trial, rung: Rung, reached: readonly Reached[], before: SweepTrial | undefined): SweepTrial {
  const failed = reached.find((one) => one.failed !== undefined)?.failed;
  const values = reached.flatMap(({ value }) => value ?? []);
  const { value, spread } = failed === undefined ? meanAndSpread(values) : { value: undefined, spread: undefined };
  return {
    trial: trial.trial,
    parameters: trial.parameters,
    folders: trial.runs.map(({ out }) => out),
    rungs: rung.number,
    steps: reached[0]?.step ?? before?.steps ?? 0,
    value,
    spread,
    firstValue: before === undefined ? value : before.firstValue,
    failed,
  };
}

function announced({ trial, parameters }: Trial, trials: number, { number, end }: Rung): string {
  const rung = number > 1 || Number.isFinite(end) ? `, rung ${number}` : '';
  return `trial ${trial} of ${trials}${rung}: ${parametersText(parameters)}`;
}

function toldOf({ failed, value, step }: Reached, metric: string): string {
  return failed === undefined ? `${metric} ${formatNumber(value as number)} at step ${step}` : `failed: ${failed}`;
}
