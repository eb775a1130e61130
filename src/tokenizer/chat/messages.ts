/** The messages of a conversation, as templates get them. */
import { ArgumentError, printable } from '../../errors.ts';

/** A message; a template may read any further key, such as `tool_calls`. */
export interface ChatMessage {
  role: string;
  content?: unknown;
  /** False for a message of the assistant that is not to be learned; the template does not see it. */
  train?: boolean;
  [key: string]: unknown;
}

/** Names of a message's reasoning. transformers fills the first from the others, and the second from all. */
const REASONING = ['reasoning_content', 'thinking', 'reasoning'];

/** The messages as transformers gives them to a template: without null, and with the reasoning under its common names. */
export function templateMessages(messages: readonly ChatMessage[]): Record<string, unknown>[] {
  return messages.map(({ train: _, ...message }) => {
    const given = Object.fromEntries(
      Object.entries(message).filter(([, value]) => value !== null && value !== undefined),
    );
    const name = REASONING.find((each) => Object.hasOwn(given, each));
    if (name === undefined) return given;
    return { thinking: given[name], ...given, reasoning_content: given[name] };
  });
}

/** @throws ArgumentError unless `messages` is a list of objects with a role */
export function checkMessages(messages: unknown): asserts messages is ChatMessage[] {
  const wrong = Array.isArray(messages) ? messages.findIndex((message) => !isMessage(message)) : undefined;
  if (wrong === -1) return;
  const argument = wrong === undefined ? 'messages' : `messages[${wrong}]`;
  const received = printable(wrong === undefined ? messages : (messages as unknown[])[wrong]);
  const expected = wrong === undefined ? 'a list of messages' : 'an object with "role" and "content"';
  throw new ArgumentError({ argument, received, expected });
}

function isMessage(value: unknown): boolean {
  return typeof value === 'object' && value !== null && typeof (value as ChatMessage).role === 'string';
}
