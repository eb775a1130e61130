/** What every tokenizer must do; the Hugging Face ones are compared with what the Rust library `tokenizers` 0.23 gives. */
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, describe, expect, it } from 'vitest';
import { Random } from '../../src/data/random.ts';
import { ArgumentError, FileError } from '../../src/errors.ts';
import { ByteTokenizer } from '../../src/tokenizer/byte.ts';
import { HuggingFaceTokenizer } from '../../src/tokenizer/hugging-face.ts';
import { loadTokenizer } from '../../src/tokenizer/load.ts';
import { decodeStream, type Tokenizer } from '../../src/tokenizer/tokenizer.ts';

const fixtures = fileURLToPath(new URL('../fixtures/tokenizer/', import.meta.url));
const recorded = JSON.parse(readFileSync(join(fixtures, 'recorded.json'), 'utf8')) as Record<
  string,
  { vocabSize: number; samples: { text: string; tokens: number[]; decoded: string }[] }
>;
const folder = mkdtempSync(join(tmpdir(), 'palm-tokenizer-'));
afterAll(() => rmSync(folder, { recursive: true }));

const pathOf = (name: string) => join(fixtures, name, 'tokenizer.json');
const tokenizers: [string, Tokenizer][] = [
  ['byte', await loadTokenizer('byte')],
  ['byte-level', await loadTokenizer(pathOf('byte-level'))],
  ['metaspace', await loadTokenizer(pathOf('metaspace'))],
];

const TEXTS = [
  '',
  'Before we proceed any further, hear me speak.',
  'two\n\nlines\r\n\tand a tab',
  'naïve café — 你好 😀👩‍👩‍👧',
  'a mark, \ufffd and \0',
];

function streamed(tokenizer: Tokenizer, tokens: number[]): { pieces: string[]; text: string } {
  const stream = decodeStream(tokenizer);
  const pieces = tokens.map((token) => stream.push(token));
  pieces.push(stream.end());
  return { pieces, text: pieces.join('') };
}

describe.each(tokenizers)('%s', (_, tokenizer) => {
  it.each(TEXTS)('gives %j back', (text) => {
    const tokens = tokenizer.encode(text);
    expect(tokenizer.decode(tokens)).toBe(text);
    expect(tokens.every((token) => Number.isInteger(token) && token >= 0 && token < tokenizer.vocabSize)).toBe(true);
  });

  it.each(TEXTS)('streams %j', (text) => {
    expect(streamed(tokenizer, tokenizer.encode(text)).text).toBe(text);
  });

  it('never streams a broken character that becomes whole', () => {
    const { pieces } = streamed(tokenizer, tokenizer.encode('😀你é'));
    expect(pieces.join('|')).not.toContain('\ufffd');
    expect(pieces.filter((piece) => piece !== '')).toEqual(['😀', '你', 'é']);
  });

  it('streams any tokens as decode gives them', () => {
    const random = new Random(3);
    for (let i = 0; i < 200; i++) {
      const tokens = Array.from({ length: 1 + random.int(30) }, () => random.int(tokenizer.vocabSize));
      expect(streamed(tokenizer, tokens).text).toBe(tokenizer.decode(tokens));
    }
  });

  it('leaves special tokens out of the text', () => {
    const tokens = [
      ...tokenizer.encode('ab'),
      ...[tokenizer.eosToken, tokenizer.padToken].filter((t) => t !== undefined),
    ];
    expect(tokenizer.decode(tokens)).toBe('ab');
  });

  it.each([[-1], [1.5], [1e9]])('refuses the token %d', (token) => {
    expect(() => tokenizer.decode([0, token])).toThrow(ArgumentError);
    expect(() => tokenizer.decode([0, token])).toThrow(/tokens\[1\]: got .* expected an integer from 0 to/);
  });
});

describe('bytes', () => {
  const bytes = new ByteTokenizer();

  it('are tokens 0 to 255, then eos and padding', () => {
    expect(bytes.encode('é!')).toEqual([0xc3, 0xa9, 0x21]);
    expect([bytes.vocabSize, bytes.eosToken, bytes.padToken]).toEqual([258, 256, 257]);
    expect(bytes.describe()).toEqual({ type: 'byte' });
  });

  it('keep a byte order mark', () => {
    expect(bytes.decode(bytes.encode('\ufeffa'))).toBe('\ufeffa');
  });

  it('that are no UTF-8 show as U+FFFD, in a stream as soon as that is certain', () => {
    expect(bytes.decode([0xff, 0x61, 0xc3])).toBe('\ufffda\ufffd');
    const stream = decodeStream(bytes);
    expect([0xc3, 0x61, 0xe4, 0xbd].map((token) => stream.push(token))).toEqual(['', '\ufffda', '', '']);
    expect(stream.end()).toBe('\ufffd');
  });
});

