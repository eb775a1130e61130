/**
 * Writes the JSON schemas of recipes and of sweeps into src/recipes/, which editors use to complete and to check them.
 * `npm run options` runs it; a test says when it has to.
 */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import * as z from 'zod';
import type { ConfigSchema } from '../src/config/schema.ts';
import { sweepConfig } from '../src/config/sweep.ts';
import { methods } from '../src/methods.ts';
import { recipeNamed, recipeNames } from '../src/recipes/recipes.ts';

const folder = join(import.meta.dirname, '../src/recipes');

type Json = Record<string, unknown>;

/** The text of recipe.schema.json as it should be. */
export function recipeSchema(): string {
  const names = Object.keys(methods) as (keyof typeof methods)[];
  const common = {
    method: { enum: names, description: 'how to train (default: by the shipped recipe, or by the data)' },
    recipe: { enum: recipeNames(), description: 'shipped recipe whose settings are used where this file has none' },
  };
  const schema = {
    $schema: 'https://json-schema.org/draft/2020-12/schema',
    title: 'Recipe of palm-rlhf',
    description: 'The settings of a training run, for palm train and --config.',
    type: 'object',
    properties: common,
    // biome-ignore lint/suspicious/noThenProperty: a keyword of JSON schema
    allOf: names.map((name) => ({ if: isFor(name), then: { $ref: `#/$defs/${name}` } })),
    $defs: Object.fromEntries(names.map((name) => [name, definition(name, common)])),
  };
  return `{\n${lines(schema, 1)}\n}\n`;
}

/** The members of an object, each on a line, and those of `$defs` too: a change of a method is a change of one line. */
function lines(members: Json, indent: number): string {
  const line = ([key, value]: [string, unknown]) => {
    const text =
      key === '$defs' ? `{\n${lines(value as Json, indent + 1)}\n${'  '.repeat(indent)}}` : JSON.stringify(value);
    return `${'  '.repeat(indent)}${JSON.stringify(key)}: ${text}`;
  };
  return Object.entries(members).map(line).join(',\n');
}

/** Whether a recipe names this method, or builds on a shipped recipe for it. */
function isFor(name: string): Json {
  const named = { properties: { method: { const: name } }, required: ['method'] };
  const recipes = recipeNames().filter((recipe) => recipeNamed(recipe).method === name);
  if (recipes.length === 0) return named;
  return { anyOf: [named, { properties: { recipe: { enum: recipes } }, required: ['recipe'] }] };
}

/** The settings of a method. None is required: the command line may have it. */
function definition(name: keyof typeof methods, common: Json): Json {
  const { $schema: _, required: __, properties, ...rest } = jsonOf(methods[name].schema);
  return { ...rest, properties: { ...common, ...properties } };
}

/** The text of sweep.schema.json as it should be. */
export function sweepSchema(): string {
  const { $schema, ...rest } = jsonOf(sweepConfig);
  const about = { title: 'Sweep of palm-rlhf', description: 'What palm sweep tries.' };
  return `{\n${lines({ $schema, ...about, ...rest }, 1)}\n}\n`;
}

function jsonOf(schema: ConfigSchema): Json & { properties?: object } {
  return z.toJSONSchema(schema, {
    io: 'input',
    override: ({ jsonSchema }) => {
      for (const ours of ['placeholder', 'expected']) delete (jsonSchema as Json)[ours];
    },
  }) as Json;
}

if (process.argv[1] === import.meta.filename) {
  writeFileSync(join(folder, 'recipe.schema.json'), recipeSchema());
  writeFileSync(join(folder, 'sweep.schema.json'), sweepSchema());
}
