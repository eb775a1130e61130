/** Conversations as tokens, and which of them are learned, compared with transformers (test/fixtures/chat-templates/record.py). */
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { gunzipSync } from 'node:zlib';
import { afterAll, describe, expect, it } from 'vitest';
import { ArgumentError, DataError, FileError } from '../../src/errors.ts';
import { Chat } from '../../src/tokenizer/chat.ts';
import type { ChatMessage } from '../../src/tokenizer/chat/messages.ts';
import { ChatTemplate } from '../../src/tokenizer/chat-template.ts';
import { HuggingFaceTokenizer } from '../../src/tokenizer/hugging-face.ts';
import { openTokenizer } from '../../src/tokenizer/open.ts';

const fixtures = fileURLToPath(new URL('../fixtures/chat-templates/', import.meta.url));
const zipped = (name: string) => JSON.parse(gunzipSync(readFileSync(join(fixtures, name))).toString());
const templates = zipped('templates.json.gz') as Record<string, string>;
const conversations = new Map<string, { messages: ChatMessage[]; tools?: unknown[] }>(
  JSON.parse(readFileSync(join(fixtures, 'conversations.json'), 'utf8')).map((each: { name: string }) => [
    each.name,
    each,
  ]),
);
const { now, variables, renderings } = zipped('renderings.json.gz') as {
  now: string;
  variables: Record<string, string>;
  renderings: Recorded[];
};
interface Recorded {
  template: string;
  conversation: string;
  text?: string;
  /** Ranges of the text, and of the ids. */
  spans?: [number, number][];
  ids?: number[];
  tokenSpans?: [number, number][];
}
const file = JSON.parse(readFileSync(join(fixtures, 'tokenizer.json'), 'utf8'));
const tokenizer = HuggingFaceTokenizer.of({
  name: 'recorded',
  tokenizer: file,
  config: variables,
});
const chatOf = (source: string) =>
  new Chat(tokenizer, new ChatTemplate(source, { specialTokens: tokenizer.templateTokens, date: new Date(now) }));
const named = (name: string) => chatOf(templates[name] as string);

const TALK: ChatMessage[] = [
  { role: 'user', content: 'Name a river.' },
  { role: 'assistant', content: 'The Dart.' },
  { role: 'user', content: 'And a hill?' },
  { role: 'assistant', content: '  Broad Tor' },
];

/** The same tokenizer with special tokens that it shows in a text. */
const showing = HuggingFaceTokenizer.of({
  name: 'showing',
  tokenizer: { ...file, added_tokens: file.added_tokens.map((token: object) => ({ ...token, special: false })) },
});

/** The text of a conversation, and the runs in it that are learned. */
function readBack({ ids, mask }: { ids: number[]; mask: boolean[] }) {
  const runs: number[][] = [];
  for (const [i, id] of ids.entries()) if (mask[i]) mask[i - 1] ? runs.at(-1)?.push(id) : runs.push([id]);
  return { text: showing.decode(ids), learned: runs.map((run) => showing.decode(run)) };
}

/** The texts of spans; those that touch are one. */
function textsOf(text: string, spans: readonly [number, number][]): string[] {
  const joined: [number, number][] = [];
  for (const [begin, end] of spans) {
    const last = joined.at(-1);
    if (last?.[1] === begin) last[1] = end;
    else joined.push([begin, end]);
  }
  return joined.map(([begin, end]) => text.slice(begin, end)).filter(Boolean);
}

