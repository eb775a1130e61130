/** A search for good settings: trials, each a run as `palm train` runs it, compared by a metric. docs/sweep.md. */
import { join } from 'node:path';
import { BOOLEAN, checkKinds, FUNCTION, optional, PATH, SIGNAL } from '../checks/kinds.ts';
import { checkOptions } from '../checks/options.ts';
import { lock } from '../files/lock.ts';
import { type Mode, modeOf } from '../config/evaluation.ts';
import { fromHome } from '../config/fields.ts';
import { parseConfig } from '../config/schema.ts';
import { type SweepConfig, type SweepConfigInput, sweepConfig } from '../config/sweep.ts';
import { ArgumentError } from '../errors.ts';
import { makeFolder } from '../files/folder.ts';
import type { Method } from '../methods/method.ts';
import { settingsChanged } from '../runs/run-note.ts';
import { packageVersion } from '../package.ts';
import { Journal } from './journal.ts';
import { knownModules } from './modules.ts';
import { writeReport } from './page.ts';
import { ranked, rankCorrelations, type SweepTrial } from './ranking.ts';
import { runRungs } from './rungs.ts';
import { type Trials, trialsOf } from './trials.ts';

/** How a sweep is run. */
export interface SweepOptions {
  /** The folder of the sweep, with a run folder for each trial. */
  out: string;
  /** Whether to go on with the sweep in `out`. Defaults to false: the folder must not hold one. */
  resume?: boolean | undefined;
  /** When aborted, the trial is saved after its current step, and the signal's reason is thrown. */
  signal?: AbortSignal | undefined;
  /** Called with lines of progress, and with problems that do not end the sweep. Both print to stderr by default. */
  say?: ((line: string) => void) | undefined;
  warn?: ((line: string) => void) | undefined;
}

/** What a sweep found. */
export interface SweepResult {
  metric: string;
  /** The best trial; undefined if all have failed. */
  best: SweepTrial | undefined;
  /** All trials, the best first. */
  trials: readonly SweepTrial[];
  /** Spearman's rank correlation of each parameter with the metric; undefined where it has none. */
  rankCorrelations: Readonly<Record<string, number | undefined>>;
  /** The path of the report, an HTML page. */
  report: string;
  /** The words of the command that runs the best trial again, to its end; undefined without a best one. */
  rerun: readonly string[] | undefined;
}

const OPTIONS = {
  out: PATH,
  resume: optional(BOOLEAN),
  signal: optional(SIGNAL),
  say: optional(FUNCTION),
  warn: optional(FUNCTION),
};

/**
 * Runs the trials of `config` one after the other, compares them by the metric, and writes a report. A trial that fails is noted and
 * not tried again. A sweep that was interrupted goes on with `resume`, in the middle of a trial too, and gives the same result.
 * @throws ConfigError for a wrong setting of the sweep or of any trial, before the first one runs.
 * @throws ArgumentError if the folder holds a sweep and `resume` is false, and if settings or a reward module have changed since.
 * @throws LockedError if another process works in the folder.
 */
export async function sweep(config: SweepConfigInput, options: SweepOptions): Promise<SweepResult> {
  checkOptions(options, Object.keys(OPTIONS), 'sweep');
  checkKinds('sweep options', options, OPTIONS);
  const parsed = parseConfig(sweepConfig, config, 'sweep');
  const out = fromHome(options.out);
  const { resume = false, signal } = options;
  const { say = (line) => console.error(line), warn = (line) => console.error(`warning: ${line}`) } = options;
  const all = trialsOf(parsed, out);
  await checkBeginning(await Journal.open(out), parsed, all, { out, resume });
  await checkFiles(all);
  makeFolder(out);
  const unlock = await lock(out);
  try {
    const journal = await Journal.open(out);
    if (journal.beginning === undefined) await journal.add({ sweep: beginningOf(parsed, all) });
    for (const line of knownModules(journal)) say(line);
    const mode = parsed.mode ?? (modeOf(parsed.metric) as Mode);
    const trials = await runRungs(all, parsed, mode, { journal, signal, say, warn });
    return await resultOf(all.name, parsed.metric, ranked(trials, mode), out);
  } finally {
    await unlock();
  }
}

/** Reads the files of the first trial, so that what is wrong with them is told before anything runs. */
async function checkFiles({ method, trials: [first] }: Trials): Promise<void> {
  await method.open(first?.runs[0] as Parameters<Method['open']>[0]);
}

/** The settings that a sweep began with: its own, and those of the first run, which also has those of the recipe. */
function beginningOf(config: SweepConfig, { trials: [first] }: Trials) {
  const { out: _, ...settings } = { ...first?.runs[0] } as Record<string, unknown>;
  return { version: packageVersion(), config: config as Record<string, unknown>, settings };
}

/** @throws ArgumentError unless the journal is that of this sweep, or there is none and a new sweep is meant. */
async function checkBeginning(
  { beginning: then }: Journal,
  config: SweepConfig,
  all: Trials,
  { out, resume }: { out: string; resume: boolean },
): Promise<void> {
  if (then === undefined && !resume) return;
  const argument = `--out ${out}`;
  if (then === undefined)
    throw new ArgumentError({ argument, problem: 'holds no sweep', fix: 'Leave out --resume to start one there.' });
  if (!resume) {
    const fix = 'Add --resume to continue it, or choose another folder.';
    throw new ArgumentError({ argument, problem: 'already holds a sweep', fix });
  }
  const now = beginningOf(config, all);
  // More draws change none of those before. With halving they would compete with trials that have been left behind.
  const free = config.halving === undefined ? ['trials'] : [];
  const changes = [
    ...settingsChanged(then.config, now.config, free),
    ...settingsChanged(then.settings, now.settings, []),
  ];
  if (changes.length === 0) return;
  const fix = 'Restore the settings, or start another sweep in another folder.';
  throw new ArgumentError({
    argument: '--resume',
    received: changes.join('; '),
    expected: 'the sweep as it began',
    fix,
  });
}

async function resultOf(name: string, metric: string, trials: SweepTrial[], out: string): Promise<SweepResult> {
  const best = trials.find(({ failed }) => failed === undefined);
  const [folder] = best?.folders ?? [];
  const rerun =
    folder === undefined ? undefined : [name, '--config', join(folder, 'config.json'), '--out', join(out, 'best')];
  const result = { metric, best, trials, rankCorrelations: rankCorrelations(trials), rerun };
  return { ...result, report: await writeReport(out, result) };
}
