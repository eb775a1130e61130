/** Rows of dialogues by the chat template of a model, and what `palm inspect MODEL --chat FILE` shows of them. */
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { gunzipSync } from 'node:zlib';
import { afterAll, describe, expect, it } from 'vitest';
import { chatText } from '../src/cli/chat-text.ts';
import { loadDocuments } from '../src/data/documents.ts';
import { loadPreferences } from '../src/data/preferences.ts';
import { loadPrompts } from '../src/data/prompts.ts';
import { loadRows } from '../src/data/token-rows.ts';
import { ArgumentError, FileError } from '../src/errors.ts';
import type { Chat } from '../src/tokenizer/chat.ts';
import { loadTokenizer } from '../src/tokenizer/load.ts';
import { openTokenizer } from '../src/tokenizer/open.ts';

const fixtures = fileURLToPath(new URL('./fixtures/chat-templates/', import.meta.url));
const templates = JSON.parse(gunzipSync(readFileSync(join(fixtures, 'templates.json.gz'))).toString());
const folder = mkdtempSync(join(tmpdir(), 'palm-chat-rows-'));
afterAll(() => rmSync(folder, { recursive: true }));

/** A model folder with a template that is recorded. */
async function modelWith(template: string | undefined): Promise<{ place: string; chat: Chat }> {
  const place = mkdtempSync(join(folder, 'model-'));
  cpSync(join(fixtures, 'tokenizer.json'), join(place, 'tokenizer.json'));
  writeFileSync(join(place, 'tokenizer_config.json'), '{"bos_token":"<s>","eos_token":"</s>"}');
  if (template !== undefined) writeFileSync(join(place, 'chat_template.jinja'), template);
  return { place, chat: (await openTokenizer(place)).chat as Chat };
}
const { place, chat } = await modelWith(templates.smollm2);
const { tokenizer } = chat;
const gemma = await modelWith(templates.gemma);

let written = 0;
function write(...rows: object[]): string {
  const path = join(folder, `rows-${written++}.jsonl`);
  writeFileSync(path, rows.map((row) => JSON.stringify(row)).join('\n'));
  return path;
}
const user = (content: string) => ({ role: 'user', content });
const assistant = (content: string, more = {}) => ({ role: 'assistant', content, ...more });
const limits = { maxLength: 500 };
const talk = [user('A river?'), assistant('The Dart.'), user('A hill?'), assistant('Broad Tor.')];

describe('dialogues by the template', () => {
  it('are learned where the assistant wrote, with the end of its turn', async () => {
    const path = write(
      { messages: talk },
      { messages: [user('Hi'), assistant('No.', { weight: 0 }), user('?'), assistant('Yes.')] },
    );
    const { rows, groups } = await loadRows('turns', path, tokenizer, limits, { chat });
    const learned = rows.map(({ tokens, targets }) => tokens.filter((_, i) => targets[i]));
    const end = tokenizer.encode('<|im_end|>');
    const said = (text: string) => [...tokenizer.encode(text), ...end];
    expect(learned).toEqual([[...said('The Dart.'), ...said('Broad Tor.')], said('Yes.')]);
    expect(rows.map(({ tokens }) => tokens)).toEqual([(await chat.encode(talk)).ids, expect.anything()]);
    expect(groups).toEqual([0, 1]);
  });

  it('are prompts and responses, as a model is prompted and answers', async () => {
    const path = write({ prompt: talk.slice(0, 3), completion: [assistant('Broad Tor.')] });
    const { rows } = await loadRows('completion', path, tokenizer, limits, { chat });
    const response = tokenizer.encode('Broad Tor.<|im_end|>', { continues: true });
    expect(rows).toEqual([{ prompt: await chat.prompt(talk.slice(0, 3)), response, meta: {} }]);
  });

  it('leave rows without dialogue as they are', async () => {
    const path = write({ prompt: 'A river?', completion: ' The Dart.' });
    expect(await loadRows('completion', path, tokenizer, limits, { chat })).toEqual(
      await loadRows('completion', path, tokenizer, limits),
    );
  });

  it('skip what the template refuses, with its words', async () => {
    const path = write({ messages: [user('Hi'), user('Hi'), assistant('No.')] }, { messages: talk });
    const { rows, skipped } = await loadRows('turns', path, gemma.chat.tokenizer, limits, { chat: gemma.chat });
    expect(rows).toHaveLength(1);
    expect(skipped).toEqual([
      { place: `${path}:1`, reason: expect.stringMatching(/refuses: Conversation roles must alternate/) },
    ]);
  });

  it('are refused by a template that does not tell what the assistant wrote', async () => {
    const { chat: phi } = await modelWith(templates.phi3);
    const rows = loadRows('turns', write({ messages: talk }), phi.tokenizer, limits, { chat: phi });
    await expect(rows).rejects.toThrow(FileError);
    await expect(rows).rejects.toThrow(/does not tell what the assistant wrote/);
  });

  it('need the chat of the tokenizer, and no solutions in steps', async () => {
    const path = write({ messages: talk });
    const of = (other: unknown, kind: 'turns' | 'steps' = 'turns') =>
      loadRows(kind, path, tokenizer, limits, { chat: other as Chat });
    await expect(of({})).rejects.toThrow(/chat: got an object, expected a Chat/);
    await expect(of(chat, 'steps')).rejects.toThrow(/cannot write solutions in steps/);
    const others = loadRows('turns', path, await loadTokenizer('byte'), limits, { chat });
    await expect(others).rejects.toThrow(ArgumentError);
  });
});