describe('what transformers encodes', () => {
  const recorded = renderings.filter(({ ids }) => ids !== undefined);
  const byTemplate = [...new Set(recorded.map(({ template }) => template))];

  let equal = 0;

  it.each(byTemplate)('%s: has the same tokens and targets, but for answers that are encoded apart', async (name) => {
    const chat = named(name);
    for (const { conversation, text = '', spans = [], ids, tokenSpans = [] } of recorded.filter(
      ({ template }) => template === name,
    )) {
      const { messages, tools } = conversations.get(conversation) as { messages: ChatMessage[]; tools?: unknown[] };
      const found = await chat.encode(messages, { tools });
      if (String(found.ids) === String(ids)) {
        equal++;
        expect(found.mask).toEqual(found.ids.map((_, i) => tokenSpans.some(([begin, end]) => begin <= i && i < end)));
      }
      expect(readBack(found)).toEqual({ text, learned: textsOf(text, spans) });
    }
  });

  it('is of many templates, and nearly all the same', () => {
    expect(byTemplate.length).toBeGreaterThan(25);
    expect(equal / recorded.length).toBeGreaterThan(0.9);
  });
});

describe('a conversation', () => {
  it.each([
    ['smollm2', ['The Dart.<|im_end|>', '  Broad Tor<|im_end|>']],
    ['llama3', ['The Dart.<|eot_id|>', 'Broad Tor<|eot_id|>']],
    ['qwen3', ['The Dart.<|im_end|>', '<think>\n\n</think>\n\n  Broad Tor<|im_end|>']],
  ])('of %s is learned with the token that ends each answer', async (name, learned) => {
    const found = readBack(await named(name).encode(TALK));
    expect(found).toEqual({ text: await named(name).template.render(TALK), learned });
  });

  it.each(['smollm2', 'llama3', 'qwen2_5', 'qwen3', 'gemma3'])(
    'of %s is prompted as it was learned: the tokens of an answer follow those of its prompt',
    async (name) => {
      const { ids, mask } = await named(name).encode(TALK.slice(0, 2));
      expect(await named(name).prompt(TALK.slice(0, 1))).toEqual(ids.slice(0, mask.indexOf(true)));
    },
  );

  it('leaves out what is not to be learned, by message', async () => {
    const some = TALK.map((message, i) => (i === 1 ? { ...message, train: false } : message));
    const [all, found] = [await named('smollm2').encode(TALK), await named('smollm2').encode(some)];
    expect(found.ids).toEqual(all.ids);
    const second = all.mask.lastIndexOf(false, all.mask.lastIndexOf(true));
    expect(found.mask).toEqual(all.mask.map((learned, i) => learned && i > second));
    const error = named('phi3_training').encode(some);
    await expect(error).rejects.toThrow(DataError);
    await expect(error).rejects.toThrow(/3 answers in the text of 2/);
  });

  it('is encoded apart where no special token is at an edge', async () => {
    expect(await named('llama3').encodesApart()).toBe(true);
    const { ids, mask } = await named('llama3').encode(TALK);
    expect(ids.filter((_, i) => mask[i])).toEqual([
      ...tokenizer.encode('The Dart.<|eot_id|>'),
      ...tokenizer.encode('Broad Tor<|eot_id|>'),
    ]);
    expect(ids).not.toEqual(tokenizer.encode(await named('llama3').template.render(TALK)));
    expect(await named('smollm2').encodesApart()).toBe(false);
  });

  it('never begins with bos twice', async () => {
    const twice = chatOf(`{{ bos_token }}${templates.llama3}`);
    await expect(twice.prompt(TALK)).rejects.toThrow(/begins with bos twice/);
    await expect(twice.encode(TALK)).rejects.toThrow(DataError);
    const { ids } = await named('llama3').encode(TALK);
    expect([ids[0], ids.filter((id) => id === tokenizer.bosToken).length]).toEqual([tokenizer.bosToken, 1]);
  });

  it('has the tokens of the whole wherever special tokens part it, or is refused', async () => {
    const stripping = file.added_tokens.map((token: object) => ({ ...token, rstrip: true }));
    const other = HuggingFaceTokenizer.of({ name: 'strips', tokenizer: { ...file, added_tokens: stripping } });
    const source =
      '{% for m in messages %}<|im_start|>{% generation %}  {{ m.content }}<|im_end|>{% endgeneration %}{% endfor %}';
    await expect(new Chat(other, new ChatTemplate(source)).encode(TALK)).rejects.toThrow(
      /have other tokens than in the whole text/,
    );
  });
});

