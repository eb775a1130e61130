/**
 * Writes src/config/options/: an interface for the input of every schema in src/config, with the help, the limits and the default of
 * each field as its documentation, which editors show. Groups of fields that several schemas have are in groups.ts. `npm run options`
 * runs it; a test says when it has to.
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

/** The interface of a schema. */
interface Described {
  name: string;
  about: string;
  /** Of the file in src/config that has the schema, and of the one that is written. */
  file: string;
  stem: string;
  schema: FieldSchema;
}

/** Names of groups that several schemas have, by their text. */
type Groups = ReadonlyMap<string, string>;

/** The files of src/config/options/ as they should be, by name. */
export async function optionFiles(): Promise<Map<string, string>> {
  const described = await interfaces();
  const groups = groupsOf(described);
  const files = new Map<string, string>();
  for (const { name, about, file, stem, schema } of described) {
    const text = `/** ${about} */\nexport interface ${name}Input ${objectType(schema, groups)}\n`;
    files.set(`${stem}.ts`, `${files.get(`${stem}.ts`) ?? header(file)}\n${text}`);
  }
  const written = new Map([...files].map(([name, text]) => [name, withImports(text, groups)]));
  return new Map(
    [...written, ['groups.ts', groupFile(groups)]].map(([name, text]) => [name as string, formatted(text as string)]),
  );
}

async function interfaces(): Promise<Described[]> {
  const found: Described[] = [];
  for (const file of readdirSync(config).filter((name) => name.endsWith('.ts'))) {
    const module = await import(pathToFileURL(join(config, file)).href);
    for (const [, about, name, stem] of readFileSync(join(config, file), 'utf8').matchAll(EXPORTED) as Iterable<
      string[]
    >) {
      const schema: ConfigSchema = module[`${name?.charAt(0).toLowerCase()}${name?.slice(1)}`];
      found.push({ about, name, stem, file, schema: fieldSchema(schema) } as Described);
    }
  }
  return found;
}

/** The groups that several schemas have. Where the group of a name differs between methods, the first method is in its name. */
function groupsOf(described: readonly Described[]): Groups {
  const uses = new Map<string, Map<string, Described[]>>();
  for (const one of described)
    for (const [key, field] of Object.entries(one.schema.properties ?? {})) {
      if (!field.properties) continue;
      const texts = uses.get(key) ?? new Map<string, Described[]>();
      const text = objectType(field);
      uses.set(key, texts.set(text, [...(texts.get(text) ?? []), one]));
    }
  const named = [...uses].flatMap(([key, texts]) => {
    const shared = [...texts].filter(([, users]) => users.length > 1);
    const ownName = (users: readonly Described[]) => (shared.length > 1 ? users[0]?.name.replace(/Config$/, '') : '');
    return shared.map(([text, users]): [string, string] => [text, `${ownName(users)}${capitalised(key)}Input`]);
  });
  return new Map(named);
}

function groupFile(groups: Groups): string {
  const texts = [...groups].sort(([, a], [, b]) => a.localeCompare(b));
  const head = '// Written by `npm run options`: groups of options that several methods have.\n';
  return head + texts.map(([text, name]) => `\nexport interface ${name} ${text}\n`).join('');
}

/** The text of a file, which begins with a comment, with imports of the groups that it mentions. */
function withImports(text: string, groups: Groups): string {
  const names = [...groups.values()].filter((name) => new RegExp(`\\b${name}\\b`).test(text)).sort();
  if (names.length === 0) return text;
  const [head = '', ...rest] = text.split('\n');
  return [head, `import type { ${names.join(', ')} } from './groups.ts';`, ...rest].join('\n');
}

function capitalised(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1);
}

function header(file: string): string {
  return `// Written by \`npm run options\` from src/config/${file}; change the schema there, not this file.\n`;
}

function objectType({ properties = {}, required = [] }: FieldSchema, groups: Groups = new Map()): string {
  const fields = Object.entries(properties).map(([key, field]) => {
    const [optional, orNot] = required.includes(key) ? ['', ''] : ['?', ' | undefined'];
    const group = field.properties && groups.get(objectType(field));
    return `${documentation(field)}${key}${optional}: ${group ?? typeOf(field)}${orNot};`;
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
  if (field.additionalProperties) return `Record<string, ${typeOf(field.additionalProperties)}>`;
  if (Object.keys(field).length === 0) return 'unknown';
  if (field.type === 'integer') return 'number';
  if (field.type === undefined) throw new Error(`no TypeScript type is known for ${JSON.stringify(field)}`);
  return field.type;
}

function documentation(field: FieldSchema): string {
  const words = field.description ?? '';
  const limits = field.properties || field.items || field.enum || field.type === 'boolean' ? '' : expectation(field);
  const sentences = [words, limits].filter(Boolean).map((text) => `${capitalised(text).replace(/\.$/, '')}.`);
  const preset = field.default === undefined || field.properties ? [] : [`@default ${JSON.stringify(field.default)}`];
  return `/**\n${[...sentences, ...preset].map((line) => ` * ${line.replaceAll('*/', '* /')}`).join('\n')}\n */\n`;
}

/** TypeScript as the formatter writes it. */
export function formatted(text: string): string {
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
