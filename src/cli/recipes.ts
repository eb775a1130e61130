/** `palm train RECIPE` trains by the method of a recipe; `palm recipes list | show` shows those that are shipped. */
import { existsSync } from 'node:fs';
import { Command } from 'commander';
import { fromHome } from '../config/fields.ts';
import { ArgumentError, ConfigError, nearest, printable } from '../errors.ts';
import { methods } from '../methods.ts';
import { recipeNamed, recipeNames, textOf } from '../recipes/recipes.ts';
import { type MethodName, methodOfData } from './method-of-data.ts';
import { readRecipeFile } from '../recipes/layers.ts';
import { table } from './table.ts';
import { trainingCommand } from './train.ts';

const HELP = `
The options are those of the method: palm METHOD --help lists them.
They override the recipe.

A recipe is a YAML or JSON file:
  method: dpo         # without it, the data says which: dpo for pairs, sft for
                      # responses, pretrain for text; ppo with a reward
  recipe: zephyr-dpo  # if given: a shipped recipe, for settings this file lacks
  model: runs/base
  data: pairs.jsonl
  out: runs/dpo
  beta: 0.2

Examples:
  palm train run.yaml
  palm train run.yaml --lr 1e-4 --out runs/slower
  palm train tiny-cpu --model runs/base --data prompts.jsonl \\
    --reward ./reward.mjs --out runs/ppo`;

/** The `train` command. */
export function trainCommand(): Command {
  return new Command('train')
    .description('train as a recipe says: a file, or one of those that are shipped')
    .argument('<recipe>', 'a YAML or JSON file, or a name of palm recipes list')
    .usage('<recipe> [options of the method]')
    .allowUnknownOption()
    .allowExcessArguments()
    .helpOption('-h, --help', 'show this help')
    .addHelpText('after', HELP)
    .action(async (_: string, __: object, { args }: Command) => await trainBy(args as [string, ...string[]]));
}

async function trainBy([recipe, ...options]: [string, ...string[]]): Promise<void> {
  if (recipe.startsWith('-')) {
    const expected = 'a recipe, and the options after it';
    throw new ArgumentError({ argument: 'palm train', received: recipe, expected });
  }
  const shipped = !existsSync(fromHome(recipe)) && recipeNames().includes(recipe);
  const option = shipped ? '--recipe' : '--config';
  if (options.some((word) => word === option || word.startsWith(`${option}=`))) {
    const fix = shipped ? 'Use palm METHOD --recipe NAME.' : 'Join the two files.';
    throw new ArgumentError({ argument: option, received: 'a second recipe', expected: 'one', fix });
  }
  const method = shipped ? (recipeNamed(recipe).method as MethodName) : await methodOf(recipe, options);
  await trainingCommand(method)
    .exitOverride()
    .parseAsync([option, recipe, ...options], { from: 'user' });
}

/** The method of a recipe file: the one it names, that of the shipped recipe it builds on, or that of its data. */
async function methodOf(path: string, options: readonly string[]): Promise<MethodName> {
  const { method, recipe, settings } = readRecipeFile(path);
  const named = method ?? (recipe === undefined ? undefined : recipeNamed(recipe).method);
  if (named === undefined) return await methodOfData({ ...settings, ...dataFlags(options) });
  if (Object.hasOwn(methods, named)) return named as MethodName;
  const near = nearest(named, Object.keys(methods));
  throw new ConfigError({
    argument: `${path}: method`,
    received: printable(named),
    expected: `one of ${Object.keys(methods).join(', ')}`,
    fix: near === undefined ? undefined : `Did you mean ${near}?`,
  });
}

/** The flags that say what a run learns from. */
function dataFlags(options: readonly string[]): Record<string, unknown> {
  const collect = (value: string, before: string[] = []) => [...before, value];
  const command = new Command().allowUnknownOption().option('--form <form>').option('--map <map>');
  command.option('--data <file>', '', collect).option('--reward <from>', '', collect).option('--model <path>');
  command.parseOptions([...options]);
  return command.opts();
}

/** The `recipes` command with its two subcommands. */
export function recipesCommand(): Command {
  const list = new Command('list').description('list the recipes that are shipped').action(() => {
    console.log(table(recipeNames().map((name) => [name, recipeNamed(name).about])));
  });
  const show = new Command('show')
    .description('print a recipe, to copy or to change')
    .argument('<name>', 'a name of palm recipes list')
    .action((name: string) => {
      process.stdout.write(textOf(recipeNamed(name).path));
    });
  return new Command('recipes').description('look at the recipes that are shipped').addCommand(list).addCommand(show);
}