describe('openTokenizer', () => {
  const folder = mkdtempSync(join(tmpdir(), 'palm-open-'));
  afterAll(() => rmSync(folder, { recursive: true }));
  let made = 0;
  const write = (files: Record<string, unknown>) => {
    const place = join(folder, `model-${made++}`);
    mkdirSync(join(place, 'additional_chat_templates'), { recursive: true });
    cpSync(join(fixtures, 'tokenizer.json'), join(place, 'tokenizer.json'));
    for (const [name, content] of Object.entries(files))
      writeFileSync(join(place, name), typeof content === 'string' ? content : JSON.stringify(content));
    return place;
  };
  const said = async (place: string, options = {}) =>
    (await openTokenizer(place, options)).chat?.template.render([{ role: 'user', content: 'Hi' }]);
  const config = { chat_template: 'config {{ bos_token }}', bos_token: { content: '<s>' }, eos_token: '</s>' };

  it.each<[string, Record<string, unknown>, string | undefined]>([
    ['tokenizer_config.json', { 'tokenizer_config.json': config }, 'config <s>'],
    [
      'chat_template.jinja, which comes first',
      { 'tokenizer_config.json': config, 'chat_template.jinja': 'file' },
      'file',
    ],
    [
      'a list of templates',
      {
        'tokenizer_config.json': {
          chat_template: [
            { name: 'rag', template: 'r' },
            { name: 'default', template: 'd' },
          ],
        },
      },
      'd',
    ],
    ['no file, if there is none', {}, undefined],
  ])('reads the template of %s', async (_, files, text) => {
    expect(await said(write(files))).toBe(text);
  });

  it('takes another template by name or as text', async () => {
    const place = write({ 'chat_template.jinja': 'file', 'additional_chat_templates/rag.jinja': 'rag' });
    expect(await said(place, { chatTemplate: 'rag' })).toBe('rag');
    expect(await said(place, { chatTemplate: '{{ messages[0].content }}' })).toBe('Hi');
    await expect(said(place, { chatTemplate: 'tools' })).rejects.toThrow(ArgumentError);
    await expect(said(place, { chatTemplate: 'tools' })).rejects.toThrow(
      /got "tools", expected a template, or one of default, rag/,
    );
  });

  it.each<[string, Record<string, unknown>, RegExp]>([
    ['a template that is none', { 'tokenizer_config.json': { chat_template: 7 } }, /got 7 as chat_template/],
    ['no default', { 'additional_chat_templates/rag.jinja': 'rag' }, /expected one called default/],
    ['a damaged configuration', { 'config.json': '[' }, /config\.json/],
    ['stop tokens that are none', { 'config.json': { eos_token_id: ['a'] } }, /config\.json: got "a" in eos_token_id/],
  ])('refuses %s', async (_, files, message) => {
    const opened = openTokenizer(write(files));
    await expect(opened).rejects.toThrow(FileError);
    await expect(opened).rejects.toThrow(message);
  });

  it('says how to convert a tokenizer of another format', async () => {
    const place = write({ 'tokenizer.model': '' });
    rmSync(join(place, 'tokenizer.json'));
    await expect(openTokenizer(place)).rejects.toThrow(
      /got tokenizer\.model without tokenizer\.json.*python -c 'from transformers import/,
    );
  });

  it('stops at the tokens of all files', async () => {
    const files = {
      'tokenizer_config.json': { eos_token: '</s>' },
      'generation_config.json': { eos_token_id: [7, 3] },
      'config.json': { eos_token_id: 3, text_config: { eos_token_id: 9 } },
    };
    const { tokenizer, stopTokens } = await openTokenizer(write(files));
    expect(stopTokens).toEqual([7, 3, 9, tokenizer.eosToken]);
    expect((await openTokenizer(write({ 'config.json': { eos_token_id: null } }))).stopTokens).toHaveLength(1);
  });
});
