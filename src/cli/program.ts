/** The commands of `palm`, in the order of its help. */
import { Command } from 'commander';
import { packageVersion } from '../package.ts';
import { chatCommand } from './chat.ts';
import { dataCommand } from './data.ts';
import { demoCommand } from './demo.ts';
import { doctorCommand } from './doctor.ts';
import { evaluateCommand } from './evaluate.ts';
import { exportCommand } from './export.ts';
import { generateCommand } from './generate.ts';
import { downloadCommand, uploadCommand } from './hub.ts';
import { importCommand } from './import.ts';
import { inspectCommand } from './inspect.ts';
import { libtorchCommand } from './libtorch.ts';
import { knowOtherNames } from './other-names.ts';
import { recipesCommand, trainCommand } from './recipes.ts';
import { reportCommand } from './report.ts';
import { scoreCommand } from './score.ts';
import { sweepCommand } from './sweep.ts';
import { trainingCommands } from './train.ts';

/** The program with all its commands; errors are thrown. */
export function program(): Command {
  const root = new Command('palm')
    .description('Train language models with human feedback.')
    .version(packageVersion(), '--version', 'print the version');
  const train = [demoCommand(), trainCommand(), sweepCommand(), ...trainingCommands()];
  const look = [
    generateCommand(),
    chatCommand(),
    scoreCommand(),
    evaluateCommand(),
    inspectCommand(),
    reportCommand(),
    dataCommand(),
    recipesCommand(),
    importCommand(),
    exportCommand(),
    downloadCommand(),
    uploadCommand(),
    doctorCommand(),
    libtorchCommand(),
  ];
  for (const command of train) root.addCommand(command.helpGroup('Train:'));
  for (const command of look) root.addCommand(command.helpGroup('Use and look:'));
  return throwing(root);
}

/** Makes a command and its subcommands throw instead of ending the process, and answer what other trainers call an option. */
function throwing(command: Command): Command {
  knowOtherNames(command.exitOverride());
  command.commands.forEach(throwing);
  return command;
}
