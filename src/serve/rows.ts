/** How the rows of a request draw, by its fields. */
import type { RowOptions } from '../models/slots.ts';
import { ApiError } from '../web/api-error.ts';
import type { ChatFields, CompletionFields } from './fields.ts';

/** What the fields do not say. */
export interface RowFacts {
  prompt: readonly number[];
  /** The number of tokens that the model can draw. */
  vocabulary: number;
  /** Tokens of prompt and answer together at most. */
  capacity: number;
  /** Tokens of an answer unless the request says how many; undefined: as many as fit. */
  defaultTokens?: number | undefined;
  /** Tokens that end an answer. */
  endTokens: readonly number[];
  /** For a request without a seed. */
  seed: number;
}

/**
 * The options of all `n` rows of a request; what they draw follows from the seed and their index.
 * @throws ApiError for tokens that the model does not have, and if prompt and answer may need more than the capacity
 */
export function rowsOf(fields: ChatFields | CompletionFields, facts: RowFacts): RowOptions[] {
  const biased = Object.entries(fields.logit_bias ?? {});
  checkTokens('prompt', facts.prompt, facts);
  checkTokens(
    'logit_bias',
    biased.map(([token]) => Number(token)),
    facts,
  );
  checkTokens('stop_token_ids', fields.stop_token_ids ?? [], facts);
  const { ignore_eos: ignored, stop_token_ids: more, top_k: topK, top_p: topP, min_p: minP } = fields;
  const options = {
    temperature: fields.temperature ?? 1,
    topK: (topK ?? 0) > 0 ? (topK as number) : undefined,
    topP: (topP ?? 1) < 1 ? (topP as number) : undefined,
    minP: (minP ?? 0) > 0 ? (minP as number) : undefined,
    frequencyPenalty: fields.frequency_penalty ?? 0,
    presencePenalty: fields.presence_penalty ?? 0,
    repetitionPenalty: fields.repetition_penalty ?? 1,
    biasTokens: biased.map(([token]) => Number(token)),
    bias: biased.map(([, bias]) => bias),
    endTokens: [...(ignored === true ? [] : facts.endTokens), ...(more ?? [])],
    minTokens: fields.min_tokens ?? 0,
    maxTokens: maxTokensOf(fields, facts),
    top: topOf(fields),
    seed: fields.seed ?? facts.seed,
  };
  return Array.from({ length: fields.n ?? 1 }, (_, sample) => ({ ...options, sample }));
}

/** @throws ApiError unless the model has all of these tokens */
function checkTokens(param: string, tokens: readonly number[], { vocabulary }: RowFacts): void {
  const wrong = tokens.find((token) => token >= vocabulary);
  if (wrong === undefined) return;
  throw new ApiError(400, `${param} has the token ${wrong}; those of the model are 0 to ${vocabulary - 1}`, { param });
}

function maxTokensOf(fields: ChatFields | CompletionFields, facts: RowFacts): number {
  const { prompt, capacity, defaultTokens } = facts;
  const room = capacity - prompt.length;
  const param =
    'max_completion_tokens' in fields && fields.max_completion_tokens != null ? 'max_completion_tokens' : 'max_tokens';
  const asked = (fields as ChatFields)[param] ?? undefined;
  const wanted = asked ?? Math.min(defaultTokens ?? room, room);
  if (wanted >= 1 && wanted <= room) return wanted;
  const what = `${prompt.length} tokens of prompt and ${Math.max(1, wanted)} of answer are more than the ${capacity} that fit`;
  throw new ApiError(400, what, { param: asked === undefined ? 'prompt' : param, code: 'context_length_exceeded' });
}

/** The number of likeliest tokens to report; undefined if no log-probabilities are wanted. */
function topOf(fields: ChatFields | CompletionFields): number | undefined {
  const { logprobs } = fields;
  if (typeof logprobs === 'number') return logprobs;
  const { top_logprobs: top } = fields as ChatFields;
  if (logprobs === true) return top ?? 0;
  if (top == null) return undefined;
  throw new ApiError(400, 'top_logprobs needs logprobs: true', { param: 'top_logprobs' });
}
