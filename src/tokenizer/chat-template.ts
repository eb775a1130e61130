/** Chat templates: how a model writes a conversation as text, and which parts of it the assistant wrote. */
import { checkKind, checkKinds, instanceOf, NUMBER, optional, TEXT } from '../checks/kinds.ts';
import { checkObject, checkOptions } from '../checks/options.ts';
import { ArgumentError, DataError, FileError } from '../errors.ts';
import type { SpannedText } from './chat/marks.ts';
import { type ChatMessage, checkMessages, templateMessages } from './chat/messages.ts';
import type { Wanted } from './chat/prefixes.ts';
import type { Fault } from './chat/protocol.ts';
import { renderApart } from './chat/renderer.ts';
import { chooseRule, type SpanReader, type SpanRule } from './chat/span-rules.ts';

/** What a template gets beside the messages. */
export interface ChatOptions {
  /** JSON schemas of the tools that the assistant may call. */
  tools?: readonly unknown[] | undefined;
  documents?: readonly unknown[] | undefined;
  /** Further variables that the template reads, such as `enable_thinking`. */
  variables?: Readonly<Record<string, unknown>> | undefined;
}

export interface RenderOptions extends ChatOptions {
  /** Whether to end with what invites the assistant to answer. Default: false. */
  addGenerationPrompt?: boolean | undefined;
}

/** What a template is called in errors, and what it knows of its model. */
export interface TemplateOptions {
  /** Where the template is from. */
  name?: string | undefined;
  /** The texts of special tokens by the names of their variables: `{ bos_token: '<s>' }`. */
  specialTokens?: Readonly<Record<string, string>> | undefined;
  /** The local time that `strftime_now` formats. Default: 26 July 2024, Llama 3's, so that the same data give the same text. */
  date?: Date | undefined;
}

/** Over twenty times the length of any template in use. */
const MAX_SOURCE = 1_000_000;
const CHAT_OPTIONS = ['tools', 'documents', 'variables'];

/** A chat template in Jinja, rendered as `transformers` renders it. */
export class ChatTemplate {
  /** With newlines as Jinja reads them. */
  readonly source: string;
  readonly name: string;
  private readonly specialTokens: Readonly<Record<string, string>>;
  private readonly now: number;
  private reader: Promise<SpanReader> | undefined;

  /** @throws FileError for a template of more than a million characters. */
  constructor(source: string, options: TemplateOptions = {}) {
    checkKind('source', source, TEXT);
    checkOptions(options, ['name', 'specialTokens', 'date'], 'ChatTemplate');
    checkKinds('ChatTemplate options', options, { name: optional(TEXT), date: optional(instanceOf(Date)) });
    const { name = 'the chat template', specialTokens = {}, date = new Date(2024, 6, 26) } = options;
    checkObject(specialTokens, 'specialTokens', 'an object of texts by names');
    checkKind('date', date.getTime(), NUMBER);
    if (source.length > MAX_SOURCE) throw tooMuch(name, `a template of ${source.length} characters`);
    this.source = source.replace(/\r\n?/g, '\n');
    this.name = name;
    this.specialTokens = specialTokens;
    this.now = date.getTime();
  }

  /**
   * The text of a conversation.
   * @throws DataError if the template refuses the conversation or fails at it.
   * @throws FileError if it is not a template, or takes more than a second, 256 MiB or 4 million characters.
   */
  async render(messages: readonly ChatMessage[], options: RenderOptions = {}): Promise<string> {
    checkMessages(messages);
    checkOptions(options, [...CHAT_OPTIONS, 'addGenerationPrompt'], 'render');
    const { addGenerationPrompt = false, ...rest } = options;
    const [text = ''] = await this.renderSource(this.source, [{ messages, prompting: addGenerationPrompt }], rest);
    return text;
  }

  /**
   * The text of a conversation, and the parts that the assistant wrote, each with the token that ends it: what a model is
   * to learn. docs/chat.md says how they are found.
   * @throws FileError if the template does not tell what the assistant wrote.
   * @throws DataError, FileError as `render` does.
   */
  async spans(messages: readonly ChatMessage[], options: ChatOptions = {}): Promise<SpannedText> {
    checkMessages(messages);
    checkOptions(options, CHAT_OPTIONS, 'spans');
    const { read } = await this.spanReader();
    return await read(messages, (source, wanted) => this.renderSource(source, wanted, options));
  }

  /** How `spans` finds what the assistant wrote. @throws FileError as `spans` does. */
  async spanRule(): Promise<SpanRule> {
    return (await this.spanReader()).rule;
  }

  /** The same for all conversations, so that a template is judged once. */
  private spanReader(): Promise<SpanReader> {
    this.reader ??= chooseRule(this.source, this.name, (source, wanted) => this.renderSource(source, wanted, {}));
    return this.reader;
  }

  private async renderSource(
    source: string,
    wanted: readonly Wanted<ChatMessage>[],
    { tools, documents, variables }: ChatOptions,
  ): Promise<string[]> {
    const given = wanted.map(({ messages, prompting }) => ({
      messages: templateMessages(messages),
      tools: tools ?? null,
      documents: documents ?? null,
      add_generation_prompt: prompting,
      ...this.specialTokens,
      ...variables,
    }));
    const rendered = await renderApart({ source, variables: plainJson(given), now: this.now });
    if ('texts' in rendered) return rendered.texts;
    throw errorOf(rendered.fault, this.name);
  }
}

/** @throws ArgumentError for what JSON cannot hold, such as a cycle */
function plainJson(value: unknown): string {
  try {
    return JSON.stringify(value);
  } catch (error) {
    const received = `data that JSON cannot hold: ${(error as Error).message.split('\n')[0]}`;
    throw new ArgumentError({ argument: 'messages', received, expected: 'plain data', cause: error });
  }
}

function errorOf({ kind, message }: Fault, name: string): FileError {
  switch (kind) {
    case 'syntax':
      return new FileError({ argument: name, received: `no Jinja template: ${message}`, expected: 'a chat template' });
    case 'raised':
      return refused(name, `which it refuses: ${message}`);
    case 'failed':
      return refused(name, `at which it fails: ${message}`);
    default:
      return tooMuch(name, message);
  }
}

function refused(name: string, why: string): DataError {
  const fix = 'Change the messages, or pass another template.';
  return new DataError({ argument: name, received: `a conversation ${why}`, expected: 'one that it renders', fix });
}

function tooMuch(name: string, received: string): FileError {
  const fix = 'Pass another template: this one is damaged, or not made to write conversations.';
  return new FileError({
    argument: name,
    received,
    expected: 'a chat template within the limits of docs/chat.md',
    fix,
  });
}
