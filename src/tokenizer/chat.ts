/** Conversations as tokens: a tokenizer with its model's chat template. */

import { DataError, FileError } from '../errors.ts';
import type { SpannedText } from './chat/marks.ts';
import type { ChatMessage } from './chat/messages.ts';
import { PROBES } from './chat/span-rules.ts';
import type { ChatOptions, ChatTemplate } from './chat-template.ts';
import type { HuggingFaceTokenizer } from './hugging-face.ts';

/** A conversation as tokens. */
export interface EncodedChat {
  ids: number[];
  /** True where the assistant wrote the token, the one that ends its turn included: what is learned. */
  mask: boolean[];
}

/** A part of a text, between edges of what the assistant wrote. */
interface Part {
  text: string;
  /** The number of the span that it is. */
  span?: number;
}

/** A tokenizer and the template of its model. */
export class Chat {
  readonly tokenizer: HuggingFaceTokenizer;
  readonly template: ChatTemplate;
  private judged: Promise<boolean> | undefined;

  constructor(tokenizer: HuggingFaceTokenizer, template: ChatTemplate) {
    this.tokenizer = tokenizer;
    this.template = template;
  }

  /**
   * The tokens of a conversation that the assistant is to continue, with the template's generation prompt.
   * @throws DataError, FileError as `ChatTemplate.render` does.
   */
  async prompt(messages: readonly ChatMessage[], options: ChatOptions = {}): Promise<number[]> {
    const text = await this.template.render(messages, { ...options, addGenerationPrompt: true });
    return this.checked(this.tokenizer.encode(text));
  }

  /**
   * The tokens of a conversation, and which of them are learned: what the assistant wrote, but for messages whose `train`
   * is false. What it wrote is encoded apart from the text before it, as it is when a model answers.
   * @throws DataError, FileError as `ChatTemplate.spans` does.
   * @throws DataError if some messages are not to be learned, and the template mixes them with others.
   */
  async encode(messages: readonly ChatMessage[], options: ChatOptions = {}): Promise<EncodedChat> {
    await this.encodesApart();
    const { text, spans } = await this.template.spans(messages, options);
    const learned = learnedSpans(messages, spans.length);
    const parts = partsOf({ text, spans });
    const encoded = this.encodeParts(parts);
    const mask = encoded.flatMap((ids, i) => ids.map(() => learned(parts[i]?.span)));
    return { ids: this.checked(encoded.flat()), mask };
  }

  /**
   * Whether answers are encoded otherwise than in the whole text, because there is no special token at their edges. Judged
   * once, by conversations of our own.
   * @throws FileError if they are although there is one.
   */
  encodesApart(): Promise<boolean> {
    this.judged ??= this.judge();
    return this.judged;
  }

  private async judge(): Promise<boolean> {
    let apart = false;
    for (const messages of PROBES) {
      const spanned = await this.template.spans(messages).catch((error: unknown) => {
        if (error instanceof DataError) return undefined; // a template without system messages
        throw error;
      });
      if (spanned === undefined) continue;
      const encoded = this.encodeParts(partsOf(spanned));
      if (String(encoded.flat()) === String(this.tokenizer.encode(spanned.text))) continue;
      if (this.hasSpecialEdges(encoded)) throw otherTokens(this.template.name);
      apart = true;
    }
    return apart;
  }

  private encodeParts(parts: readonly Part[]): number[][] {
    return this.tokenizer.encodeParts(parts.map(({ text }) => text));
  }

  /** Whether there is an added token at every edge of parts. */
  private hasSpecialEdges(encoded: readonly number[][]): boolean {
    const { tokenizer } = this;
    const some = encoded.filter((ids) => ids.length > 0);
    return some.slice(1).every((ids, i) => tokenizer.isAdded(ids[0]) || tokenizer.isAdded(some[i]?.at(-1)));
  }

  /** @throws DataError for a sequence that begins with bos twice: the template has it, and something added it again */
  private checked(ids: number[]): number[] {
    const { bosToken } = this.tokenizer;
    if (bosToken === undefined || ids[0] !== bosToken || ids[1] !== bosToken) return ids;
    const received = 'a conversation that begins with bos twice';
    const fix = 'The template writes it: take it out of the messages.';
    throw new DataError({ argument: this.template.name, received, expected: 'one bos', fix });
  }
}

/** A text cut at the edges of its spans; together the parts are the text. */
function partsOf({ text, spans }: SpannedText): Part[] {
  const parts: Part[] = [];
  let done = 0;
  for (const [span, { begin, end }] of spans.entries()) {
    parts.push({ text: text.slice(done, begin) }, { text: text.slice(begin, end), span });
    done = end;
  }
  return [...parts, { text: text.slice(done) }];
}

/** Which spans are learned. @throws DataError if that cannot be told */
function learnedSpans(messages: readonly ChatMessage[], spans: number): (span: number | undefined) => boolean {
  const answers = messages.filter(({ role }) => role === 'assistant');
  if (!answers.some(({ train }) => train === false)) return (span) => span !== undefined;
  if (answers.length === spans) return (span) => span !== undefined && answers[span]?.train !== false;
  const received = `${spans} answers in the text of ${answers.length}, of which some are not to be learned`;
  throw new DataError({ argument: 'messages', received, expected: 'one for each message of the assistant' });
}

function otherTokens(name: string): FileError {
  const received =
    'a template whose answers have other tokens than in the whole text, in spite of special tokens around them';
  return new FileError({
    argument: name,
    received,
    expected: 'the same tokens',
    fix: 'Use the tokenizer of the template.',
  });
}
