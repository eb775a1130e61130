/** Tokenizers in GGUF files: the tokens of the Rust library, special tokens and templates, and what is refused. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, describe, expect, it } from 'vitest';
import { GgufError } from '../../src/errors.ts';
import { readGgufTokenizer } from '../../src/tokenizer/gguf/gguf-tokenizer.ts';
import { loadTokenizer } from '../../src/tokenizer/load.ts';
import { gguf, list, type Pair, value } from '../gguf-file.ts';

const fixtures = fileURLToPath(new URL('../fixtures/gguf/tokenizers/', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'palm-gguf-tokenizer-'));
afterAll(() => rmSync(folder, { recursive: true }));
const path = join(folder, 'tokenizer.gguf');

const RECORDED = JSON.parse(readFileSync(join(fixtures, 'tokens.json'), 'utf8')) as Record<
  string,
  [string, number[]][]
>;

describe.each(Object.entries(RECORDED))('%s', (name, rows) => {
  it('gives every text its recorded tokens', async () => {
    const tokenizer = await loadTokenizer(join(fixtures, `${name}.gguf`));
    expect(rows.length).toBeGreaterThanOrEqual(40);
    expect(rows.map(([text]) => [text, tokenizer.encode(text)])).toEqual(rows);
    expect(tokenizer).toMatchObject({ eosToken: 2, padToken: undefined });
  });

  it('decodes what it encodes, but for special tokens', async () => {
    const tokenizer = await loadTokenizer(join(fixtures, `${name}.gguf`));
    const plain = rows.map(([text]) => text).filter((text) => !text.includes('<'));
    const normal = (text: string) => (name === 'qwen2' ? text.normalize('NFC') : text);
    expect(plain.map((text) => tokenizer.decode(tokenizer.encode(text)))).toEqual(plain.map(normal));
  });
});

/** Metadata of a tokenizer with a few tokens. */
function metadata(changes: Record<string, Buffer | undefined> = {}): Pair[] {
  const base: Record<string, Buffer | undefined> = {
    'tokenizer.ggml.model': value('text', 'gpt2'),
    'tokenizer.ggml.pre': value('text', 'gpt-2'),
    'tokenizer.ggml.tokens': list('text', ['<s>', '</s>', 'a', 'b', 'ab', '<think>']),
    'tokenizer.ggml.token_type': list('i32', [3, 3, 1, 1, 1, 4]),
    'tokenizer.ggml.merges': list('text', ['a b']),
    'tokenizer.ggml.bos_token_id': value('u32', 0),
    'tokenizer.ggml.eos_token_id': value('u32', 1),
    ...changes,
  };
  return Object.entries(base).flatMap(([key, encoded]) => (encoded === undefined ? [] : [[key, encoded] as const]));
}

async function contents(changes: Record<string, Buffer | undefined> = {}) {
  writeFileSync(path, gguf({ metadata: metadata(changes) }));
  return await readGgufTokenizer(path);
}

describe('what is beside the vocabulary', () => {
  it('is that of a tokenizer_config.json', async () => {
    const template = value('text', '{{ messages }}');
    const { config } = await contents({
      'tokenizer.chat_template': template,
      'tokenizer.ggml.padding_token_id': value('u32', 1),
    });
    expect(config).toEqual({
      ...{ bos_token: '<s>', eos_token: '</s>', pad_token: '</s>', add_bos_token: false, add_eos_token: false },
      chat_template: '{{ messages }}',
    });
  });

  it.each([
    ['gpt-2', undefined, false],
    ['gpt-2', true, true],
    ['llama-bpe', undefined, true],
    ['llama-bpe', false, false],
  ])('says whether texts begin with bos: %s, %s in the file', async (pre, flag, expected) => {
    const said = flag === undefined ? undefined : value('bool', Number(flag));
    const { tokenizer, config } = await contents({
      'tokenizer.ggml.pre': value('text', pre),
      'tokenizer.ggml.add_bos_token': said,
    });
    expect(config.add_bos_token).toBe(expected);
    const single = (tokenizer.post_processor as { single: unknown } | null)?.single;
    const [bos, text] = [{ SpecialToken: { id: '<s>', type_id: 0 } }, { Sequence: { id: 'A', type_id: 0 } }];
    expect(single).toEqual(expected ? [bos, text] : undefined);
  });

  it('keeps special tokens and those of users whole, and leaves special ones out of texts', async () => {
    await contents();
    const tokenizer = await loadTokenizer(path);
    expect(tokenizer.encode('ab</s><think>a')).toEqual([4, 1, 5, 2]);
    expect(tokenizer.decode([4, 1, 5, 2])).toBe('ab<think>a');
    const again = await loadTokenizer(path);
    expect(again.hash).toBe(tokenizer.hash);
    expect(tokenizer.describe()).toMatchObject({ type: 'hugging-face', path });
  });
});

describe('a tokenizer that is refused', () => {
  const own = (key: string, encoded?: Buffer) => ({ [`tokenizer.ggml.${key}`]: encoded });

  it.each<[what: string, changes: Record<string, Buffer | undefined>, reason: string, message: RegExp]>([
    ['of another model', own('model', value('text', 'bert')), 'unsupported', /"bert", expected "gpt2" or "llama"/],
    [
      'that splits in an unknown way',
      own('pre', value('text', 'falcon')),
      'unsupported',
      /"falcon", expected one of default/,
    ],
    ['without merges', own('merges'), 'bad-metadata', /merges: got nothing/],
    ['without tokens', own('tokens', list('text', [])), 'bad-metadata', /no tokens/],
    ['with a token twice', own('tokens', list('text', ['a', 'a'])), 'bad-metadata', /"a" twice/],
    ['with a token without end', own('tokens', list('text', ['x'.repeat(1001)])), 'bad-metadata', /1001 characters/],
    [
      'with fewer types than tokens',
      own('token_type', list('i32', [1])),
      'bad-metadata',
      /1 numbers, expected one for each of the 6/,
    ],
    [
      'with an unknown type',
      own('token_type', list('i32', [3, 3, 1, 1, 1, 7])),
      'bad-metadata',
      /got 7, expected 1 to 6/,
    ],
    [
      'with an eos beyond its tokens',
      own('eos_token_id', value('u32', 6)),
      'bad-metadata',
      /got 6, expected one of the 6 tokens/,
    ],
    ['with a negative bos', own('bos_token_id', value('i32', -1)), 'bad-metadata', /got -1/],
    [
      'of SentencePiece, with neither merges nor scores',
      { ...own('model', value('text', 'llama')), ...own('merges') },
      'bad-metadata',
      /scores: got nothing/,
    ],
  ])('%s', async (_what, changes, reason, message) => {
    const error = await contents(changes).catch((error: unknown) => error);
    expect(error).toBeInstanceOf(GgufError);
    expect((error as GgufError).reason).toBe(reason);
    expect((error as GgufError).message).toMatch(message);
  });
});
