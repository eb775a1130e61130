/** `palm sweep`: a search for good settings. */
import { Command } from 'commander';
import { fromHome } from '../config/fields.ts';
import { readConfigFile } from '../config/file.ts';
import { type Layer, located, parseLayers } from '../config/layers.ts';
import { sweepConfig } from '../config/sweep.ts';
import { ArgumentError } from '../errors.ts';
import { formatNumber } from '../metrics/format.ts';
import { type SweepResult, sweep } from '../sweep/sweep.ts';
import { trialTable } from '../sweep/text.ts';
import { commandLine } from './shell.ts';
import { StopSignals } from './signals.ts';
import { table } from './table.ts';

const HELP = `
The file, in YAML or JSON (docs/sweep.md has all keys):
  run: grpo             # a method, a shipped recipe, or a recipe file
  base:                 # settings of all trials
    model: runs/base
    data: prompts.jsonl
    reward: ./reward.mjs
  search: random        # or grid: all combinations of lists
  trials: 12
  metric: score         # of metrics.jsonl
  parameters:           # by the names of flags
    lr: { log: [1.0e-5, 1.0e-3] }
    loss.clip: { uniform: [0.1, 0.3] }
    sampling.samplesPerPrompt: [4, 8]
  halving: { first: 20 }  # if given, the best third goes on after 20 steps

Examples:
  palm sweep sweep.yaml --out runs/sweep
  palm sweep sweep.yaml --out runs/sweep --resume`;

interface Options {
  out: string;
  resume?: boolean;
  quiet?: boolean;
  json?: boolean;
}

/** The `sweep` command. */
export function sweepCommand(): Command {
  return new Command('sweep')
    .description('search for good settings: many runs, compared by a metric')
    .argument('<file>', 'what is tried, in YAML or JSON')
    .requiredOption('--out <dir>', 'folder of the sweep, with a run folder for each trial (required)')
    .option('--resume', 'go on with the sweep in --out, in the middle of a trial too')
    .option('--quiet', 'print no progress, only warnings and the result')
    .option('--json', 'print the result as JSON')
    .helpOption('-h, --help', 'show this help')
    .addHelpText('after', HELP)
    .action(async (file: string, { out, resume, quiet, json }: Options) => {
      const layers: Layer[] = [{ path: file, values: readConfigFile(fromHome(file)) }];
      const config = parseLayers(sweepConfig, 'sweep', layers);
      using signals = new StopSignals(() => {});
      const say = quiet ? () => {} : undefined;
      const result = await sweep(config, { out, resume, signal: signals.stop, say }).catch((error: unknown) => {
        throw located(error, 'sweep', layers);
      });
      console.log(json ? JSON.stringify(result) : textOf(result));
      checkFound(result);
    });
}

function textOf(result: SweepResult): string {
  const { metric, best, report, rerun } = result;
  const found = best && `${best.folders.join(', ')} (${metric} ${formatNumber(best.value as number)})`;
  const rows = [
    ['best', found] as const,
    ['run it again', rerun && commandLine(rerun)] as const,
    ['report', report] as const,
  ];
  return `${trialTable(result)}\n\n${table(rows)}`;
}

/** @throws ArgumentError if no trial has a result. */
function checkFound({ best, trials }: SweepResult): void {
  if (best !== undefined) return;
  const received = `${trials.length} trials that failed, the first because ${trials[0]?.failed?.replace(/\.$/, '')}`;
  throw new ArgumentError({
    argument: 'sweep',
    received,
    expected: 'at least one that does not',
    fix: 'Mend the cause, and start another sweep.',
  });
}
