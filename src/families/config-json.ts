/** Reads what config.json says of a model: everything that changes the arithmetic is known, or the model is refused. */
import type * as z from 'zod';
import { ConfigError, nearest, printable } from '../errors.ts';
import { JsonError, parseJson } from '../files/json.ts';
import { isHarmless, type KnownKeys } from './config-keys.ts';

/** A parsed config.json. */
export type ConfigJson = Readonly<Record<string, unknown>>;

const MAX_VALUES = 100_000;

/** Parses the text of a config.json. @throws ConfigError if it is no JSON object. */
export function parseConfigJson(text: string, argument = 'config.json'): ConfigJson {
  const refuse = (received: string, cause?: unknown) =>
    new ConfigError({ argument, received, expected: 'a JSON object', cause });
  let value: unknown;
  try {
    value = parseJson(text, MAX_VALUES);
  } catch (cause) {
    throw cause instanceof JsonError ? refuse(cause.message, cause) : cause;
  }
  if (value === null || typeof value !== 'object' || Array.isArray(value)) throw refuse('JSON of another kind');
  return value as ConfigJson;
}

/** How a family reads its configuration. */
export interface ConfigReading extends KnownKeys {
  /** The keys that it understands, with the defaults of the class in transformers. */
  schema: z.ZodObject;
  /** Other spellings of these keys. */
  spellings?: Readonly<Record<string, string>>;
}

/**
 * The values of the keys that `reading` understands. `ignored` names keys that are taken to mean nothing.
 * @throws ConfigError naming the keys that are not known, or the first value that is not.
 */
export function readConfig(json: ConfigJson, reading: ConfigReading, ignored: readonly string[] = []): object {
  checkIgnored(json, reading, ignored);
  const known = reading.schema.shape;
  const left = Object.entries(json).map(([key, value]) => [spelled(key, json, reading), value] as const);
  const strange = left.filter(
    ([key, value]) => !Object.hasOwn(known, key) && !ignored.includes(key) && !isHarmless(key, value, reading),
  );
  if (strange.length > 0) throw unknown(strange);
  const understood = left.filter(([key]) => Object.hasOwn(known, key));
  const result = reading.schema.safeParse(Object.fromEntries(understood));
  if (result.success) return result.data;
  throw refused(result.error.issues[0] as z.core.$ZodIssue, json);
}

function spelled(key: string, json: ConfigJson, { spellings = {} }: ConfigReading): string {
  const other = Object.hasOwn(spellings, key) ? spellings[key] : undefined;
  return other !== undefined && !Object.hasOwn(json, other) ? other : key;
}

/** @throws ConfigError for a key that is not there, or that is understood. */
function checkIgnored(json: ConfigJson, reading: ConfigReading, ignored: readonly string[]): void {
  for (const key of ignored) {
    const understood = Object.hasOwn(reading.schema.shape, key);
    if (Object.hasOwn(json, key) && !understood) continue;
    const near = nearest(key, Object.keys(json));
    throw new ConfigError({
      argument: 'ignoreConfigKeys',
      received: `${printable(key)}, ${understood ? 'which palm-rlhf knows' : 'which config.json does not have'}`,
      expected: 'keys of config.json that palm-rlhf does not know',
      ...(near === undefined || understood ? {} : { fix: `Did you mean ${printable(near)}?` }),
    });
  }
}

function unknown(strange: readonly (readonly [key: string, value: unknown])[]): ConfigError {
  const shown = strange.slice(0, 8).map(([key, value]) => `${quoted(key)}: ${printable(value)}`);
  const more = strange.length > shown.length ? ` and ${strange.length - shown.length} more` : '';
  const names = strange.slice(0, 8).map(([key]) => printable(key));
  return new ConfigError({
    argument: 'config.json',
    problem: `this model says ${shown.join(' and ')}${more}, which palm-rlhf does not know`,
    fix: `If it changes nothing that the model computes, pass ignoreConfigKeys: [${names.join(', ')}].`,
  });
}

function refused(issue: z.core.$ZodIssue, json: ConfigJson): ConfigError {
  const path = issue.path.map(String);
  const at = (value: unknown, key: string) => (Object(value) as Record<string, unknown>)[key];
  if (issue.code === 'unrecognized_keys') {
    const inner = path.reduce(at, json as unknown);
    return unknown(issue.keys.map((key) => [[...path, key].join('.'), at(inner, key)] as const));
  }
  const value = path.reduce(at, json as unknown);
  const said = value === undefined ? 'nothing' : printable(value);
  return new ConfigError({
    argument: 'config.json',
    problem: `this model says ${quoted(path.join('.'))} ${said}, which palm-rlhf does not know (${issue.message})`,
  });
}

function quoted(key: string): string {
  return `\`${printable(key).slice(1, -1)}\``;
}
