/** Conversations as tokens: a tokenizer with its model's chat template. */

import { checkKind, instanceOf, TEXT } from '../checks/kinds.ts';
import { checkObject } from '../checks/options.ts';
import { DataError, FileError } from '../errors.ts';
import type { SpannedText } from './chat/marks.ts';
import type { ChatMessage } from './chat/messages.ts';
import { PROBES } from './chat/span-rules.ts';
import { type ChatOptions, ChatTemplate } from './chat-template.ts';
import { HuggingFaceTokenizer } from './hugging-face.ts';

/** A conversation as tokens. */
export interface EncodedChat {
  ids: number[];
  /** True where the assistant wrote the token, the one that ends its turn included: what is learned. */
  mask: boolean[];
}

/** A response and the conversation before it, which is also text. */
export interface EncodedAnswer {
  text: string;
  prompt: number[];
  response: number[];
}

/** A part of a conversation, between edges of what the assistant wrote. */
export interface ChatPart {
  text: string;
  ids: number[];
  /** Whether it is learned. */
  learned: boolean;
}

/** A part of a text. */
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
    checkKind('tokenizer', tokenizer, instanceOf(HuggingFaceTokenizer));
    checkKind('template', template, instanceOf(ChatTemplate));
    this.tokenizer = tokenizer;
    this.template = template;
  }

  /**
   * The tokens of a conversation that the assistant is to continue, with the template's generation prompt.
   * @throws DataError, FileError as `ChatTemplate.render` does.
   */
  async prompt(messages: readonly ChatMessage[], options: ChatOptions = {}): Promise<number[]> {
    checkObject(options, 'prompt options');
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
    const parts = await this.parts(messages, options);
    return { ids: parts.flatMap(({ ids }) => ids), mask: parts.flatMap(({ ids, learned }) => ids.map(() => learned)) };
  }

  /** What `encode` gives, in parts that are learned, or that are not. @throws as `encode` does */
  async parts(messages: readonly ChatMessage[], options: ChatOptions = {}): Promise<ChatPart[]> {
    await this.encodesApart();
    const spanned = await this.template.spans(messages, options);
    const learned = learnedSpans(messages, spanned.spans.length);
    const parts = partsOf(spanned);
    const encoded = this.encodeParts(parts);
    this.checked(encoded.flat());
    return parts.map(({ text, span }, i) => ({ text, ids: encoded[i] as number[], learned: learned(span) }));
  }

  /**
   * A response to a conversation, encoded apart from it, up to the token that ends it.
   * @throws DataError, FileError as `encode` does.
   * @throws DataError if the template writes more before a response than its generation prompt.
   */
  async answer(messages: readonly ChatMessage[], response: string, options: ChatOptions = {}): Promise<EncodedAnswer> {
    checkKind('response', response, TEXT);
    checkObject(options, 'answer options');
    const text = await this.template.render(messages, { ...options, addGenerationPrompt: true });
    const whole = await this.template.spans([...messages, { role: 'assistant', content: response }], options);
    const end = whole.spans.at(-1)?.end ?? 0;
    if (!whole.text.startsWith(text) || end <= text.length) throw noAnswer(this.template.name);
    const [prompt = [], answer = []] = this.tokenizer.encodeParts([text, whole.text.slice(text.length, end)]);
    return { text, prompt: this.checked(prompt), response: answer };
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

function noAnswer(name: string): DataError {
  const received = 'a response whose text does not begin with the generation prompt';
  return new DataError({ argument: name, received, expected: 'one that continues it' });
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
