/** The recipes that are shipped: settings of published and of our own runs, as files beside the source of this one. */
import { readdirSync, readFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { readConfigFile } from '../config/file.ts';
import { ArgumentError, nearest, printable } from '../errors.ts';
import { packagePath } from '../package.ts';

const FOLDER = packagePath('src/recipes');
const ENDING = '.yaml';

/** A recipe that is shipped. */
export interface Recipe {
  name: string;
  path: string;
  /** The method that it is for. */
  method: string;
  /** What it is, in one line. */
  about: string;
  /** Its settings, without the method. */
  settings: Record<string, unknown>;
}

/** The names of all recipes. */
export function recipeNames(): string[] {
  const files = readdirSync(FOLDER).filter((file) => file.endsWith(ENDING));
  return files.map((file) => basename(file, ENDING)).sort();
}

/** The recipe of this name. @throws ArgumentError if there is none */
export function recipeNamed(name: string): Recipe {
  const names = recipeNames();
  if (!names.includes(name)) {
    const near = nearest(name, names);
    const fix = near === undefined ? undefined : `Did you mean ${near}?`;
    const expected = `one of ${names.join(', ')}`;
    throw new ArgumentError({ argument: 'recipe', received: printable(name), expected, fix });
  }
  const path = join(FOLDER, `${name}${ENDING}`);
  const { method, ...settings } = readConfigFile(path);
  return { name, path, method: method as string, about: firstComment(textOf(path)), settings };
}

/** The file of a recipe, as it is. */
export function textOf(path: string): string {
  return readFileSync(path, 'utf8');
}

/** The first line of comment that is for people, without its mark. */
function firstComment(text: string): string {
  const lines = text.split('\n').filter((line) => line.startsWith('# ') && !line.includes('$schema='));
  return (lines[0] ?? '').slice(2);
}
