/** Commands that are configured: by flags, over a file, over the defaults. */
import { existsSync } from 'node:fs';
import { Command, type Help, Option } from 'commander';
import type { z } from 'zod';
import { fromHome } from '../config/fields.ts';
import { readConfigFile } from '../config/file.ts';
import { type Flag, flagsOf, mergeFlags } from '../config/flags.ts';
import { type ConfigSchema, parseConfig } from '../config/schema.ts';
import { ArgumentError, ConfigError } from '../errors.ts';
import { runDirectory } from '../runs/run-directory.ts';
import type { Resume } from './run.ts';
import { readNote, settingsChanged } from './run-note.ts';
import { warn } from './warn.ts';

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
    await run(layered(schema, name, { file, flags: given }));
  };
  if (positional === undefined) return named.action(act);
  const description = flags.find((flag) => flag.name === positional)?.description;
  return named
    .argument(`<${positional.toUpperCase()}>`, description)
    .action((value: string, given: Record<string, unknown>) => act({ ...given, [positional]: value }));
}

/**
 * The same for a command that fills the run directory `out`, a field of `schema`: it also takes `--resume`, which starts
 * from the configuration that was saved there, below file and flags, and tells what those change; and `--dry-run`, which
 * shall change nothing. `before` is what 0.1.0 did: it goes for a run of that version where its configuration lacks the key.
 */
export function runCommand<S extends ConfigSchema>(
  name: string,
  schema: S,
  run: (config: z.output<S>, resume: Resume, dryRun: boolean) => Promise<void>,
  before: Readonly<Record<string, unknown>> = {},
): Command {
  const flags = flagsOf(schema);
  return command(name, flags)
    .option(
      '--resume [CHECKPOINT]',
      'go on with the run in --out and its configuration, from that folder or from its newest whole checkpoint',
    )
    .option('--dry-run', 'check configuration and data, tell how much memory the run would take, and end')
    .action(async ({ config: file, resume = false, dryRun = false, ...given }: Record<string, unknown>) => {
      const saved = resume === false ? {} : savedConfig(given.out, before);
      const config = layered(schema, name, { file, flags: given, saved });
      if (resume !== false) tellChanges(parseConfig(schema, saved, name), config);
      await run(config, typeof resume === 'string' ? fromHome(resume) : (resume as boolean), dryRun === true);
    });
}

/** Settings that leave the numbers alone, or of which a checkpoint tells. */
const UNTOLD = ['out', 'device', 'checkpoint.every', 'checkpoint.keep'];
/** Files: where their content is noted, that tells more than their paths do. */
const FILES = ['data', 'validation', 'model', 'reward', 'tokenizer'];

function tellChanges(then: Record<string, unknown>, now: Record<string, unknown>): void {
  const noted = existsSync(runDirectory(now.out as string).note);
  for (const change of settingsChanged(then, now, noted ? [...UNTOLD, ...FILES] : UNTOLD)) warn(change);
}

function command(name: string, flags: Flag[]): Command {
  const result = new Command(name)
    .configureHelp({ padWidth: () => TERM_WIDTH, formatItem })
    .option('--config <file>', 'YAML or JSON with the options below; flags go before it');
  for (const option of flags.flatMap(optionsOf)) result.addOption(option);
  return result;
}

/** The columns that help has for options. */
const TERM_WIDTH = 28;

/** An option in help, with its explanation beside it, or from the next line on where the option is longer than that. */
function formatItem(term: string, width: number, explanation: string, help: Help): string {
  const lines = help.boxWrap(explanation, (help.helpWidth ?? 80) - width - 4).split('\n');
  if (term.length > width) lines.unshift('');
  return lines.map((line, i) => `  ${(i === 0 ? term : '').padEnd(width)}  ${line}`.trimEnd()).join('\n');
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

interface Layers {
  file: unknown;
  flags: Record<string, unknown>;
  saved?: Record<string, unknown>;
}

/** @throws ConfigError, which names the file too where the value at fault is from there. */
function layered<S extends ConfigSchema>(schema: S, name: string, { file, flags, saved = {} }: Layers): z.output<S> {
  const given = typeof file === 'string' ? readConfigFile(fromHome(file)) : {};
  try {
    return parseConfig(schema, mergeFlags({ ...saved, ...given }, flags), name);
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    const key = error.argument.slice(name.length + 1);
    const top = /^"(.*)"$/.exec(key)?.[1] ?? key.split('.')[0];
    if (top === undefined || Object.hasOwn(flags, key) || !Object.hasOwn(given, top)) throw error;
    throw new ConfigError({ ...error, argument: `${file}: ${error.argument}`, cause: error });
  }
}

/** The configuration of the run in `out`; the tokenizer is the run's own copy, where it has one. */
function savedConfig(out: unknown, before: Readonly<Record<string, unknown>>): Record<string, unknown> {
  if (typeof out !== 'string') {
    throw new ArgumentError({
      argument: '--resume',
      received: 'no --out',
      fix: 'Add --out with the run to go on with.',
    });
  }
  const run = runDirectory(fromHome(out));
  if (!existsSync(run.config)) {
    const received = 'a folder without a run';
    throw new ArgumentError({ argument: `--out ${out}`, received, fix: 'Leave out --resume to start a run there.' });
  }
  const saved = readConfigFile(run.config);
  if (existsSync(run.tokenizer)) saved.tokenizer = run.tokenizer;
  return readNote(run.note) === undefined ? { ...before, ...saved } : saved;
}
