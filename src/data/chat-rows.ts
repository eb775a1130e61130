/** Dialogues as tokens by the chat template of a model. */
import { checkKind, instanceOf, optional } from '../checks/kinds.ts';
import { ArgumentError, DataError } from '../errors.ts';
import { Chat } from '../tokenizer/chat.ts';
import type { ChatMessage } from '../tokenizer/chat/messages.ts';
import type { Tokenizer } from '../tokenizer/tokenizer.ts';
import type { FormOptions } from './forms/read.ts';
import type { Turn, TurnsRow } from './forms/rows.ts';
import type { Row } from './row.ts';

/** How rows become tokens. */
export interface RowOptions extends FormOptions {
  /**
   * Writes dialogues as the model's chat template does, with its end of turn in place of the eos. Default: as text with
   * `Human:` and `Assistant:`. Rows whose prompt is text are as ever.
   */
  chat?: Chat | undefined;
}

/** A part of a text as tokens, and whether a model is to learn it. */
export interface TokenSpan {
  text: string;
  tokens: number[];
  target: boolean;
}

/** A prompt, as text and tokens, and the responses to it, each with what ends it. */
export interface Answers {
  text: string;
  prompt: number[];
  responses: number[][];
}

/** @throws ArgumentError unless `chat` is undefined, or that of `tokenizer`; `name` is the function that takes it */
export function checkChat(chat: Chat | undefined, tokenizer: Tokenizer, name: string): void {
  checkKind(`${name}.chat`, chat, optional(instanceOf(Chat)));
  if (chat === undefined || chat.tokenizer.hash === tokenizer.hash) return;
  const received = 'the chat of another tokenizer';
  throw new ArgumentError({ argument: `${name}.chat`, received, expected: 'that of `tokenizer`' });
}

/** A prompt that the assistant is to continue, or the reason why the template does not write it. */
export async function chatPrompt(chat: Chat, prompt: readonly Turn[]): Promise<Row<number[]>> {
  return await unlessRefused(() => chat.prompt(prompt.map(messageOf)));
}

/** A dialogue with what is learned in it, or the reason why the template does not write it. */
export async function chatTurns(chat: Chat, { turns, tools }: TurnsRow): Promise<Row<TokenSpan[]>> {
  if (tools !== undefined && !Array.isArray(tools)) return { skip: '"tools" is not a list' };
  return await unlessRefused(async () => {
    const parts = await chat.parts(turns.map(messageOf), { tools });
    return parts.map(({ text, ids, learned }) => ({ text, tokens: ids, target: learned }));
  });
}

/** A prompt and responses to it, or the reason why the template does not write them. */
export async function chatAnswers(
  chat: Chat,
  prompt: readonly Turn[],
  responses: readonly string[],
): Promise<Row<Answers>> {
  const messages = prompt.map(messageOf);
  return await unlessRefused(async () => {
    const answers = [];
    for (const response of responses) answers.push(await chat.answer(messages, response));
    const [first] = answers;
    return { text: first?.text ?? '', prompt: first?.prompt ?? [], responses: answers.map(({ response }) => response) };
  });
}

function messageOf({ role, content, train, meta }: Turn): ChatMessage {
  return { ...meta, role, content, ...(train === undefined ? {} : { train }) };
}

/** What is wrong with one conversation skips its row; what is wrong with the template is thrown. */
async function unlessRefused<T>(work: () => Promise<T>): Promise<Row<T>> {
  try {
    return { use: await work() };
  } catch (error) {
    if (error instanceof DataError)
      return { skip: `the chat template gives no text: ${error.received ?? error.message}` };
    throw error;
  }
}
