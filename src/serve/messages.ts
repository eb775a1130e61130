/** Messages of requests, as OpenAI's clients write them. */
import * as z from 'zod';
import type { ChatMessage } from '../tokenizer/chat/messages.ts';

const text = z.string();
const part = z.strictObject({ type: z.literal('text'), text });
const message = z.looseObject({
  role: z.enum(['system', 'developer', 'user', 'assistant', 'tool']),
  content: z.union([text, z.array(part).min(1)]),
});
export const messages = z.array(message).min(1).max(1000);
type Message = z.output<typeof message>;

/** A message as templates get it: developers are what was called system, and parts of text are one text. */
export function messageOf({
  role,
  content,
  ...more
}: Message): ChatMessage & { role: Exclude<Message['role'], 'developer'>; content: string } {
  const text = typeof content === 'string' ? content : content.map((part) => part.text).join('');
  return { ...more, role: role === 'developer' ? 'system' : role, content: text };
}
