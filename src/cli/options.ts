/** Configurable commands: flags override the config file, which overrides a recipe, which overrides the defaults. */
import { existsSync } from 'node:fs';
import { Command, Option } from 'commander';
import type * as z from 'zod';
import { fromHome } from '../config/fields.ts';
import { readConfigFile } from '../config/file.ts';
import { type Flag, flagsOf, mergeFlags } from '../config/flags.ts';
import { type Layer, parseLayers } from '../config/layers.ts';
import { type ConfigSchema, parseConfig } from '../config/schema.ts';
import { ArgumentError } from '../errors.ts';
import { isUrl } from '../rewards/server.ts';
import { runDirectory } from '../runs/run-directory.ts';
import type { Resume } from '../training/run.ts';
import { addFlags, addRunOptions, configureHelp } from './help.ts';
import { checkSameModel, readNote, settingsChanged } from '../runs/run-note.ts';
import { recipeLayers } from '../recipes/layers.ts';
import { warn } from './warn.ts';

/**
 * A command that takes `--config FILE` and a flag for every field of `schema`. Wrong values throw a ConfigError. The
 * field `positional`, if given, becomes the argument of the command instead of a flag; the field `optional` may also be given as
 * the argument after it. `options` are further options of the command, outside the configuration; `run` gets their values by their
 * names.
 */
export function configuredCommand<S extends ConfigSchema>(
  name: string,
  schema: S,
  run: (config: z.output<S>, others: Record<string, unknown>) => Promise<void>,
  positional?: keyof S['shape'] & string,
  optional?: keyof S['shape'] & string,
  options: readonly Option[] = [],
): Command {
  const flags = flagsOf(schema);
  const named = command(
    name,
    flags.filter((flag) => flag.name !== positional),
  );
  addRunOptions(named, options);
  const act = async ({ config: file, ...given }: Record<string, unknown>) => {
    const layers: Layer[] = [];
    if (typeof file === 'string') layers.push({ path: file, values: readConfigFile(fromHome(file)) });
    const { own, flags } = apart(given, options);
    await run(parseLayers(schema, name, [...layers, { values: mergeFlags({}, flags) }]), own);
  };
  if (positional === undefined) return named.action(act);
  const place = flags.find((flag) => flag.name === positional);
  named.argument(`<${positional.toUpperCase()}${place?.repeats ? '...' : ''}>`, place?.description);
  if (optional === undefined)
    return named.action((value: unknown, given: Record<string, unknown>) => act({ ...given, [positional]: value }));
  return named
    .argument(`[${optional.toUpperCase()}]`, `the same as --${optional}`)
    .action((value: string, other: string | undefined, given: Record<string, unknown>) => {
      const twice = other !== undefined && given[optional] !== undefined;
      if (twice) throw new ArgumentError({ argument: `--${optional}`, problem: 'is given twice' });
      const more = other === undefined ? {} : { [optional]: other };
      return act({ ...given, ...more, [positional]: value });
    });
}

/**
 * Like `configuredCommand`, for a command that fills the run folder `out`, a field of `schema`. Adds `--recipe`, whose
 * settings are below those of the file; `--resume`, which loads the saved configuration below all others and warns of what
 * these change; and `--dry-run`, which must change nothing. `before` brings the saved configuration of a 0.1.0 run to today's form. `options` are further options of the
 * command, outside the configuration; `run` gets their values by their names.
 */
export function runCommand<S extends ConfigSchema>(
  name: string,
  schema: S,
  run: (config: z.output<S>, resume: Resume, others: { dryRun: boolean }) => Promise<void>,
  before: (saved: Record<string, unknown>) => Record<string, unknown> = (saved) => saved,
  options: readonly Option[] = [],
): Command {
  const flags = flagsOf(schema);
  const result = command(name, flags);
  addRunOptions(result, [
    new Option('--recipe <name>', 'start from the settings of a recipe: palm recipes list'),
    new Option(
      '--resume [dir]',
      'resume the run in --out with its configuration, from the checkpoint in dir or its newest complete one',
    ),
    new Option('--dry-run', 'validate configuration and data, estimate memory, and exit'),
    ...options,
  ]);
  return result.action(
    async ({ config, recipe, resume = false, dryRun = false, ...given }: Record<string, unknown>) => {
      const saved = resume === false ? {} : savedConfig(given.out, before);
      const { own, flags } = apart(given, options);
      const files = recipeLayers(name, { recipe, config } as { recipe?: string; config?: string });
      const settings = parseLayers(schema, name, [{ values: saved }, ...files, { values: mergeFlags({}, flags) }]);
      if (resume !== false) {
        const then = parseConfig(schema, saved, name);
        checkSameModel(then, settings);
        warnOfChanges(then, settings);
      }
      const from = typeof resume === 'string' ? fromHome(resume) : (resume as boolean);
      await run(settings, from, { ...own, dryRun: dryRun === true });
    },
  );
}

/** The values of `options`, and those of the flags of a schema. */
function apart(given: Record<string, unknown>, options: readonly Option[]) {
  const others = options.map((option) => option.attributeName());
  const isOwn = ([key]: [string, unknown]) => others.includes(key);
  const own = Object.fromEntries(Object.entries(given).filter(isOwn));
  const flags = Object.fromEntries(Object.entries(given).filter((entry) => !isOwn(entry)));
  return { own, flags };
}

/** Settings whose changes are not reported: they do not affect the results, or the checkpoint covers them. */
const UNREPORTED = ['out', 'device', 'checkpoint.every', 'checkpoint.keep'];
/** Files whose content is recorded in run.json, which says more than their paths. */
const FILES = ['data', 'validation', 'model', 'reward', 'tokenizer'];

function warnOfChanges(then: Record<string, unknown>, now: Record<string, unknown>): void {
  const noted = existsSync(runDirectory(now.out as string).note);
  // A reward may also be a URL, or have weights.
  const isFile = ({ reward }: Record<string, unknown>) => typeof reward === 'string' && !isUrl(reward);
  const recorded = FILES.filter((name) => name !== 'reward' || (isFile(then) && isFile(now)));
  for (const change of settingsChanged(then, now, noted ? [...UNREPORTED, ...recorded] : UNREPORTED)) warn(change);
}

function command(name: string, flags: Flag[]): Command {
  const result = configureHelp(new Command(name), flags);
  addFlags(result, flags);
  addRunOptions(result, [new Option('--config <file>', 'YAML or JSON with the options above; flags override it')]);
  return result;
}

/** The configuration of the run in `out`, with the run's own copy of the tokenizer if it has one. */
function savedConfig(
  out: unknown,
  before: (saved: Record<string, unknown>) => Record<string, unknown>,
): Record<string, unknown> {
  if (typeof out !== 'string') {
    throw new ArgumentError({
      argument: '--resume',
      problem: 'needs --out',
      fix: 'Add --out with the folder of the run.',
    });
  }
  const run = runDirectory(fromHome(out));
  if (!existsSync(run.config)) {
    const problem = 'holds no run';
    throw new ArgumentError({ argument: `--out ${out}`, problem, fix: 'Leave out --resume to start one there.' });
  }
  const saved = readConfigFile(run.config);
  if (existsSync(run.tokenizer)) saved.tokenizer = run.tokenizer;
  return readNote(run.note) === undefined ? before(saved) : saved;
}
