/** Faults that were found in tokenizers, each under its name, with the ids of the Rust library. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { loadDocuments } from '../../src/data/documents.ts';
import { loadPreferences } from '../../src/data/preferences.ts';
import { FileError } from '../../src/errors.ts';
import { loadTokenizer } from '../../src/tokenizer/load.ts';

const recorded = new URL('../fixtures/tokenizer/cases.json', import.meta.url);
const cases = JSON.parse(readFileSync(recorded, 'utf8')) as Record<
  string,
  { tokenizer: object; expected: { text: string; ids: number[] }[] }
>;
const OUT_OF_VOCABULARY = 'tok-merge-out-of-vocabulary';

const folder = mkdtempSync(join(tmpdir(), 'palm-cases-'));
afterAll(() => rmSync(folder, { recursive: true }));

function write(name: string, content: object): string {
  const path = join(folder, name);
  writeFileSync(path, JSON.stringify(content));
  return path;
}

const load = (tokenizer: object) => loadTokenizer(write('tokenizer.json', tokenizer));
const encoded = Object.entries(cases).filter(([name]) => name !== OUT_OF_VOCABULARY);

it.each(encoded)('%s', async (_, { tokenizer: file, expected }) => {
  const tokenizer = await load(file);
  expect(expected.map(({ text }) => ({ text, ids: tokenizer.encode(text) }))).toEqual(expected);
});

it(`${OUT_OF_VOCABULARY}: the file is refused`, async () => {
  const file = cases[OUT_OF_VOCABULARY]?.tokenizer as { model: { merges: string[][] } };
  await expect(load(file)).rejects.toThrow(FileError);
  const other = { ...file, model: { ...file.model, merges: [['a', 'z']] } };
  await expect(load(other)).rejects.toThrow(FileError);
});

describe('an unknown word', () => {
  const wordLevel = (vocab: object) =>
    load({
      version: '1.0',
      pre_tokenizer: { type: 'WhitespaceSplit' },
      model: { type: 'WordLevel', vocab, unk_token: '<unk>' },
    });

  it('tok-wordlevel-pretrain-token-0: is the unknown token, not 0', async () => {
    const tokenizer = await wordLevel({ the: 1, cat: 2, '<unk>': 182 });
    expect(tokenizer.encode('the cat zzz')).toEqual([1, 2, 182]);
  });

  it('is refused where the vocabulary has no unknown token', async () => {
    const tokenizer = await wordLevel({ the: 1, cat: 2 });
    expect(tokenizer.encode('the cat')).toEqual([1, 2]);
    expect(() => tokenizer.encode('the dog')).toThrow(FileError);
  });
});

describe('sentencepiece-joined-space', () => {
  const letters = [...new Set('Q: 2+2=45AssistantYesNo.Human?Isit\n▁Sayabcdef ĠĊ')];
  const model = {
    type: 'BPE',
    vocab: Object.fromEntries(letters.map((letter, i) => [letter, i])),
    merges: [],
    unk_token: 'Q',
  };
  const metaspace = { type: 'Metaspace', replacement: '▁', prepend_scheme: 'always' };
  const byteLevel = { type: 'ByteLevel', add_prefix_space: true, trim_offsets: true, use_regex: true };
  const prepend = [
    { type: 'Prepend', prepend: '▁' },
    { type: 'Replace', pattern: { String: ' ' }, content: '▁' },
  ];
  const backToSpaces = [
    { type: 'Replace', pattern: { String: '▁' }, content: ' ' },
    { type: 'Fuse' },
    { type: 'Strip', content: ' ', start: 1, stop: 0 },
  ];
  const files: [string, object][] = [
    ['Metaspace', { pre_tokenizer: metaspace, decoder: metaspace, model }],
    ['Metaspace first', { pre_tokenizer: { ...metaspace, prepend_scheme: 'first' }, decoder: metaspace, model }],
    [
      'Prepend',
      {
        normalizer: { type: 'Sequence', normalizers: prepend },
        decoder: { type: 'Sequence', decoders: backToSpaces },
        model,
      },
    ],
    ['ByteLevel', { pre_tokenizer: byteLevel, decoder: byteLevel, model }],
  ];
  const rows = [
    { prompt: 'Q: 2+2=', chosen: '4', rejected: '5' },
    { prompt: 'Say: ab', chosen: 'cde', rejected: ' cde' },
    { prompt: 'Is it?\nAssistant:', chosen: ' Yes', rejected: ' No.' },
  ];
  const space = (name: string) => (name === 'ByteLevel' ? ' ' : '');

  it.each(files)('%s: prompt and response decode to the text of the row', async (name, file) => {
    const tokenizer = await load(file);
    for (const { prompt, chosen, rejected } of rows) {
      for (const response of [chosen, rejected]) {
        const tokens = [...tokenizer.encode(prompt), ...tokenizer.encode(response, { continues: true })];
        expect(tokenizer.decode(tokens)).toBe(space(name) + prompt + response);
      }
    }
  });

  it.each(files)('%s: so do the rows of preferences and documents', async (name, file) => {
    const tokenizer = await load(file);
    const path = write('rows.jsonl', {});
    writeFileSync(path, rows.map((row) => JSON.stringify(row)).join('\n'));
    const { pairs } = await loadPreferences(path, tokenizer, { maxLength: 100, maxPromptLength: 100 });
    const texts = pairs.map(({ prompt, chosen }) => tokenizer.decode([...prompt, ...chosen]));
    expect(texts).toEqual(rows.map(({ prompt, chosen }) => space(name) + prompt + chosen));
    const documents = await loadDocuments(path, tokenizer);
    expect(documents.tokens).toHaveLength(pairs.reduce((sum, row) => sum + row.prompt.length + row.chosen.length, 0));
  });
});
