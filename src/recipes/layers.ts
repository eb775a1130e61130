/** What recipes and configuration files give to a training command. */
import { fromHome } from '../config/fields.ts';
import { readConfigFile } from '../config/file.ts';
import type { Layer } from '../config/layers.ts';
import { ArgumentError, ConfigError, printable } from '../errors.ts';
import { recipeNamed } from './recipes.ts';

/** A recipe file, as read: what it is for, the shipped recipe it builds on, and settings. */
export interface RecipeFile {
  method: string | undefined;
  recipe: string | undefined;
  settings: Record<string, unknown>;
}

/** Reads a configuration file, which may name a method and a recipe. @throws FileError, ConfigError as readConfigFile does */
export function readRecipeFile(path: string): RecipeFile {
  const { method, recipe, ...settings } = readConfigFile(fromHome(path));
  for (const [key, value] of Object.entries({ method, recipe })) {
    if (value === undefined || typeof value === 'string') continue;
    throw new ConfigError({ argument: `${path}: ${key}`, received: printable(value), expected: 'a name' });
  }
  return { method, recipe, settings } as RecipeFile;
}

/**
 * The settings of a training command's `--recipe` and `--config`, the lower first. The file may name a recipe too; the
 * one on the command line replaces it.
 * @throws ArgumentError for a recipe or a file that is for another method than `name`.
 */
export function recipeLayers(name: string, { recipe, config }: { recipe?: string; config?: string }): Layer[] {
  const file = config === undefined ? undefined : readRecipeFile(config);
  if (file?.method !== undefined) checkMethod(`--config ${config}`, file.method, name);
  const chosen = recipe ?? file?.recipe;
  const layers: Layer[] = [];
  if (chosen !== undefined) {
    const { path, method, settings } = recipeNamed(chosen);
    checkMethod(`recipe ${chosen}`, method, name);
    layers.push({ path, values: settings });
  }
  if (file !== undefined) layers.push({ path: config, values: file.settings });
  return layers;
}

function checkMethod(argument: string, method: string, name: string): void {
  if (method === name) return;
  const fix = `Use the command ${method}, or palm train, which finds the method.`;
  throw new ArgumentError({ argument, received: `settings of the method ${method}`, expected: name, fix });
}
