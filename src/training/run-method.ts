/** A whole run in one call: what a training command does, for programs. */
import type * as z from 'zod';
import { parseConfig } from '../config/schema.ts';
import { ArgumentError, printable } from '../errors.ts';
import { methods } from '../methods.ts';
import type { Method } from '../methods/method.ts';
import { ConsoleMetrics } from '../metrics/console.ts';
import { checkFree, makeOut } from '../runs/run-directory.ts';
import { checkRunOptions, type RunOptions, type RunResult, runTraining } from './run.ts';

type MethodName = keyof typeof methods;

/**
 * Trains by the method `name` in the run folder `config.out`, with the files that `config` names, as the command of that name
 * does. `options.sinks` replaces the table on stderr. To resume, pass the saved configuration.
 * @throws ArgumentError for an unknown method, or if the folder holds a run and `options.resume` is false.
 * @throws ConfigError for a wrong setting.
 * @throws the errors of `runTraining`, and those of the files.
 */
export async function runMethod<Name extends MethodName>(
  name: Name,
  config: z.input<(typeof methods)[Name]['schema']>,
  options: RunOptions = {},
): Promise<RunResult> {
  if (!Object.hasOwn(methods, name)) {
    const expected = `one of ${Object.keys(methods).join(', ')}`;
    throw new ArgumentError({ argument: 'name', received: printable(name), expected });
  }
  checkRunOptions(options, 'runMethod');
  const { schema, watched, open }: Method = methods[name];
  const parsed = parseConfig(schema, config, name);
  checkFree(parsed.out, (options.resume ?? false) !== false);
  const { start } = await open(parsed);
  makeOut(parsed.out);
  const training = await start();
  const { steps } = training;
  const sinks = options.sinks ?? [new ConsoleMetrics({ steps, watched, checkpointEvery: parsed.checkpoint.every })];
  return await runTraining(training, { ...options, sinks });
}
