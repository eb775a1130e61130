/** adapter_config.json, as PEFT writes it: what it says of low-rank adapters, and by name what is not supported. */
import * as z from 'zod';
import { ConfigError, printable } from '../errors.ts';
import { type ConfigJson, parseConfigJson } from '../families/config-json.ts';

/** Names of modules, or a pattern. */
const names = z.union([z.string(), z.array(z.string()).max(10_000)]);
const rank = z
  .int()
  .min(1)
  .max(2 ** 20);
const alpha = z.number().positive();
const patterns = <Value extends z.ZodType>(value: Value) => z.record(z.string(), value).nullish();
const layer = z.int().min(0);

const schema = z.object({
  target_modules: names.nullish(),
  exclude_modules: names.nullish(),
  layers_to_transform: z.union([layer, z.array(layer).max(10_000)]).nullish(),
  layers_pattern: names.nullish(),
  r: rank.default(8),
  lora_alpha: alpha.default(8),
  rank_pattern: patterns(rank),
  alpha_pattern: patterns(alpha),
  lora_dropout: z.number().min(0).lt(1).nullish(),
  use_rslora: z.boolean().nullish(),
  fan_in_fan_out: z.boolean().nullish(),
});

/** What adapter_config.json says of the adapters. */
export type AdapterConfig = z.output<typeof schema>;

/** Keys that change nothing that the adapters compute. */
const HARMLESS: ReadonlySet<string> = new Set([
  ...['auto_mapping', 'base_model_name_or_path', 'revision', 'inference_mode', 'peft_version', 'megatron_core'],
  ...['qalora_group_size', 'loftq_config', 'eva_config'],
]);
/** Keys with the only values that are supported. */
const FIXED: Readonly<Record<string, readonly unknown[]>> = {
  peft_type: ['LORA'],
  task_type: ['CAUSAL_LM', null],
  bias: ['none'],
  init_lora_weights: [true, false, 'gaussian', 'orthogonal', 'eva'], // others change the base as well
};

/**
 * Parses the text of an adapter_config.json.
 * @throws ConfigError naming what palm-rlhf does not support, or the first value that is wrong.
 */
export function parseAdapterConfig(text: string, path: string): AdapterConfig {
  const json = parseConfigJson(text, path);
  const said = [['peft_type', json.peft_type] as const, ...Object.entries(json)];
  const strange = said.find(([key, value]) => !isSupported(key, value));
  if (strange !== undefined) throw unsupported(path, strange[0], strange[1]);
  const result = schema.safeParse(json);
  if (result.success) return result.data;
  throw wrong(path, json, result.error.issues[0] as z.core.$ZodIssue);
}

function isSupported(key: string, value: unknown): boolean {
  if (Object.hasOwn(FIXED, key)) return FIXED[key]?.includes(value) === true;
  return Object.hasOwn(schema.shape, key) || HARMLESS.has(key) || isOff(value);
}

/** Whether a feature is not used. */
function isOff(value: unknown): boolean {
  if (value === null || value === false) return true;
  return typeof value === 'object' && Object.keys(value).length === 0;
}

function unsupported(argument: string, key: string, value: unknown): ConfigError {
  const said = value === undefined ? 'nothing' : printable(value);
  const only = Object.hasOwn(FIXED, key) ? (FIXED[key] as unknown[]).map((one) => printable(one)) : [];
  const known = only.length === 0 ? '' : `: it must be ${only.join(' or ')}`;
  return new ConfigError({
    argument,
    problem: `this adapter says \`${printable(key).slice(1, -1)}\` ${said}, which palm-rlhf does not support${known}`,
    fix: 'Merge it into its model with PEFT, and load the result.',
  });
}

function wrong(argument: string, json: ConfigJson, { path, message }: z.core.$ZodIssue): ConfigError {
  const at = (value: unknown, key: PropertyKey) => (Object(value) as Record<PropertyKey, unknown>)[key];
  const value = path.reduce(at, json as unknown);
  return new ConfigError({
    argument,
    problem: `this adapter says ${printable(path.map(String).join('.'))} ${value === undefined ? 'nothing' : printable(value)}: ${message}`,
  });
}