describe.each(['byte-level', 'metaspace'])('%s', (name) => {
  const { vocabSize, samples } = recorded[name] as (typeof recorded)[string];
  const tokenizer = tokenizers.find(([other]) => other === name)?.[1] as Tokenizer;

  it.each(samples)('encodes $text as the Rust library', ({ text, tokens }) => {
    expect(tokenizer.encode(text)).toEqual(tokens);
  });

  it.each(samples)('decodes $text as the Rust library', ({ tokens, decoded }) => {
    expect(tokenizer.decode(tokens)).toBe(decoded);
  });

  it('has its size and place', () => {
    expect(tokenizer.vocabSize).toBe(vocabSize);
    expect(tokenizer.describe()).toEqual({ type: 'hugging-face', path: pathOf(name), hash: tokenizer.hash });
  });
});

describe('special tokens', () => {
  it('have usual names, or those that tokenizer_config.json gives', () => {
    const [, byteLevel, metaspace] = tokenizers.map(([, tokenizer]) => tokenizer);
    expect([byteLevel?.eosToken, byteLevel?.padToken]).toEqual([0, 1]);
    expect([metaspace?.eosToken, metaspace?.padToken]).toEqual([2, undefined]);
  });

  it('can be chosen', async () => {
    const tokenizer = await HuggingFaceTokenizer.load(pathOf('metaspace'), { eosToken: 1, padToken: 0 });
    expect([tokenizer.eosToken, tokenizer.padToken]).toEqual([1, 0]);
    const wrong = HuggingFaceTokenizer.load(pathOf('metaspace'), { eosToken: 1000 });
    await expect(wrong).rejects.toThrow(/eosToken: got 1000, expected a token of this tokenizer/);
  });
});

describe('the hash', () => {
  const copyTo = (name: string, text: string) => {
    const place = mkdtempSync(join(folder, 'copy-'));
    writeFileSync(join(place, name), text);
    return join(place, name);
  };
  const original = readFileSync(pathOf('byte-level'), 'utf8');

  it('is identified by content, wherever the file lies (tokenizer-by-path)', async () => {
    const hash = (await loadTokenizer(pathOf('byte-level'))).hash;
    expect(hash).toMatch(/^[0-9a-f]{64}$/);
    expect((await loadTokenizer(copyTo('tokenizer.json', original))).hash).toBe(hash);
    expect((await loadTokenizer(copyTo('other.json', `${original} `))).hash).not.toBe(hash);
    expect((await loadTokenizer(pathOf('metaspace'))).hash).not.toBe(hash);
    expect((await loadTokenizer('byte')).hash).toBe('byte');
  });

  it('tells tokenizers apart that name another eos or padding', async () => {
    const hashes = [{}, { eosToken: 1 }, { padToken: 0 }, { eosToken: 0, padToken: 1 }].map(
      async (options) => (await HuggingFaceTokenizer.load(pathOf('byte-level'), options)).hash,
    );
    const [usual, otherEos, otherPad, named] = await Promise.all(hashes);
    expect(new Set([usual, otherEos, otherPad]).size).toBe(3);
    expect(named).toBe(usual);
  });
});

