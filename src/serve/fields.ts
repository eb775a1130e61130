/** The fields of requests to /v1/chat/completions and /v1/completions: each is honoured, or refused by its name. */
import * as z from 'zod';
import { printable } from '../errors.ts';
import { ApiError } from '../web/api-error.ts';
import { messages } from './messages.ts';

const MAX_CHOICES = 8;
const text = z.string();
const count = z.number().int().min(0);
const token = z.number().int().min(0);

/** Stop strings: four of at most 64 characters, as with OpenAI. */
const stop = z.union([text.min(1).max(64), z.array(text.min(1).max(64)).max(4)]);
const bias = z
  .record(z.string().regex(/^\d{1,9}$/, 'must be the id of a token'), z.number().min(-100).max(100))
  .refine((entries) => Object.keys(entries).length <= 300, 'must have at most 300 tokens');

/** What both kinds of requests have. Null means that a field is not there. */
export const COMMON = {
  model: text.min(1),
  max_tokens: z.number().int().min(1).nullish(),
  n: z.number().int().min(1).max(MAX_CHOICES).nullish(),
  temperature: z.number().min(0).max(2).nullish(),
  top_p: z.number().gt(0).max(1).nullish(),
  seed: z.number().int().nullish(),
  stop: stop.nullish(),
  frequency_penalty: z.number().min(-2).max(2).nullish(),
  presence_penalty: z.number().min(-2).max(2).nullish(),
  logit_bias: bias.nullish(),
  user: text.max(256).nullish(),
  stream: z.boolean().nullish(),
  stream_options: z
    .strictObject({ include_usage: z.boolean().nullish(), include_obfuscation: z.boolean().nullish() })
    .nullish(),
  // As vLLM and llama.cpp have them
  top_k: z.number().int().min(-1).nullish(),
  min_p: z.number().min(0).max(1).nullish(),
  repetition_penalty: z.number().gt(0).max(10).nullish(),
  ignore_eos: z.boolean().nullish(),
  min_tokens: count.nullish(),
  stop_token_ids: z.array(token).max(64).nullish(),
  /** Ours: the log-probabilities are those of the distribution that was drawn from. */
  sampled_logprobs: z.boolean().nullish(),
};

const CHAT = z.object({
  ...COMMON,
  messages,
  max_completion_tokens: z.number().int().min(1).nullish(),
  logprobs: z.boolean().nullish(),
  top_logprobs: count.max(20).nullish(),
  response_format: z.strictObject({ type: z.literal('text') }).nullish(),
});

const tokens = z.array(token).min(1);
const COMPLETION = z.object({
  ...COMMON,
  prompt: z.union([text, tokens, z.array(text).min(1).max(16), z.array(tokens).min(1).max(16)]),
  logprobs: count.max(5).nullish(),
  echo: z.boolean().nullish(),
  best_of: z.literal(1).nullish(),
});

/** Fields of OpenAI that change nothing here. */
const WITHOUT_MEANING = [
  ...['store', 'metadata', 'service_tier', 'safety_identifier', 'prompt_cache_key', 'verbosity', 'reasoning_effort'],
  'parallel_tool_calls',
];
/** Fields of OpenAI that would change the answer. */
const NOT_SUPPORTED = [
  ...['tools', 'tool_choice', 'functions', 'function_call', 'modalities', 'audio', 'prediction', 'web_search_options'],
  'suffix',
];

export type ChatFields = z.output<typeof CHAT>;
export type CompletionFields = z.output<typeof COMPLETION>;

/** The fields of a chat. @throws ApiError naming a field that is wrong, unknown or not supported */
export function chatFields(body: unknown, ignoreUnknown: boolean): ChatFields {
  return parse(CHAT, body, ignoreUnknown);
}

/** The fields of a completion. @throws ApiError naming a field that is wrong, unknown or not supported */
export function completionFields(body: unknown, ignoreUnknown: boolean): CompletionFields {
  return parse(COMPLETION, body, ignoreUnknown);
}

/** The fields of a body that has the `known` ones. @throws ApiError naming a field that is wrong, unknown or not supported */
export function parse<T extends z.ZodObject>(known: T, body: unknown, ignoreUnknown: boolean): z.output<T> {
  if (typeof body !== 'object' || body === null || Array.isArray(body))
    throw new ApiError(400, 'the body must be a JSON object');
  const given = Object.entries(body).filter(([name]) => !WITHOUT_MEANING.includes(name));
  for (const [name, value] of given) {
    if (Object.hasOwn(known.shape, name) || value === null) continue;
    if (NOT_SUPPORTED.includes(name))
      throw wrong(name, `${name} is not supported by this server`, 'unsupported_parameter');
    if (!ignoreUnknown) throw wrong(name, `${printable(name)} is not a known field`, 'unknown_parameter');
  }
  const result = known.safeParse(Object.fromEntries(given));
  if (result.success) return result.data;
  const [issue] = result.error.issues;
  const path = issue?.path.join('.') ?? null;
  throw wrong(path, `${path}: ${issue?.message}`, null);
}

function wrong(param: string | null, message: string, code: string | null): ApiError {
  return new ApiError(400, message, { param, code });
}
