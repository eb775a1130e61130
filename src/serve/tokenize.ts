/** POST /tokenize and /detokenize, as vLLM has them: between text and tokens. */
import * as z from 'zod';
import { ApiError } from '../web/api-error.ts';
import { messageOf, messages } from './messages.ts';
import type { Offered } from './served-model.ts';

/** The fields of /tokenize. */
export const TOKENIZE = z.object({
  model: z.string().min(1),
  prompt: z.string().nullish(),
  messages: messages.nullish(),
  add_special_tokens: z.boolean().nullish(),
});
/** The fields of /detokenize. */
export const DETOKENIZE = z.object({
  model: z.string().min(1),
  tokens: z.array(z.number().int().min(0)).max(100_000),
});
type TokenizeFields = z.output<typeof TOKENIZE>;
type DetokenizeFields = z.output<typeof DETOKENIZE>;

/** The tokens that a prompt or a conversation becomes. @throws ApiError if the model has no chat template for it */
export async function tokenize(model: Offered, fields: TokenizeFields) {
  const tokens = await tokensOf(model, fields);
  return { count: tokens.length, max_model_len: model.capacity, tokens };
}

async function tokensOf({ text, name }: Offered, fields: TokenizeFields): Promise<number[]> {
  const { prompt, messages, add_special_tokens: special } = fields;
  if ((prompt == null) === (messages == null)) {
    throw new ApiError(400, 'there must be either prompt or messages', { param: 'prompt' });
  }
  if (prompt != null) return text.encode(prompt, special === false ? {} : { special: 'begin' });
  if (text.chat === undefined) throw new ApiError(400, `${name} has no chat template`, { param: 'messages' });
  return await text.chat.prompt((messages ?? []).map(messageOf));
}

/** The text of tokens. @throws ApiError for a token that the model does not have */
export function detokenize({ text }: Offered, { tokens }: DetokenizeFields) {
  const wrong = tokens.find((token) => token >= text.vocabSize);
  if (wrong !== undefined) throw new ApiError(400, `there is no token ${wrong}`, { param: 'tokens' });
  return { prompt: text.decode(tokens) };
}
