/** Settings from several places: which one counts, and which one is to blame for a wrong value. */
import { ConfigError } from '../errors.ts';
import { lineOfKey } from './file.ts';
import { type ConfigSchema, parseConfig } from './schema.ts';
import type * as z from 'zod';

type Settings = Readonly<Record<string, unknown>>;

/** Settings from one place. */
export interface Layer {
  /** The file they were read from; without it, errors name the setting alone. */
  path?: string | undefined;
  values: Settings;
}

/**
 * Checks the settings of all `layers` together and fills in defaults. A setting counts where the last layer has it; objects
 * are joined key by key. `name` stands for the settings in errors.
 * @throws ConfigError, which also names file and line if the wrong value comes from a file.
 */
export function parseLayers<S extends ConfigSchema>(schema: S, name: string, layers: readonly Layer[]): z.output<S> {
  try {
    return parseConfig(schema, joined(layers), name);
  } catch (error) {
    throw located(error, name, layers);
  }
}

/** The error about a setting of `name`, with the file and the line that the setting comes from; other errors as they are. */
export function located(error: unknown, name: string, layers: readonly Layer[]): unknown {
  if (!(error instanceof ConfigError) || !error.argument.startsWith(name)) return error;
  const keys = keysOf(error.argument.slice(name.length));
  const { path } = layerOf(keys, layers) ?? {};
  if (path === undefined) return error;
  const line = lineOfKey(path, keys);
  const place = line === undefined ? path : `${path}:${line}`;
  return new ConfigError({ ...error, argument: `${place}: ${error.argument}`, cause: error });
}

/** The settings of all layers; those of later ones replace those of earlier ones. */
export function joined(layers: readonly Layer[]): Record<string, unknown> {
  return layers.reduce((below, { values }) => join(below, values), {});
}

function join(below: Settings, above: Settings): Record<string, unknown> {
  const all: Record<string, unknown> = { ...below };
  for (const [key, value] of Object.entries(above)) {
    const before = Object.hasOwn(all, key) ? all[key] : undefined;
    all[key] = isObject(before) && isObject(value) ? join(before, value) : value;
  }
  return all;
}

/** The last of the layers that has the most of the nested `keys`, so the one with the value that counts. */
function layerOf(keys: readonly string[], layers: readonly Layer[]): Layer | undefined {
  for (let depth = keys.length; depth > 0; depth--) {
    const found = layers.findLast(({ values }) => has(values, keys.slice(0, depth)));
    if (found !== undefined) return found;
  }
  return undefined;
}

function has(values: unknown, [key, ...rest]: readonly string[]): boolean {
  if (key === undefined) return true;
  return typeof values === 'object' && values !== null && Object.hasOwn(values, key)
    ? has((values as Settings)[key], rest)
    : false;
}

/** The keys in the argument of a ConfigError: `.model."a.b"` has two. */
function keysOf(argument: string): string[] {
  return [...argument.matchAll(/"([^"]*)"|([^."]+)/g)].map(([, quoted, plain]) => (quoted ?? plain) as string);
}

function isObject(value: unknown): value is Settings {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
