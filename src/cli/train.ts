/** One command per training method: `palm pretrain`, and so on. */
import type { Command } from 'commander';
import { methods } from '../methods.ts';
import type { Method } from '../methods/method.ts';
import { checkFree, makeOut } from '../runs/run-directory.ts';
import { checkFits, printPlan } from './dry-run.ts';
import { runCommand } from './options.ts';
import { runTraining } from './run.ts';

/** The commands of all methods, in the order of the method table. */
export function trainingCommands(): Command[] {
  return (Object.keys(methods) as (keyof typeof methods)[]).map((name) => trainingCommand(name));
}

/** The command of one method. */
export function trainingCommand(name: keyof typeof methods): Command {
  const { summary, schema, before, open }: Method = methods[name];
  const command = runCommand(
    name,
    schema,
    async (config, resume, dryRun) => {
      checkFree(config.out, resume !== false);
      const { plan, notices, start } = await open(config);
      for (const line of notices) console.error(line);
      if (dryRun) return printPlan(plan);
      checkFits(plan, config.device);
      makeOut(config.out);
      await runTraining(await start(), resume);
    },
    before,
  );
  return command.description(summary);
}
