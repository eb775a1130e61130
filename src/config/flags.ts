/** Command-line flags generated from a schema: nested fields become dotted flags (`--model.dim 256`). */
import { type ConfigSchema, expectation, type FieldSchema, fieldSchema } from './schema.ts';

/** One flag; `name` has no dashes. */
export interface Flag {
  name: string;
  description: string;
  /** Name and description of the object it is nested in; undefined at the top. */
  group: { name: string; description: string } | undefined;
  /** The allowed values, in words. Boolean flags take no value. */
  expected: string;
  /** Stands for the value in help, such as `n`. */
  placeholder: string;
  default: unknown;
  required: boolean;
  /** Whether `--name VALUE` is accepted, and whether `--no-name` is, which means false. */
  takesValue: boolean;
  takesNo: boolean;
  /** Whether the flag may be given several times; then the values are a list. */
  repeats: boolean;
  /** Converts the text after the flag to a value. Text of the wrong type stays text, and the schema rejects it. */
  parse(text: string): unknown;
}

/** The flags of a schema in the order of its fields, including those of nested objects. */
export function flagsOf(schema: ConfigSchema): Flag[] {
  return nestedFlags(fieldSchema(schema), '', true, undefined);
}

/**
 * Overrides the values of a file with flags: `{ 'model.dim': 256 }` replaces `dim` in the object `model`. Undefined values
 * are flags that were not given. Neither argument is changed.
 */
export function mergeFlags(file: Record<string, unknown>, flags: Record<string, unknown>): Record<string, unknown> {
  const merged = { ...file };
  for (const [name, value] of Object.entries(flags)) {
    if (value !== undefined) setAt(merged, name.split('.'), value);
  }
  return merged;
}

function nestedFlags(object: FieldSchema, prefix: string, parentRequired: boolean, group: Flag['group']): Flag[] {
  return Object.entries(object.properties ?? {}).flatMap(([key, field]) => {
    const required = parentRequired && (object.required ?? []).includes(key);
    return field.properties
      ? nestedFlags(field, `${prefix}${key}.`, required, { name: prefix + key, description: field.description ?? '' })
      : [flagOf(`${prefix}${key}`, field, required, group)];
  });
}

function flagOf(name: string, field: FieldSchema, required: boolean, group: Flag['group']): Flag {
  const kinds = field.anyOf ?? [field];
  return {
    name,
    description: field.description ?? '',
    group,
    expected: expectation(field),
    placeholder: field.placeholder ?? placeholder(kinds[0] ?? field),
    default: field.default,
    required,
    takesValue: kinds.some((kind) => kind.type !== 'boolean'),
    takesNo: kinds.some((kind) => kind.type === 'boolean'),
    repeats: kinds.some((kind) => kind.items !== undefined),
    parse: (text) => parseText(text, kinds),
  };
}

function placeholder(kind: FieldSchema): string {
  if (kind.enum) return kind.enum.join('|');
  if (kind.prefixItems) return kind.prefixItems.map(placeholder).join(',');
  return kind.type === 'integer' ? 'n' : kind.type === 'number' ? 'x' : 'text';
}

function parseText(text: string, kinds: FieldSchema[]): unknown {
  const list = kinds.find((kind) => kind.prefixItems);
  if (list) return text.split(',').map((item) => parseText(item.trim(), list.prefixItems ?? []));
  const numeric = kinds.some((kind) => kind.type === 'number' || kind.type === 'integer');
  return numeric && /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i.test(text) ? Number(text) : text;
}

// If the file has something other than an object here, it stays, so that the schema reports it.
function setAt(target: Record<string, unknown>, [key, ...rest]: string[], value: unknown): void {
  if (key === undefined) return;
  const inner = Object.hasOwn(target, key) ? target[key] : undefined;
  if (rest.length === 0) target[key] = value;
  else if (inner === undefined || isObject(inner)) {
    const copy = { ...inner };
    setAt(copy, rest, value);
    target[key] = copy;
  }
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
