/** The program `palm`. Only the command that is asked for is made; of the others listing.ts has what the help shows. */
import { Command, Help } from 'commander';
import { packageVersion } from '../package.ts';
import { APART } from './apart.ts';
import type { Heading } from './commands.ts';
import { LISTING } from './listing.ts';
import { knowOtherNames } from './other-names.ts';

/** The program for the words after `palm`, with the whole of the command that they name; errors are thrown. */
export async function program(words: readonly string[]): Promise<Command> {
  const root = new Command('palm')
    .description('Train language models with human feedback.')
    .version(packageVersion(), '--version', 'print the version')
    .configureHelp({ subcommandTerm });
  const asked = words.find((word) => !word.startsWith('-') && word !== 'help');
  for (const [name, { group, summary }] of Object.entries(LISTING)) {
    const command = name === asked ? await whole(group, name) : new Command(name).description(summary);
    root.addCommand(command.helpGroup(group));
  }
  return throwing(root);
}

function subcommandTerm(command: Command): string {
  return LISTING[command.name()]?.term ?? new Help().subcommandTerm(command);
}

async function whole(group: Heading, name: string): Promise<Command> {
  const apart = (APART as Readonly<Record<string, () => Promise<Command>>>)[name];
  if (apart !== undefined) return await apart();
  const { COMMANDS } = await import('./commands.ts');
  return await (COMMANDS[group][name] as () => Command | Promise<Command>)();
}

/** Makes a command and its subcommands throw instead of ending the process, and answer what other trainers call an option. */
function throwing(command: Command): Command {
  knowOtherNames(command.exitOverride());
  command.commands.forEach(throwing);
  return command;
}
