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

describe('tok-merge-out-of-vocabulary: what else the Rust library refuses', () => {
  const model = { type: 'BPE', vocab: { a: 0, b: 1, ab: 2 }, merges: ['a b'] };
  const whole = { version: '1.0', truncation: null, padding: null, added_tokens: [], model };
  const added = {
    id: 3,
    content: '<s>',
    single_word: false,
    lstrip: false,
    rstrip: false,
    normalized: false,
    special: true,
  };
  const byteLevel = { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true };
  const template = {
    type: 'TemplateProcessing',
    single: [{ Sequence: { id: 'A', type_id: 0 } }],
    pair: [],
    special_tokens: {},
  };
  const split = (pattern: object) => ({ type: 'Split', pattern, behavior: 'Isolated', invert: false });
  const wordPiece = {
    type: 'WordPiece',
    vocab: { a: 0 },
    unk_token: 'a',
    continuing_subword_prefix: '##',
    max_input_chars_per_word: 9,
  };

  it.each<[string, object]>([
    ['all parts', whole],
    ['no version', { ...whole, version: undefined }],
    ['an added token', { ...whole, added_tokens: [added] }],
    ['a ByteLevel everywhere', { ...whole, pre_tokenizer: byteLevel, decoder: byteLevel, post_processor: byteLevel }],
    ['a template', { ...whole, post_processor: template }],
    ['a WordPiece', { ...whole, model: wordPiece }],
  ])('a file with %s is read', async (_, file) => {
    expect((await load(file)).encode('ab')).not.toEqual([]);
  });

  const without = (object: object, key: string) => ({ ...object, [key]: undefined });
  it.each<[string, object]>([
    ['another version', { ...whole, version: '2.0' }],
    ['a version that is a number', { ...whole, version: 1 }],
    ['a version that is null', { ...whole, version: null }],
    ['a key that there is not', { ...whole, templates: {} }],
    ['a truncation that is none', { ...whole, truncation: 5 }],
    ['no list of added tokens, but null', { ...whole, added_tokens: null }],
    ...Object.keys(added).map((key): [string, object] => [
      `an added token without ${key}`,
      { ...whole, added_tokens: [without(added, key)] },
    ]),
    ...['add_prefix_space', 'trim_offsets'].flatMap((key) =>
      ['pre_tokenizer', 'decoder', 'post_processor'].map((part): [string, object] => [
        `a ByteLevel as ${part} without ${key}`,
        { ...whole, [part]: without(byteLevel, key) },
      ]),
    ),
    ...['unk_token', 'continuing_subword_prefix', 'max_input_chars_per_word'].map((key): [string, object] => [
      `a WordPiece without ${key}`,
      { ...whole, model: without(wordPiece, key) },
    ]),
    ['a WordLevel without unk_token', { ...whole, model: { type: 'WordLevel', vocab: { a: 0 } } }],
    ['merges in two ways', { ...whole, model: { ...model, merges: ['a b', ['a', 'b']] } }],
    ['a Unigram of threes', { ...whole, model: { type: 'Unigram', unk_id: 0, vocab: [['a', 0, 1]] } }],
    ['a Strip without sides', { ...whole, normalizer: { type: 'Strip' } }],
    ['a BertNormalizer without options', { ...whole, normalizer: { type: 'BertNormalizer' } }],
    ['Digits without options', { ...whole, pre_tokenizer: { type: 'Digits' } }],
    ['a Metaspace without its letter', { ...whole, pre_tokenizer: { type: 'Metaspace' } }],
    ['a Split without invert', { ...whole, pre_tokenizer: without(split({ String: ' ' }), 'invert') }],
    ['two patterns', { ...whole, pre_tokenizer: split({ String: ' ', Regex: ' ' }) }],
    [
      'a template of the second text',
      { ...whole, post_processor: { ...template, single: [{ Sequence: { id: 'B' } }] } },
    ],
    ['a template without special tokens', { ...whole, post_processor: without(template, 'special_tokens') }],
    ['BertProcessing without tokens', { ...whole, post_processor: { type: 'BertProcessing' } }],
    ['a BPEDecoder without suffix', { ...whole, decoder: { type: 'BPEDecoder' } }],
    ['a WordPiece decoder without options', { ...whole, decoder: { type: 'WordPiece' } }],
    ['a CTC without options', { ...whole, decoder: { type: 'CTC' } }],
    ['an expression that begins at the last match', { ...whole, pre_tokenizer: split({ Regex: '\\G.' }) }],
  ])('a file with %s', async (_, file) => {
    await expect(load(file)).rejects.toThrow(FileError);
  });

  it('an empty name of the unknown token is a name', async () => {
    const tokenizer = await load({ ...whole, model: { ...model, unk_token: '' } });
    expect(tokenizer.encode('ab')).toEqual([2]);
    expect(() => tokenizer.encode('az')).toThrow(FileError);
  });
});

describe('tok-split: an expression with a group without case', () => {
  const words = ["'ſ", "'S", '\u212a', 'a', "'ſa", "'Sa", '\u212aa', '<unk>'];
  const splitting = (source: string) =>
    load({
      version: '1.0',
      pre_tokenizer: { type: 'Split', pattern: { Regex: source }, behavior: 'Isolated', invert: false },
      model: { type: 'WordLevel', vocab: Object.fromEntries(words.map((word, i) => [word, i])), unk_token: '<unk>' },
    });

  it.each([
    ["(?i:'s|'t)", ["'ſa", "'Sa"], [0, 3, 1, 3]],
    ["'(?i:[sdmt]|ll|ve|re)", ["'ſa", "'Sa"], [0, 3, 1, 3]],
    ['(?i:k)', ['\u212aa'], [2, 3]],
  ])('%s also finds the letters beyond ASCII that have another case in it', async (source, texts, ids) => {
    const tokenizer = await splitting(source);
    expect(texts.flatMap((text) => tokenizer.encode(text))).toEqual(ids);
  });

  it.each(['(?i:é)', '(?i:[a-z])', '(?i:ss)', '(?i:(a)b)', '(?i:\\p{Lu})'])('%s is refused', async (source) => {
    await expect(splitting(source)).rejects.toThrow(FileError);
  });
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
