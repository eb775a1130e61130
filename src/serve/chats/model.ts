/** A served model as chats ask it: a conversation becomes the request that the API would get for it. */
import { Answering, type Piece } from '../answering.ts';
import { chatFields, completionFields } from '../fields.ts';
import { rowsOf } from '../rows.ts';
import type { ServedModel } from '../served-model.ts';
import { apiRequest, type Conversation, messagesOf, textOf } from './conversation.ts';
import type { AnswerRequest, Sampling } from './parameters.ts';

/** Tokens of an answer unless the chat says how many. */
const ANSWER_TOKENS = 512;

/** Answers while they are drawn; an `Answering` is one. */
export interface AnswerSource {
  pieces(): AsyncGenerator<Pick<Piece, 'index' | 'text' | 'drawn' | 'finish'>>;
  end(): void;
}
/** Answers before they are drawn. */
export interface Prepared {
  /** With everything that the chat leaves open. */
  request: AnswerRequest;
  source: AnswerSource;
}
/** What chats need of a model. */
export interface ChatModel {
  name: string;
  fingerprint: string;
  form: AnswerRequest['form'];
  /** @throws ApiError for a conversation that does not fit */
  prepare(conversation: Conversation, request: Omit<AnswerRequest, 'form'>, seed: number): Promise<Prepared>;
}

/** A served model as chats ask it. */
export function chatModel(model: ServedModel): ChatModel {
  const { name, fingerprint, text, capacity, scope, scheduler } = model;
  const { chat } = text;
  const form = chat === undefined ? 'text' : 'messages';
  const promptOf = async (conversation: Conversation, system: string | null) =>
    chat === undefined
      ? text.encode(textOf(conversation, system), { special: 'begin' })
      : await chat.prompt(messagesOf(conversation, system));
  return {
    ...{ name, fingerprint, form },
    async prepare(conversation, { system, n, sampling }, seed) {
      const prompt = await promptOf(conversation, system);
      const used = filled(sampling, Math.max(1, capacity - prompt.length), seed);
      const request = { form, system, n, sampling: used } as const;
      const { body } = apiRequest(name, conversation, request);
      const fields = form === 'text' ? completionFields(body, false) : chatFields(body, false);
      const rows = rowsOf(fields, { ...model, prompt, seed });
      const stop = [sampling.stop ?? []].flat();
      const source = new Answering(scheduler, { key: 'chats', prompt, rows, scope, stop, tokenizer: text });
      return { request, source };
    },
  };
}

/** With a seed, and not more tokens than there is room for. */
function filled(sampling: Sampling, room: number, seed: number): Sampling {
  const { seed: given, max_tokens: wanted } = sampling;
  return { ...sampling, seed: given ?? seed, max_tokens: Math.min(wanted ?? ANSWER_TOKENS, room) };
}
