/** `palm chat`: a conversation with a model in the terminal, or a line of stdin for each message. */
import { createInterface } from 'node:readline';
import type { Command } from 'commander';
import * as z from 'zod';
import { count, path } from '../config/fields.ts';
import { MODEL, stop } from '../config/inputs.ts';
import { samplingConfig } from '../config/sampling.ts';
import { ArgumentError } from '../errors.ts';
import type { LanguageModel } from '../models/language-model.ts';
import { adapterOf, loadScoped, MODEL_KINDS } from '../models/registry.ts';
import { silentTokens } from '../runs/answers.ts';
import { chatTextOf, findModelOf, loadingOf, type ModelText } from '../runs/model-file.ts';
import type { Chat } from '../tokenizer/chat.ts';
import type { ChatMessage } from '../tokenizer/chat/messages.ts';
import { stopSequences } from '../tokenizer/stop-sequences.ts';
import { decodeStream, endTokens } from '../tokenizer/tokenizer.ts';
import { loading, placeOf } from './model-options.ts';
import { configuredCommand } from './options.ts';

const { maxNewTokens, temperature, topK, topP, minP, weights, seed } = samplingConfig.shape;

const schema = z.strictObject({
  model: path.describe(MODEL),
  system: z.string().min(1).optional().describe('system message at the beginning'),
  maxNewTokens: maxNewTokens.default(512),
  ...{ temperature, topK, topP, minP, weights, seed, stop },
  maxLength: count.default(4096).describe('tokens of conversation and answer; the oldest messages are left out'),
  scope: z.string().min(1).optional().describe('adapters to use (default: actor, or the only ones)'),
  ...loading,
});
type Config = z.output<typeof schema>;

/** The `chat` command. */
export function chatCommand(): Command {
  return configuredCommand('chat', schema, chat, 'model').description(
    'talk to a model that was tuned for conversations; /reset begins again, /exit ends',
  );
}

async function chat(config: Config): Promise<void> {
  const file = await findModelOf(await placeOf(config.model, config), MODEL_KINDS, config);
  const text = await chatTextOf(config, file, new Date());
  using model = await loadScoped(file.path, loadingOf(file, text, config.device));
  const conversation = new Conversation(model, text, {
    ...config,
    scope: config.scope ?? adapterOf(model.scopes, file.path),
  });
  const isTerminal = process.stdin.isTTY === true;
  const lines = createInterface({
    input: process.stdin,
    output: isTerminal ? process.stdout : undefined,
    prompt: '> ',
  });
  if (isTerminal) console.log('/reset begins again, /exit ends, Ctrl-C stops an answer.');
  lines.on('SIGINT', () => {
    if (conversation.stop()) return;
    console.log();
    lines.close();
  });
  if (isTerminal) lines.prompt();
  for await (const line of lines) {
    if (line.trim() === '/exit') break;
    if (line.trim() === '/reset') conversation.reset();
    else if (line.trim() !== '') await conversation.say(line);
    if (isTerminal) lines.prompt();
  }
  lines.close();
}

/** Messages so far, and the model that answers them. */
class Conversation {
  readonly #model: LanguageModel;
  readonly #text: ModelText & { chat: Chat };
  readonly #config: Config;
  #messages: ChatMessage[] = [];
  #answering: AbortController | undefined;

  constructor(model: LanguageModel, text: ModelText & { chat: Chat }, config: Config) {
    this.#model = model;
    this.#text = text;
    this.#config = config;
  }

  reset(): void {
    this.#messages = [];
  }

  /** Stops the answer; false if there is none that is not stopped already. */
  stop(): boolean {
    if (this.#answering === undefined || this.#answering.signal.aborted) return false;
    this.#answering.abort();
    return true;
  }

  /** Prints the answer to a message as it is sampled. An answer that was stopped stays in the conversation as far as it went. */
  async say(content: string): Promise<void> {
    this.#messages.push({ role: 'user', content });
    const prompt = await this.#prompt();
    const answering = new AbortController();
    this.#answering = answering;
    try {
      const answer = await this.#answer(prompt, answering.signal);
      this.#messages.push({ role: 'assistant', content: answer });
    } finally {
      this.#answering = undefined;
      process.stdout.write('\n');
    }
  }

  async #answer(prompt: number[], signal: AbortSignal): Promise<string> {
    const { maxNewTokens, temperature, topK, topP, minP, weights, seed, scope, stop } = this.#config;
    const sampling = { maxNewTokens, temperature, topK, topP, minP, weights, seed, scope };
    const suppress = silentTokens(this.#text, this.#model.decoder.numTokens);
    const ends = { eosToken: endTokens(this.#text), stop: stopSequences(stop, this.#text) };
    const decoder = decodeStream(this.#text);
    let answer = '';
    const print = (piece: string) => {
      process.stdout.write(piece);
      answer += piece;
    };
    for await (const { token } of this.#model.stream({ ...sampling, ...ends, prompt, suppress })) {
      print(decoder.push(token));
      if (signal.aborted) break;
    }
    print(decoder.end());
    return answer;
  }

  /** The conversation as tokens, without its oldest messages where it is too long. @throws ArgumentError if one message is */
  async #prompt(): Promise<number[]> {
    const { system, maxLength, maxNewTokens } = this.#config;
    const first: ChatMessage[] = system === undefined ? [] : [{ role: 'system', content: system }];
    for (; ; this.#messages.splice(0, 2)) {
      const prompt = await this.#text.chat.prompt([...first, ...this.#messages]);
      if (prompt.length + maxNewTokens <= maxLength) return prompt;
      if (this.#messages.length > 1) continue;
      const received = `a message of ${prompt.length} tokens and an answer of ${maxNewTokens}`;
      const fix = 'Write less, or raise --maxLength as far as the model reads.';
      throw new ArgumentError({ argument: '--maxLength', received, expected: `at most ${maxLength} together`, fix });
    }
  }
}
