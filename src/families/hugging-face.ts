/** Families whose models come as Hugging Face folders: a table for each, and what is the same for all. */
import * as z from 'zod';
import { device, dtype, seed } from '../config/fields.ts';
import { parseConfig } from '../config/schema.ts';
import { ConfigError } from '../errors.ts';
import { addon, type DecoderDescription } from '../native/addon.ts';
import { adaptablesOf } from './adaptable.ts';
import type { Architecture } from './architecture.ts';
import { type ConfigReading, parseConfigJson, readConfig } from './config-json.ts';
import type { Family, ModelConfig } from './family.ts';
import type { Place } from './place.ts';
import { modulesOf, type Orders, placesOf, type Shapes, type StoredNames } from './stored-names.ts';

/** A family, as a table: from config.json to a description, and from names to places. */
export interface HfFamily<Config = object> extends ConfigReading {
  /** What `model_type` may say. */
  modelTypes: readonly [string, ...string[]];
  /** What precedes the names of the base model, in the order to try; '' for files of the base model alone. */
  prefixes: readonly string[];
  /** The modules that PEFT adapts by default. */
  loraTargets: readonly string[];
  /** Tensors of old files that nothing is read from. */
  ignored?: RegExp;
  /** `longest`: tokens of the longest sequence that is to be read. */
  describe(config: Config, longest: number | undefined): Architecture;
  /** What its tensors are called. */
  names: StoredNames;
  /** How the rows of its matrices stand in files, if not as in native code. */
  orders?(decoder: DecoderDescription): Orders;
  /** What a file has instead of the place that the names give. */
  instead?(place: Place, decoder: DecoderDescription): readonly Place[];
}

/** A table whose functions get what its schema yields. */
export function hfFamily<Schema extends z.ZodObject>(table: HfFamily<z.output<Schema>> & { schema: Schema }): HfFamily {
  return table as HfFamily;
}

const hfConfig = z.strictObject({
  text: z.string().describe('config.json as the folder has it'),
  changes: z.record(z.string(), z.unknown()).default({}).describe('keys of config.json that the files made untrue'),
  generation: z.string().optional().describe('generation_config.json as the folder has it, if there is one'),
  ignoreConfigKeys: z.array(z.string()).default([]).describe('keys of config.json that are taken to mean nothing'),
  usedTokens: z.int().min(1).optional().describe('the first tokens of the vocabulary, which can be drawn'),
  longest: z.int().min(1).optional().describe('tokens of the longest sequence to be read'),
  prefix: z.string().default('').describe('what precedes the names of the base model in the folder'),
  headTwice: z.boolean().default(false).describe('whether the folder stores a tied head beside the embedding'),
  headless: z.boolean().default(false).describe('whether the folder has a head that scores instead of that of words'),
  stored: z
    .record(z.string(), z.string())
    .default({})
    .describe('element types in the folder: of most tensors, and others'),
  recompute: z.enum(['none', 'selective', 'full']).default('selective'),
  ignoreIndex: z.int().default(-100),
  dtype,
  device,
  seed,
});
/** The configuration of a model from a Hugging Face folder. */
export type HfConfig = z.output<typeof hfConfig> & ModelConfig;
export type HfConfigInput = z.input<typeof hfConfig>;

/** The family of all models that `table` describes and whose `model_type` is `kind`. */
export function familyOf(table: HfFamily, kind: string): Family<HfConfig> {
  const describe = (config: HfConfig) => described(table, config);
  return {
    kind,
    key: kind,
    targets: table.loraTargets,
    modules: modulesOf(table.names),
    resolve: (config) => {
      const resolved = parseConfig(hfConfig, config, kind);
      checkArithmetic(describe(resolved));
      return resolved;
    },
    describe,
    places: (config) => places(table, config, describe(config)),
    adaptables: (config) => adaptables(table, describe(config)),
  };
}

function adaptables(table: HfFamily, decoder: DecoderDescription) {
  const { names, prefixes } = table;
  const linears = Object.keys(names.linears);
  const named = { prefix: prefixes[0] as string, layers: names.layers, linears, modules: modulesOf(names) };
  return adaptablesOf(named, unprefixed(table, decoder), decoder.depth);
}

function described(table: HfFamily, config: HfConfig): DecoderDescription {
  const json = { ...parseConfigJson(config.text), ...config.changes };
  const architecture = table.describe(readConfig(json, table, config.ignoreConfigKeys), config.longest);
  const { recompute, ignoreIndex, dtype, device, headless, usedTokens = architecture.numTokens } = config;
  const chosen = { usedTokens, recompute, ignoreIndex, dtype, device, attnDropout: 0, ffDropout: 0 };
  return {
    ...architecture,
    ...chosen,
    tied: architecture.tied || headless,
    headBias: architecture.headBias && !headless,
  };
}

/** @throws ConfigError for sizes that do not go together. */
function checkArithmetic({ heads, kvHeads, depth, layers, usedTokens, numTokens }: DecoderDescription): void {
  const refuse = (problem: string) => new ConfigError({ argument: 'config.json', problem });
  if (heads % kvHeads !== 0) throw refuse(`this model says ${heads} heads, which ${kvHeads} keys cannot share evenly`);
  if (layers.length !== depth) throw refuse(`this model says ${depth} layers and describes ${layers.length}`);
  if (usedTokens <= numTokens) return;
  const expected = `at most the ${numTokens} that the model has`;
  throw new ConfigError({ argument: 'usedTokens', received: `${usedTokens}`, expected });
}

function places(table: HfFamily, { headTwice, prefix }: HfConfig, decoder: DecoderDescription): Place[] {
  const all = unprefixed(table, decoder);
  const [{ parts }] = all as [Place];
  const twice = headTwice ? [{ name: outerNames(table, decoder).head, parts, outside: true }] : [];
  return [...all, ...twice].map((place) => (place.outside ? place : { ...place, name: prefix + place.name }));
}

function unprefixed(table: HfFamily, decoder: DecoderDescription): Place[] {
  const places = placesOf(table.names, decoder, shapesOf(decoder), table.orders?.(decoder));
  return places.flatMap((place) => table.instead?.(place, decoder) ?? [place]);
}

/** What files call the embedding of tokens, and the matrix of the head where there is one; without a prefix. */
export function outerNames(table: HfFamily, decoder: DecoderDescription): { embedding: string; head: string } {
  const places = unprefixed(table, { ...oneLayer(decoder), tied: false });
  const nameOf = (parameter: string) => places.find(({ parts }) => parts[0].parameter === parameter)?.name as string;
  return { embedding: nameOf('token_embedding'), head: nameOf('head') };
}

function oneLayer(decoder: DecoderDescription): DecoderDescription {
  return { ...decoder, depth: 1, layers: decoder.layers.slice(0, 1) };
}

/** Shapes of a decoder's parameters: all layers have the same. @throws OutOfMemoryError if no machine could hold one. */
export function shapesOf(decoder: DecoderDescription): Shapes {
  const one = addon().decoderParameters(oneLayer(decoder));
  const layer = one.filter(({ name }) => name.startsWith('layers.0.'));
  const outside = one.filter(({ name }) => !name.startsWith('layers.0.'));
  const layers = Array.from({ length: decoder.depth }, (_, i) =>
    layer.map(({ name, shape }) => [name.replace('.0.', `.${i}.`), shape] as const),
  );
  return new Map([...outside.map(({ name, shape }) => [name, shape] as const), ...layers.flat()]);
}
