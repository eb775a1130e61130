/** One command per training method: `palm pretrain`, and so on. */
import { type Command, InvalidArgumentError, Option } from 'commander';
import { flagsOf } from '../config/flags.ts';
import { methods } from '../methods.ts';
import type { Method, RunConfig, Training } from '../methods/method.ts';
import { ConsoleMetrics } from '../metrics/console.ts';
import { JsonLines } from '../metrics/jsonl.ts';
import type { MetricsSink } from '../metrics/metrics.ts';
import { TensorBoardMetrics } from '../metrics/tensorboard.ts';
import { adapterNotices, findModel } from '../runs/model-file.ts';
import { checkFree, makeOut } from '../runs/run-directory.ts';
import { type Resume, runTraining } from '../training/run.ts';
import { checkFits, printPlan } from './dry-run.ts';
import { fromHubOptions, placeOf } from './model-options.ts';
import { runCommand } from './options.ts';
import { resultText } from './results.ts';
import { StopSignals } from './signals.ts';

/** What a training command shows, and how its model is fetched. These options are not part of the configuration. */
interface View {
  quiet?: boolean;
  json?: boolean;
  logEvery?: number;
  sampleEvery?: number;
  tensorboard?: boolean;
  revision?: string;
  offline?: boolean;
}

const VIEW = [
  new Option('--log-every <n>', 'steps between lines of progress (default: lines become rarer as time passes)'),
  new Option('--sample-every <n>', 'iterations between answers kept in samples.jsonl (default: 10)'),
  new Option('--quiet', 'print no progress, only warnings and the result'),
  new Option('--tensorboard', 'also write TensorBoard event files into the run folder'),
  new Option('--json', 'print a JSON object per step on stdout, instead of progress'),
].map((option) => (option.flags.includes('<n>') ? option.argParser(countOf) : option));

/** The command of one method. */
export function trainingCommand(name: keyof typeof methods): Command {
  const { summary, watched, schema, before, open }: Method = methods[name];
  const run = async (
    config: RunConfig & Record<string, unknown>,
    resume: Resume,
    { dryRun, ...view }: View & { dryRun: boolean },
  ) => {
    const placed = await withPlace(config, view);
    const say = view.quiet ? () => {} : (line: string) => console.error(line);
    checkFree(config.out, resume !== false);
    const { plan, notices, start } = await open(placed);
    for (const line of [...(await merged(placed)), ...notices]) say(line);
    if (dryRun) return printPlan(plan);
    checkFits(plan, config.device);
    makeOut(config.out);
    const training = await start();
    let save = () => {};
    using signals = new StopSignals(() => save());
    const result = await runTraining(training, {
      resume,
      signal: signals.stop,
      sinks: sinksOf(view, watched, training),
      sampleEvery: view.sampleEvery,
      say,
      opened: (checkpoints) => {
        save = () => checkpoints.saveSoon();
      },
    });
    console.log(view.json ? JSON.stringify(result) : resultText(result, watched, config.out));
  };
  const isTrainedFrom = flagsOf(schema).some((flag) => flag.name === 'model');
  const options = isTrainedFrom ? [...VIEW, ...fromHubOptions()] : VIEW;
  return runCommand(name, schema, run, before, options).description(summary);
}

function sinksOf(view: View, watched: readonly string[], { steps, config }: Training): MetricsSink[] {
  const events = view.tensorboard ? [new TensorBoardMetrics(config.out)] : [];
  if (view.json) return [...events, new JsonLines()];
  if (view.quiet) return events;
  const { logEvery } = view;
  return [...events, new ConsoleMetrics({ steps, watched, logEvery, checkpointEvery: config.checkpoint.every })];
}

function countOf(text: string): number {
  const count = Number(text);
  if (Number.isInteger(count) && count >= 1) return count;
  throw new InvalidArgumentError('It must be an integer >= 1.');
}

/** The configuration with the place of the model that is trained; `model` of `pretrain` is the sizes of a new one. */
async function withPlace<C extends RunConfig & Record<string, unknown>>(config: C, view: View): Promise<C> {
  const { model } = config;
  return typeof model === 'string' ? { ...config, model: await placeOf(model, view) } : config;
}

/** What happens to the adapters of the model that is trained. */
async function merged(config: Readonly<Record<string, unknown>>): Promise<string[]> {
  const { model } = config;
  return typeof model === 'string' ? adapterNotices(await findModel(model)) : [];
}
