/**
 * Writes src/recipes/recipe.schema.json, the JSON schema of recipes, which editors use to complete and to check them.
 * `npm run options` runs it; a test says when it has to.
 */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { methods } from '../src/methods.ts';
import { recipeNamed, recipeNames } from '../src/recipes/recipes.ts';

const file = join(import.meta.dirname, '../src/recipes/recipe.schema.json');

type Json = Record<string, unknown>;

/** The text of the file as it should be. */
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
  const json = z.toJSONSchema(methods[name].schema, {
    io: 'input',
    override: ({ jsonSchema }) => {
      for (const ours of ['placeholder', 'expected']) delete (jsonSchema as Json)[ours];
    },
  });
  const { $schema: _, required: __, properties, ...rest } = json;
  return { ...rest, properties: { ...common, ...properties } };
}

if (process.argv[1] === import.meta.filename) writeFileSync(file, recipeSchema());