describe('plain text of a tokenizer with bos', () => {
  it('begins with it once, wherever a sequence begins, and nowhere else', async () => {
    const file = JSON.parse(readFileSync(join(fixtures, 'tokenizer.json'), 'utf8'));
    const bos = tokenizer.bosToken as number;
    const path = join(folder, 'tokenizer.json');
    const post_processor = {
      type: 'TemplateProcessing',
      single: [{ SpecialToken: { id: '<s>', type_id: 0 } }, { Sequence: { id: 'A', type_id: 0 } }],
      pair: [],
      special_tokens: { '<s>': { id: '<s>', ids: [bos], tokens: ['<s>'] } },
    };
    writeFileSync(path, JSON.stringify({ ...file, post_processor }));
    const other = await loadTokenizer(path);
    const pair = write({ prompt: 'A river?', chosen: ' The Dart.', rejected: ' No.' });
    const prompts = write({ prompt: 'A river?' });
    const texts = write({ text: 'A river.' });
    const found = [
      ...(await loadPrompts(prompts, other, { maxPromptLength: 50 })).prompts,
      ...(await loadPreferences(pair, other, limits)).pairs.map(({ prompt, chosen }) => [...prompt, ...chosen]),
      ...(await loadRows('text', texts, other, limits)).rows.map(({ tokens }) => tokens),
      ...(await loadRows('turns', write({ messages: talk }), other, limits)).rows.map(({ tokens }) => tokens),
      [...(await loadDocuments(pair, other)).tokens],
    ];
    for (const tokens of found) {
      expect(tokens[0]).toBe(bos);
      expect(tokens.filter((token) => token === bos)).toHaveLength(1);
    }
    expect(found).toHaveLength(5);
  });
});

describe('palm inspect MODEL --chat FILE', () => {
  const path = write({ messages: talk }, { messages: [{ role: 'system', content: 'word '.repeat(40) }, ...talk] });

  it('marks what is learned, in 80 columns', async () => {
    const text = await chatText(place, path, { color: false });
    expect(text).toContain('answers found by  prefixes');
    expect(text).toContain('\n        │ <|im_start|>assistant↵\nlearned │ The Dart.<|im_end|>\n        │ ↵\n');
    expect(text).toMatch(/\nline 1: \d+ tokens, \d+ learned \(\d+\.\d %\)\n/);
    expect(Math.max(...text.split('\n').map(({ length }) => length))).toBeLessThanOrEqual(80);
    expect(text).not.toContain('\x1b');
  });

  it('is green and grey in a terminal', async () => {
    const text = await chatText(place, path, { color: true });
    expect(text).toContain('learned │ \x1b[32mThe Dart.<|im_end|>\x1b[0m\n        │ \x1b[90m↵\x1b[0m');
  });

  it('says what is left out, and which models have no template', async () => {
    expect(await chatText(gemma.place, path, { color: false })).toMatch(
      /\nline 2: left out\n {2}the chat template gives no text: .*System role/,
    );
    const none = await modelWith(undefined);
    await expect(chatText(none.place, path, { color: false })).rejects.toThrow(/got no chat template/);
  });
});
