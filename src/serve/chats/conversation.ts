/** Conversations in a chat, which is a tree of messages: as templates get them, as text, and as requests of the API. */
import type { ChatMessage } from '../../tokenizer/chat/messages.ts';
import { ApiError } from '../../web/api-error.ts';
import type { AnswerRequest } from './parameters.ts';
import type { Message } from './rows.ts';

/** The messages of a conversation, up to the one that is to be answered. */
export type Conversation = readonly { role: 'user' | 'assistant'; text: string }[];

/** The messages up to one, from the first on. @throws ApiError for a message that is not of the chat */
export function conversationTo({ messages }: { messages: readonly Message[] }, id: string | null): Message[] {
  const byId = new Map(messages.map((one) => [one.id, one]));
  const path: Message[] = [];
  for (let at = id; at !== null; at = (path[0] as Message).parent) {
    const found = byId.get(at);
    if (found === undefined)
      throw new ApiError(404, `there is no message ${JSON.stringify(at)}`, { code: 'not_found' });
    path.unshift(found);
  }
  return path;
}

/** The request of the API that gives the same answers: what it is sent to, and its body. */
export function apiRequest(name: string, conversation: Conversation, { form, system, n, sampling }: AnswerRequest) {
  const given = Object.fromEntries(Object.entries(sampling).filter(([, value]) => value != null));
  const rest = { n, ...given };
  if (form === 'messages') {
    const messages = messagesOf(conversation, system);
    return { path: '/v1/chat/completions', body: { model: name, messages, ...rest } };
  }
  return { path: '/v1/completions', body: { model: name, prompt: textOf(conversation, system), ...rest } };
}

/** A conversation as templates get it. */
export function messagesOf(conversation: Conversation, system: string | null): ChatMessage[] {
  const said = conversation.map(({ role, text }) => ({ role, content: text }));
  return system === null ? said : [{ role: 'system', content: system }, ...said];
}

/** A conversation as the text that a model without a template continues: everything that was written, in its order. */
export function textOf(conversation: Conversation, system: string | null): string {
  return (system ?? '') + conversation.map(({ text }) => text).join('');
}
