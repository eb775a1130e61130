/** The chat templates that the files of a model have, by name; most have one, called `default`. */
import { existsSync, readdirSync } from 'node:fs';
import { basename, join } from 'node:path';
import { readWholeText } from '../../files/regular-file.ts';
import { FileError, printable } from '../../errors.ts';
import { isObject, type Json } from '../pipeline/step.ts';

/** A template and where it is from. */
export interface FoundTemplate {
  source: string;
  name: string;
}

export type FoundTemplates = ReadonlyMap<string, FoundTemplate>;

const MAX_BYTES = 4 * 1024 * 1024;
const FILE = 'chat_template.jinja';
const FOLDER = 'additional_chat_templates';
const ENDING = '.jinja';

/**
 * The templates in the files of a folder, else those in `config`, its tokenizer_config.json, as transformers looks for them.
 * @throws FileError for what is not a template
 */
export function findTemplates(folder: string, config: Json): FoundTemplates {
  const own = join(folder, FILE);
  const more = join(folder, FOLDER);
  const others = existsSync(more) ? readdirSync(more).filter((name) => name.endsWith(ENDING)) : [];
  const files: [string, string][] = [
    ...(existsSync(own) ? [['default', own] as [string, string]] : []),
    ...others.map((name): [string, string] => [basename(name, ENDING), join(more, name)]),
  ];
  if (files.length === 0) return templatesIn(config, join(folder, 'tokenizer_config.json'));
  return new Map(files.map(([name, path]) => [name, { source: readTemplate(path), name: path }]));
}

function readTemplate(path: string): string {
  return readWholeText(path, { expected: 'a chat template', most: MAX_BYTES });
}

/** The templates in a tokenizer_config.json: one as text, or a list of names and templates. */
export function templatesIn({ chat_template: given }: Json, file: string): FoundTemplates {
  if (given === undefined || given === null) return new Map();
  const entries = typeof given === 'string' ? [{ name: 'default', template: given }] : given;
  if (!Array.isArray(entries) || !entries.every(isNamed)) {
    const received = `${printable(given)} as chat_template`;
    throw new FileError({
      argument: file,
      received,
      expected: 'a template, or a list with the name and template of each',
    });
  }
  const from = (name: string) =>
    typeof given === 'string' ? `chat_template of ${file}` : `the template ${name} of ${file}`;
  return new Map(entries.map(({ name, template }) => [name, { source: template, name: from(name) }]));
}

function isNamed(value: unknown): value is { name: string; template: string } {
  return isObject(value) && typeof value.name === 'string' && typeof value.template === 'string';
}