describe('tokenizer files', () => {
  const path = join(folder, 'tokenizer.json');
  const original = readFileSync(pathOf('byte-level'), 'utf8');
  const parsed = JSON.parse(original);
  const withModel = (model: object) => JSON.stringify({ ...parsed, model: { ...parsed.model, ...model } });
  const withSteps = (steps: object) => JSON.stringify({ ...parsed, pre_tokenizer: steps });
  const withDecoders = (decoders: object[]) => JSON.stringify({ ...parsed, decoder: { type: 'Sequence', decoders } });
  const doubling = (content: string) => ({ type: 'Replace', pattern: { String: 'a' }, content });

  it.each([
    ['nothing', '', /an empty file/],
    ['text', 'not a tokenizer', /got "not a tokenizer" at character 0/],
    ['a list', '[]', /not a JSON object/],
    ['another object', '{"a":1}', /no vocabulary/],
    ['no merges', original.replace('"merges"', '"urges"'), /unsupported or damaged content/],
    [
      'an unknown decoder',
      original.replace('"decoder":{"type":"ByteLevel"', '"decoder":{"type":"Bee"'),
      /unsupported or damaged/,
    ],
    ['a huge token', original.replace('"id":0', '"id":4000000000'), /the token id 4000000000/],
    ['a token that is a string', original.replace('"id":0', '"id":"0"'), /the token id "0"/],
    ['a negative token', original.replace('"id":0', '"id":-1'), /the token id -1/],
    ['a token of 2^53', original.replace('"id":0', '"id":9007199254740992'), /the token id 9007199254740992/],
    ['two tokens of one id', original.replace('"id":0', '"id":1'), /the token id 1 twice/],
    ['two words of one id', withModel({ vocab: { a: 2, b: 3, c: 3 } }), /the token id 3 twice/],
    ['a word twice', original.replace('"vocab":{', '"vocab":{"a":5,"a":6,'), /a duplicate key at character/],
    [
      'an added token that is a number',
      original.replace(/"added_tokens":\[/, '"added_tokens":[7,'),
      /7 as added_tokens\[0\]/,
    ],
    [
      'an added token of a length of its own',
      original.replace(/"added_tokens":\[/, '"added_tokens":[{"id":9,"content":{"length":1e9}},'),
      /an object as added_tokens\[0\]/,
    ],
    ['nesting', `{"model":${'['.repeat(100_000)}`, /nesting deeper than 1000 at character/],
    ['bytes that are not UTF-8', Buffer.from('{"a":"\xff"}', 'latin1'), /not UTF-8, starting at byte 6/],
    ['pieces of no length', withSteps({ type: 'FixedLength', length: 0 }), /content, "pieces of length 0"/],
    ['pieces of an empty length', withSteps({ type: 'FixedLength', length: '' }), /pieces of length/],
    [
      'a long expression',
      withSteps({ type: 'Split', pattern: { Regex: 'a'.repeat(10_001) } }),
      /more than 10000 characters/,
    ],
    ['a bad expression', withSteps({ type: 'Split', pattern: { Regex: '(' } }), /unsupported or damaged content/],
    [
      '501 steps',
      withSteps({ type: 'Sequence', pretokenizers: Array(501).fill({ type: 'Digits' }) }),
      /503 steps, more than 500/,
    ],
    [
      'a text that doubles and doubles',
      JSON.stringify({ ...parsed, normalizer: { type: 'Sequence', normalizers: Array(40).fill(doubling('aa')) } }),
      /replacements that could make a text/,
    ],
    ['words without end', withModel({ max_input_chars_per_word: 1e9 }), /words of up to 1000000000 characters/],
  ])('are refused with %s', async (_, content, message) => {
    writeFileSync(path, content);
    const error = await loadTokenizer(path).catch((error: unknown) => error);
    expect(error).toBeInstanceOf(FileError);
    expect((error as FileError).message).toMatch(message);
    expect((error as FileError).message).toContain(path);
  });

  it('use replacements literally, including $', async () => {
    writeFileSync(path, JSON.stringify({ ...parsed, normalizer: doubling("$'$&") }));
    const tokenizer = await loadTokenizer(path);
    expect(tokenizer.decode(tokenizer.encode('bab'))).toBe("b$'$&b");
  });

  it('may have a byte order mark', async () => {
    writeFileSync(path, `\ufeff${original}`);
    expect((await loadTokenizer(path)).decode([300])).toBeTypeOf('string');
  });

  const BYTE_LEVEL = { type: 'ByteLevel', add_prefix_space: true, trim_offsets: true };
  const hopeless = { pattern: { Regex: '(a|a)*$' } };
  it.each([
    ['encode', withSteps({ type: 'Split', ...hopeless, behavior: 'Isolated', invert: false })],
    ['decode', withDecoders([BYTE_LEVEL, { type: 'Fuse' }, { type: 'Replace', ...hopeless, content: '' }])],
  ])('with catastrophic backtracking time out: %s', async (method, content) => {
    writeFileSync(path, original);
    const tokens = (await loadTokenizer(path)).encode(`${'a'.repeat(60)}b`);
    writeFileSync(path, content);
    const tokenizer = await loadTokenizer(path);
    const work = () => (method === 'encode' ? tokenizer.encode(`${'a'.repeat(60)}b`) : tokenizer.decode(tokens));
    expect(work).toThrow(FileError);
    expect(work).toThrow(/timed out/);
    expect(tokenizer.decode(tokenizer.encode('hear'))).toBe('hear');
  });

  it('are refused if they are not regular files or too large', async () => {
    const pipe = join(folder, 'pipe');
    execFileSync('mkfifo', [pipe]);
    const none = join(folder, 'none');
    mkdirSync(none);
    for (const other of [pipe, none, '/dev/zero']) await expect(loadTokenizer(other)).rejects.toThrow(FileError);
    const large = join(folder, 'large.json');
    writeFileSync(large, '{}');
    truncateSync(large, 2 ** 40);
    await expect(loadTokenizer(large)).rejects.toThrow(/1099511627776 bytes, expected at most 67108864/);
  });

  it('are named if missing', async () => {
    await expect(loadTokenizer(join(folder, 'none.json'))).rejects.toThrow(/none\.json: no such file or folder/);
  });

  it('may include a tokenizer_config.json, which is read or refused', async () => {
    writeFileSync(path, original);
    writeFileSync(join(folder, 'tokenizer_config.json'), '{"eos_token":"<pad>","pad_token":null');
    await expect(loadTokenizer(path)).rejects.toThrow(/tokenizer_config\.json: got the end at character 37/);
    writeFileSync(join(folder, 'tokenizer_config.json'), '{"eos_token":"<pad>","pad_token":null}');
    expect((await loadTokenizer(path)).eosToken).toBe(1);
    rmSync(join(folder, 'tokenizer_config.json'));
  });

  it('are read or refused if damaged anywhere', async () => {
    const random = new Random(11);
    for (let i = 0; i < 300; i++) {
      const at = random.int(original.length);
      writeFileSync(
        path,
        original.slice(0, at) + '{}[]",:0nx'.charAt(random.int(10)) + original.slice(at + 1 + random.int(2)),
      );
      const result = await loadTokenizer(path).catch((error: unknown) => error);
      if (!(result instanceof FileError))
        expect((result as Tokenizer).decode((result as Tokenizer).encode('We'))).toBeTypeOf('string');
    }
  });
});
