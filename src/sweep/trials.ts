/** From the settings of a sweep to its trials, each with the configuration of its runs. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { fromHome } from '../config/fields.ts';
import { flagsOf, mergeFlags } from '../config/flags.ts';
import { type Layer, parseLayers } from '../config/layers.ts';
import type { SweepConfig } from '../config/sweep.ts';
import { ConfigError, nearest, printable } from '../errors.ts';
import { methods } from '../methods.ts';
import type { Method, RunConfig } from '../methods/method.ts';
import { readRecipeFile, recipeLayers } from '../recipes/layers.ts';
import { recipeNamed, recipeNames } from '../recipes/recipes.ts';
import { type Parameters, parametersOf } from './parameters.ts';

type MethodName = keyof typeof methods;

/** A trial: its number, from 1, its parameters, and the configurations of its runs, which differ in their seeds. */
export interface Trial {
  trial: number;
  parameters: Parameters;
  runs: readonly RunConfig[];
}

/** What a sweep runs. */
export interface Trials {
  name: MethodName;
  method: Method;
  trials: readonly Trial[];
}

/**
 * The trials of a sweep in the folder `out`.
 * @throws ConfigError for an unknown method, recipe or parameter, and for a setting of any trial that its method refuses.
 * @throws FileError if the recipe file cannot be read.
 */
export function trialsOf(config: SweepConfig, out: string): Trials {
  const { name, layers } = runOf(config.run);
  checkKeys(config, name);
  const method: Method = methods[name];
  const drawn = parametersOf(config);
  const digits = Math.max(3, String(drawn.length).length);
  const trials = drawn.map((parameters, i): Trial => {
    const folder = join(out, `trial-${String(i + 1).padStart(digits, '0')}`);
    const own = [
      ...layers,
      { values: config.base },
      { values: mergeFlags({}, parameters) },
      { values: { out: folder } },
    ];
    const parsed = attempt(i + 1, () => parseLayers(method.schema, name, own)) as RunConfig & Record<'seed', number>;
    return { trial: i + 1, parameters, runs: repeated(parsed, config.repeats) };
  });
  return { name, method, trials };
}

/** A run for each repeat, in folders of their own where there are several. */
function repeated(config: RunConfig & { seed: number }, repeats: number): RunConfig[] {
  if (repeats === 1) return [config];
  return Array.from({ length: repeats }, (_, i) => {
    return { ...config, seed: config.seed + i, out: `${config.out}-${i + 1}` } as RunConfig;
  });
}

/** The method that `run` names, and the settings of its recipe. */
function runOf(run: string): { name: MethodName; layers: Layer[] } {
  if (isMethod(run)) return { name: run, layers: [] };
  if (existsSync(fromHome(run))) {
    const { method, recipe } = readRecipeFile(run);
    const name = method ?? (recipe === undefined ? undefined : recipeNamed(recipe).method);
    if (name !== undefined && isMethod(name)) return { name, layers: recipeLayers(name, { config: run }) };
    const expected = `one of ${Object.keys(methods).join(', ')}`;
    const received = name === undefined ? 'nothing' : printable(name);
    throw new ConfigError({ argument: `${run}: method`, received, expected, fix: 'Add a line such as `method: dpo`.' });
  }
  if (recipeNames().includes(run)) {
    const name = recipeNamed(run).method as MethodName;
    return { name, layers: recipeLayers(name, { recipe: run }) };
  }
  const near = nearest(run, [...Object.keys(methods), ...recipeNames()]);
  throw new ConfigError({
    argument: 'sweep.run',
    received: printable(run),
    expected: 'a method, a name of palm recipes list, or a recipe file',
    fix: near === undefined ? undefined : `Did you mean ${near}?`,
  });
}

function isMethod(name: string): name is MethodName {
  return Object.hasOwn(methods, name);
}

/** @throws ConfigError for a parameter that the method does not have, and for one that the sweep itself sets. */
function checkKeys({ base, parameters, repeats }: SweepConfig, name: MethodName): void {
  const known = flagsOf(methods[name].schema).map((flag) => flag.name);
  if (Object.hasOwn(base, 'out')) refuse('base.out', 'nothing: trials are in the folder of the sweep');
  for (const key of Object.keys(parameters)) {
    const argument = `parameters.${/^[\w-]+$/.test(key) ? key : printable(key)}`;
    if (key === 'out') refuse(argument, 'nothing: trials are in the folder of the sweep');
    if (key === 'seed' && repeats > 1) refuse(argument, 'nothing: repeats are runs with other seeds');
    if (known.includes(key)) continue;
    const near = nearest(key, known) ?? known.find((other) => other.endsWith(`.${key}`));
    const fix = near === undefined ? 'palm METHOD --help lists them.' : `Did you mean ${near}?`;
    throw new ConfigError({ argument: `sweep.${argument}`, received: `no option of ${name}`, expected: 'one', fix });
  }
}

function refuse(key: string, expected: string): never {
  throw new ConfigError({ argument: `sweep.${key}`, received: 'a value', expected, fix: 'Leave it out.' });
}

/** Names the trial in the error of a wrong setting. */
function attempt<T>(trial: number, parse: () => T): T {
  try {
    return parse();
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    throw new ConfigError({ ...error, argument: `trial ${trial}: ${error.argument}`, cause: error });
  }
}
