/** How a chat is answered: by which models, how many times, and how they draw. */
import * as z from 'zod';
import { isWellFormed } from '../../files/json.ts';
import { COMMON } from '../fields.ts';

/** Bytes of a message, and of a system message. */
export const MAX_TEXT_BYTES = 64 * 1024;
/** Answers to one message. */
export const MAX_ANSWERS = 4;

const hasWhole = (text: string) => Buffer.byteLength(text) <= MAX_TEXT_BYTES;

/** Text of a message. */
export const messageText = z
  .string()
  .refine((text) => text.trim() !== '', 'must not be empty')
  .refine(hasWhole, `must be at most ${MAX_TEXT_BYTES} bytes`)
  .refine(isWellFormed, 'must not have half a surrogate pair');

/** How rows draw, as the fields of the API say it. */
export const samplingSchema = z.strictObject({
  temperature: COMMON.temperature,
  top_p: COMMON.top_p,
  top_k: COMMON.top_k,
  min_p: COMMON.min_p,
  frequency_penalty: COMMON.frequency_penalty,
  presence_penalty: COMMON.presence_penalty,
  repetition_penalty: COMMON.repetition_penalty,
  stop: COMMON.stop,
  max_tokens: COMMON.max_tokens,
  seed: COMMON.seed,
});
export type Sampling = z.output<typeof samplingSchema>;

export const parametersSchema = z.strictObject({
  /** The models that answer in turn; none: the first of the server. */
  models: z
    .array(z.string().min(1).max(256))
    .max(MAX_ANSWERS)
    .refine((names) => new Set(names).size === names.length, 'must name each model once')
    .default([]),
  /** Answers to each message. */
  n: z.int().min(1).max(MAX_ANSWERS).default(2),
  system: messageText.nullable().default(null),
  sampling: samplingSchema.default({}),
});
export type Parameters = z.output<typeof parametersSchema>;

/** What was asked of a model for one answer, besides the conversation: with it, the same text comes again. */
export const requestSchema = z.strictObject({
  /** Whether a chat template wrote the conversation, or it was one text. */
  form: z.enum(['messages', 'text']),
  system: z.string().nullable(),
  /** Answers that this model drew together. */
  n: z.int().min(1).max(MAX_ANSWERS),
  sampling: samplingSchema,
});
export type AnswerRequest = z.output<typeof requestSchema>;
