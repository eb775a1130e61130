/** Commands that are configured: by flags, over a file, over the defaults. */
import { existsSync } from 'node:fs';
import { Command, Option } from 'commander';
import type { z } from 'zod';
import { readConfigFile } from '../config/file.ts';
import { type Flag, flagsOf, mergeFlags } from '../config/flags.ts';
import { type ConfigSchema, parseConfig } from '../config/schema.ts';
import { ArgumentError } from '../errors.ts';
import type { Resume } from './run.ts';
import { runDirectory } from './run-directory.ts';

/**
 * A command that takes `--config FILE` and a flag for every field of `schema`. Wrong values are thrown as ConfigError. The
 * field `positional`, if given, has no flag: it is the argument of the command.
 */
export function configuredCommand<S extends ConfigSchema>(
  name: string,
  schema: S,
  run: (config: z.output<S>) => Promise<void>,
  positional?: keyof S['shape'] & string,
): Command {
  const flags = flagsOf(schema);
  const named = command(
    name,
    flags.filter((flag) => flag.name !== positional),
  );
  const act = async ({ config: file, ...given }: Record<string, unknown>) => {
    await run(parseConfig(schema, layered(file, given), name));
  };
  if (positional === undefined) return named.action(act);
  const description = flags.find((flag) => flag.name === positional)?.description;
  return named
    .argument(`<${positional.toUpperCase()}>`, description)
    .action((value: string, given: Record<string, unknown>) => act({ ...given, [positional]: value }));
}

/**
 * The same for a command that fills the run directory `out`, a field of `schema`: it also takes `--resume`, which starts
 * from the configuration that was saved there, below file and flags; and `--dry-run`, which shall change nothing. `before` is
 * what runs did that were saved before some fields were there.
 */
export function runCommand<S extends ConfigSchema>(
  name: string,
  schema: S,
  run: (config: z.output<S>, resume: Resume, dryRun: boolean) => Promise<void>,
  before: Record<string, unknown> = {},
): Command {
  const flags = flagsOf(schema);
  return command(name, flags)
    .option(
      '--resume [CHECKPOINT]',
      'go on with the run in --out and its configuration, from that folder or from its newest whole checkpoint',
    )
    .option('--dry-run', 'check configuration and data, tell how much memory the run would take, and end')
    .action(async ({ config: file, resume = false, dryRun = false, ...given }: Record<string, unknown>) => {
      const saved = resume === false ? {} : { ...before, ...savedConfig(given.out) };
      await run(parseConfig(schema, layered(file, given, saved), name), resume as Resume, dryRun === true);
    });
}

function command(name: string, flags: Flag[]): Command {
  const result = new Command(name).option('--config <file>', 'YAML or JSON with the options below; flags go before it');
  for (const option of flags.flatMap(optionsOf)) result.addOption(option);
  return result;
}

// Defaults are told here but filled in by the schema, or they would go before the file. Of two switches help shows the
// one that changes something.
function optionsOf(flag: Flag): Option[] {
  const preset = flag.default === undefined ? '' : ` (default: ${flag.default})`;
  const on = new Option(
    flag.takesValue ? `--${flag.name} <${flag.placeholder}>` : `--${flag.name}`,
    `${flag.description}${flag.required ? ' (required)' : preset}`,
  );
  if (flag.takesValue) on.argParser((text) => flag.parse(text));
  if (!flag.takesNo) return [on];
  const off = new Option(`--no-${flag.name}`, `not: ${flag.description}`);
  return [on.hideHelp(!flag.takesValue && flag.default === true), off.hideHelp(flag.default !== true)];
}

function layered(file: unknown, flags: Record<string, unknown>, saved: Record<string, unknown> = {}) {
  const given = typeof file === 'string' ? readConfigFile(file) : {};
  return mergeFlags({ ...saved, ...given }, flags);
}

function savedConfig(out: unknown): Record<string, unknown> {
  if (typeof out !== 'string') {
    throw new ArgumentError({
      argument: '--resume',
      received: 'no --out',
      fix: 'Add --out with the run to go on with.',
    });
  }
  const path = runDirectory(out).config;
  if (existsSync(path)) return readConfigFile(path);
  const received = 'a folder without a run';
  throw new ArgumentError({ argument: `--out ${out}`, received, fix: 'Leave out --resume to start a run there.' });
}
