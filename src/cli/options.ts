/** Commands that are configured: by flags, over a file, over the defaults. */
import { existsSync } from 'node:fs';
import { Command, Option } from 'commander';
import { z } from 'zod';
import { fromHome, path } from '../config/fields.ts';
import { readConfigFile } from '../config/file.ts';
import { type Flag, flagsOf, mergeFlags } from '../config/flags.ts';
import { type ConfigSchema, parseConfig } from '../config/schema.ts';
import { ArgumentError, ConfigError } from '../errors.ts';
import type { Tokenizer } from '../tokenizer/tokenizer.ts';
import type { Resume } from './run.ts';
import { runDirectory } from './run-directory.ts';
import { readNote, settingsChanged } from './run-note.ts';
import { warn } from './warn.ts';

/** The field of a command that reads models. */
export const tokenizerOption = path
  .optional()
  .describe('byte, or the path of a tokenizer.json or its folder; that of the model unless given');

/** The field of a command that draws text. */
export const stopOption = z
  .string()
  .min(1)
  .optional()
  .describe('text that ends a response, beside the eos; looked for by its tokens');

/** The stop sequences that `--stop` means. @throws ArgumentError for a text without tokens. */
export function stopSequences(text: string | undefined, tokenizer: Pick<Tokenizer, 'encode'>): number[][] {
  if (text === undefined) return [];
  const tokens = tokenizer.encode(text, { continues: true });
  if (tokens.length === 0) throw new ArgumentError({ argument: '--stop', received: 'a text without tokens' });
  return [tokens];
}

/** The field of a command that reads rows; a run of 0.1.0 has `v1`, so that it goes on with the same ones. */
export const rulesOption = z
  .enum(['v1', 'v2'])
  .default('v2')
  .describe('how rows are told, cut, compared, held out and padded; v1 is how 0.1.0 did it, in runs that it began');

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
