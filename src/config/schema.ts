/**
 * The machinery around zod: a configuration is one strict object schema, and one line of it gives a field's default, type,
 * check and help. The "expected" part of an error message comes from the same line, through its JSON schema.
 */
import * as z from 'zod';
import { ConfigError, type ErrorDetail, nearest, printable } from '../errors.ts';
import { checkKind, having } from '../checks/kinds.ts';

/** The schema of a configuration: an object that rejects unknown keys. */
export type ConfigSchema = z.ZodObject;

/** The part of JSON schema that z.toJSONSchema produces for our fields. */
export interface FieldSchema {
  type?: string;
  description?: string;
  /** The allowed values in words, if the other keywords cannot express them. */
  expected?: string;
  /** Stands for the value in help, such as `file`. */
  placeholder?: string;
  default?: unknown;
  const?: unknown;
  enum?: unknown[];
  minimum?: number;
  exclusiveMinimum?: number;
  maximum?: number;
  exclusiveMaximum?: number;
  multipleOf?: number;
  anyOf?: FieldSchema[];
  prefixItems?: FieldSchema[];
  items?: FieldSchema;
  properties?: Record<string, FieldSchema>;
  /** What an object's other keys hold; false if it has no others. */
  additionalProperties?: FieldSchema | false;
  required?: string[];
}

const SCHEMA = having('a schema, such as ppoConfig', 'safeParse');

type Issue = z.core.$ZodIssue;
type Key = PropertyKey;

/**
 * Checks `value` against `schema` and fills in the defaults. `argument` is its name in errors, such as `pretrain`.
 * @throws ConfigError naming the first wrong key and listing the others.
 */
export function parseConfig<S extends ConfigSchema>(schema: S, value: unknown, argument: string): z.output<S> {
  checkKind('schema', schema, SCHEMA);
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  const json = fieldSchema(schema);
  const [first, ...others] = result.error.issues.flatMap((issue) => explain(issue, json, value, argument));
  const also = others.map((detail) => new ConfigError({ ...detail, fix: undefined }).message).join(' ');
  const fix = [first?.fix, also && `Also ${also}`].filter(Boolean).join(' ');
  throw new ConfigError({ ...(first as ErrorDetail), fix: fix === '' ? undefined : fix });
}

/** The same for an object that may have other keys, such as the configuration of a whole command: they are dropped. */
export function parseKnown<S extends ConfigSchema>(schema: S, value: unknown, argument: string): z.output<S> {
  return parseConfig(z.object(schema.shape), value, argument) as z.output<S>;
}

/** The JSON schema of the input: fields with a default are not required. */
export function fieldSchema(schema: ConfigSchema): FieldSchema {
  return z.toJSONSchema(schema, { io: 'input' }) as FieldSchema;
}

/** What a field accepts, in words: `an integer >= 1`, `one of cpu, cuda`. */
export function expectation(field: FieldSchema): string {
  if (field.expected !== undefined) return field.expected;
  if (field.anyOf) return field.anyOf.map(expectation).join(' or ');
  if (field.const !== undefined) return String(field.const);
  if (field.enum) return `one of ${field.enum.join(', ')}`;
  if (field.prefixItems) return `${field.prefixItems.length} values, each ${expectation(field.prefixItems[0] ?? {})}`;
  if (field.items) return `a list, each ${expectation(field.items)}`;
  if (field.type === 'boolean') return 'true or false';
  if (field.type === 'number' || field.type === 'integer') return numberExpectation(field);
  return field.type === 'string' ? 'text' : `an ${field.type}`;
}

function numberExpectation(field: FieldSchema): string {
  const noun = field.type === 'integer' ? 'an integer' : 'a finite number';
  const limits = [
    field.minimum !== undefined && field.minimum !== Number.MIN_SAFE_INTEGER && `>= ${field.minimum}`,
    field.exclusiveMinimum !== undefined && `> ${field.exclusiveMinimum}`,
    field.maximum !== undefined && field.maximum !== Number.MAX_SAFE_INTEGER && `<= ${field.maximum}`,
    field.exclusiveMaximum !== undefined && `< ${field.exclusiveMaximum}`,
  ].filter(Boolean);
  const multiple = field.multipleOf === undefined ? '' : ` that is a multiple of ${field.multipleOf}`;
  return `${noun}${limits.length === 0 ? '' : ` ${limits.join(' and ')}`}${multiple}`;
}

function explain(issue: Issue, json: FieldSchema, value: unknown, argument: string): ErrorDetail[] {
  const field = fieldAt(json, issue.path);
  if (issue.code === 'unrecognized_keys') {
    return issue.keys.map((key) => unknownKey(key, field?.properties ?? {}, pathName(argument, [...issue.path, key])));
  }
  const received = valueAt(value, issue.path);
  return [
    {
      argument: pathName(argument, issue.path),
      received: received === undefined ? 'nothing' : shown(received),
      expected: field === undefined || issue.code === 'custom' ? issue.message : expectation(field),
      fix: field === undefined ? undefined : remedy(field, received),
    },
  ];
}

function unknownKey(key: string, fields: Record<string, FieldSchema>, argument: string): ErrorDetail {
  const known = Object.keys(fields);
  const group = known.find((name) => Object.hasOwn(fields[name]?.properties ?? {}, key));
  if (group !== undefined) return { argument, received: 'an unknown key', fix: `Nest it under ${group}.` };
  const [outer = ''] = key.split('.');
  if (outer !== key && known.includes(outer))
    return { argument, received: 'an unknown key', fix: `Nest it under ${outer}, without "${outer}.".` };
  const near = nearest(key, known);
  if (near !== undefined) return { argument, received: 'an unknown key', fix: `Did you mean ${near}?` };
  return { argument, received: 'an unknown key', expected: known.length === 0 ? 'none' : `one of ${known.join(', ')}` };
}

function remedy(field: FieldSchema, received: unknown): string | undefined {
  if (received === undefined) return 'It is required: it has no default.';
  if (field.default === undefined || field.properties) return undefined;
  return `Leave it out for the default, ${printable(field.default)}.`;
}

function fieldAt(json: FieldSchema, path: Key[]): FieldSchema | undefined {
  let field: FieldSchema | undefined = json;
  for (const key of path) field = typeof key === 'number' ? field?.prefixItems?.[key] : keyIn(field, String(key));
  return field;
}

function keyIn(field: FieldSchema | undefined, key: string): FieldSchema | undefined {
  return field?.properties?.[key] ?? (field?.additionalProperties || undefined);
}

function valueAt(value: unknown, path: Key[]): unknown {
  return path.reduce<unknown>((inner, key) => (inner as Record<Key, unknown> | null | undefined)?.[key], value);
}

// Objects are not printed: they may be deep, cyclic or long, and the key already says where to look.
function shown(value: unknown): string {
  if (Array.isArray(value)) return value.some((item) => typeof item === 'object') ? 'a list' : printable(value);
  return typeof value === 'object' && value !== null ? 'an object' : printable(value);
}

function pathName(argument: string, path: Key[]): string {
  return [argument, ...path.map((key) => (/^[\w-]+$/.test(String(key)) ? String(key) : printable(String(key))))].join(
    '.',
  );
}
