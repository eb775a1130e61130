/**
 * Spans of the assistant by the prefix rule, for templates that do not say what the assistant writes: an answer is what the
 * text of the conversation has beyond the text of the messages before it with the generation prompt. That holds for
 * templates whose text only grows with the conversation.
 */
import { DataError } from '../../errors.ts';
import type { Span, SpannedText } from './marks.ts';

/** Some messages to render; `prompting` adds what invites the assistant to answer. */
export interface Wanted<M> {
  messages: readonly M[];
  prompting: boolean;
}

/**
 * The text of a conversation and its answers. `after` is the white space that the template puts after each answer: the
 * assistant does not write it.
 * @throws DataError if an earlier text is not the beginning of a later one
 */
export async function spansByPrefixes<M extends { role: string }>(
  messages: readonly M[],
  render: (wanted: readonly Wanted<M>[]) => Promise<string[]>,
  after: string,
): Promise<SpannedText> {
  const answers = [...messages.keys()].filter((i) => messages[i]?.role === 'assistant');
  const [text = '', ...others] = await render([
    { messages, prompting: false },
    ...answers.flatMap((i) => [
      { messages: messages.slice(0, i), prompting: true },
      { messages: messages.slice(0, i + 1), prompting: false },
    ]),
  ]);
  const spans: Span[] = [];
  for (const [n, i] of answers.entries()) {
    const [before = '', whole = ''] = others.slice(2 * n);
    if (!whole.startsWith(before)) throw notPrefix(i, 'its text does not begin with the generation prompt before it');
    if (!text.startsWith(whole)) throw notPrefix(i, 'messages after it change its text, or text before it');
    const end = whole.length - (whole.endsWith(after) ? after.length : 0);
    spans.push({ begin: before.length, end: Math.max(before.length, end) });
  }
  return { text, spans };
}

function notPrefix(i: number, problem: string): DataError {
  const received = `an answer that cannot be told from the rest of the text: ${problem}`;
  return new DataError({ argument: `messages[${i}]`, received, expected: 'a text that grows with the conversation' });
}
