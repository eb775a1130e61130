/** The tokenizer of a model, with everything about text that its files say. */
import { existsSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { checkKind, checkKinds, instanceOf, optional, PATH, TEXT } from '../checks/kinds.ts';
import { checkOptions } from '../checks/options.ts';
import { ArgumentError, FileError } from '../errors.ts';
import { Chat } from './chat.ts';
import { ChatTemplate } from './chat-template.ts';
import { findTemplates, type FoundTemplates, templatesIn } from './chat/template-files.ts';
import { HuggingFaceTokenizer } from './hugging-face.ts';
import { readObject } from './json-file.ts';
import { checkTokenizerJson, openGgufTokenizer } from './load.ts';
import type { Json } from './pipeline/step.ts';
import { stopTokensOf } from './special-tokens.ts';

export interface OpenOptions {
  /** A chat template, as Jinja, in place of the model's; or the name of one of the model's. Default: its `default`. */
  chatTemplate?: string | undefined;
  /** The date that chat templates write. Default: 26 July 2024. */
  date?: Date | undefined;
}

/** What the files of a model say about text. */
export interface ModelTokenizer {
  tokenizer: HuggingFaceTokenizer;
  /** Undefined for a model without a chat template. */
  chat: Chat | undefined;
  /** All tokens that end an answer. */
  stopTokens: readonly number[];
}

/**
 * Opens the tokenizer of a model: a folder with tokenizer.json, and what there is of tokenizer_config.json,
 * chat_template.jinja, additional_chat_templates/, generation_config.json and config.json; or a GGUF file.
 * @throws FileError if there is no tokenizer.json, or a file is not what its name says.
 * @throws ArgumentError for a template that the model does not have.
 */
export async function openTokenizer(model: string, options: OpenOptions = {}): Promise<ModelTokenizer> {
  checkKind('model', model, PATH);
  checkOptions(options, ['chatTemplate', 'date'], 'openTokenizer');
  checkKinds('openTokenizer options', options, { chatTemplate: optional(TEXT), date: optional(instanceOf(Date)) });
  if (model.endsWith('.gguf')) {
    const { tokenizer, stopTokens } = await openGgufTokenizer(model);
    return { tokenizer, chat: chatOf(tokenizer, options), stopTokens };
  }
  const folder = statSync(model, { throwIfNoEntry: false })?.isDirectory() ? model : dirname(model);
  checkTokenizerJson(folder);
  const tokenizer = await HuggingFaceTokenizer.load(join(folder, 'tokenizer.json'));
  const stopTokens = stopTokensOf({
    generation: objectIn(folder, 'generation_config.json'),
    config: objectIn(folder, 'config.json'),
    eosToken: tokenizer.eosToken,
  });
  return { tokenizer, chat: chatOf(tokenizer, options), stopTokens };
}

/**
 * A tokenizer with the chat template in its files; undefined if they have none.
 * @throws FileError for what is not a template.
 * @throws ArgumentError for a template that they do not have.
 */
export function chatOf(tokenizer: HuggingFaceTokenizer, { chatTemplate, date }: OpenOptions = {}): Chat | undefined {
  const { config } = tokenizer;
  const { path } = tokenizer.describe();
  const isGguf = path.endsWith('.gguf');
  const templates = isGguf ? templatesIn(config, path) : findTemplates(dirname(path), config);
  const found = chooseTemplate(isGguf ? path : dirname(path), templates, chatTemplate);
  const more = { specialTokens: tokenizer.templateTokens, date };
  return found && new Chat(tokenizer, new ChatTemplate(found.source, { ...more, name: found.name }));
}

function objectIn(folder: string, name: string): Json | undefined {
  const path = join(folder, name);
  return existsSync(path) ? readObject(path, { expected: `a ${name}` }).object : undefined;
}

function chooseTemplate(folder: string, templates: FoundTemplates, asked: string | undefined) {
  if (asked !== undefined && !templates.has(asked)) {
    if (asked.includes('{')) return { source: asked, name: 'chatTemplate' };
    const expected = `a template, or one of ${[...templates.keys()].join(', ') || 'none'}`;
    throw new ArgumentError({ argument: 'chatTemplate', received: JSON.stringify(asked), expected });
  }
  const found = templates.get(asked ?? 'default');
  if (found !== undefined || templates.size === 0) return found;
  const received = `the chat templates ${[...templates.keys()].join(', ')}`;
  const fix = 'Choose one of them with chatTemplate.';
  throw new FileError({ argument: folder, received, expected: 'one called default', fix });
}
