/**
 * Writes src/config/options/: an interface for the input of every schema in src/config, with the help, the limits and the default of
 * each field as its documentation, which editors show. `npm run options` runs it; a test says when it has to.
 */
import { execFileSync } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { type ConfigSchema, expectation, type FieldSchema, fieldSchema } from '../src/config/schema.ts';

const root = join(import.meta.dirname, '..');
const config = join(root, 'src/config');
const folder = join(config, 'options');

/** A configuration's interface: its name, the schema behind it, and the sentence that describes it. */
const EXPORTED = /\/\*\* (.*?) \*\/\nexport type \{ (\w+)Input \} from '\.\/options\/([\w-]+)\.ts';/g;

/** The files of src/config/options/ as they should be, by name. */
export async function optionFiles(): Promise<Map<string, string>> {
  const files = new Map<string, string>();
  for (const file of readdirSync(config).filter((name) => name.endsWith('.ts'))) {
    const module = await import(pathToFileURL(join(config, file)).href);
    for (const [, about, name, stem] of readFileSync(join(config, file), 'utf8').matchAll(EXPORTED)) {
      const schema: ConfigSchema = module[(name as string).charAt(0).toLowerCase() + (name as string).slice(1)];
      const text = `/** ${about} */\nexport interface ${name}Input ${objectType(fieldSchema(schema))}\n`;
      files.set(`${stem}.ts`, `${files.get(`${stem}.ts`) ?? header(file)}\n${text}`);
    }
  }
  return new Map([...files].map(([name, text]) => [name, formatted(text)]));
}

function header(file: string): string {
  return `// Written by \`npm run options\` from src/config/${file}; change the schema there, not this file.\n`;
}

function objectType({ properties = {}, required = [] }: FieldSchema): string {
  const fields = Object.entries(properties).map(([key, field]) => {
    const [optional, orNot] = required.includes(key) ? ['', ''] : ['?', ' | undefined'];
    return `${documentation(field)}${key}${optional}: ${typeOf(field)}${orNot};`;
  });
  return `{\n${fields.join('\n')}\n}`;
}

function typeOf(field: FieldSchema): string {
  if (field.anyOf) return field.anyOf.map(typeOf).join(' | ');
  if (field.const !== undefined) return JSON.stringify(field.const);
  if (field.enum) return field.enum.map((value) => JSON.stringify(value)).join(' | ');
  if (field.prefixItems) return `[${field.prefixItems.map(typeOf).join(', ')}]`;
  if (field.items) return `(${typeOf(field.items)})[]`;
  if (field.properties) return objectType(field);
  if (field.type === 'integer') return 'number';
  if (field.type === undefined) throw new Error(`no TypeScript type is known for ${JSON.stringify(field)}`);
  return field.type;
}

function documentation(field: FieldSchema): string {
  const words = field.description ?? '';
  const limits = field.properties || field.items || field.enum || field.type === 'boolean' ? '' : expectation(field);
  const sentences = [words, limits]
    .filter(Boolean)
    .map((text) => `${text.charAt(0).toUpperCase()}${text.slice(1).replace(/\.$/, '')}.`);
  const preset = field.default === undefined || field.properties ? [] : [`@default ${JSON.stringify(field.default)}`];
  return `/**\n${[...sentences, ...preset].map((line) => ` * ${line.replaceAll('*/', '* /')}`).join('\n')}\n */\n`;
}

function formatted(text: string): string {
  const biome = join(root, 'node_modules/.bin/biome');
  return execFileSync(biome, ['format', '--stdin-file-path', 'src/config/options/file.ts'], {
    cwd: root,
    input: text,
    encoding: 'utf8',
  });
}

if (process.argv[1] === import.meta.filename) {
  const files = await optionFiles();
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder);
  for (const [name, text] of files) writeFileSync(join(folder, name), text);
}
