/** Special tokens around texts, with ids that tokenizers 0.23.3 gives for "Hi" with the tokenizer of the chat templates. */
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { ArgumentError, FileError } from '../../src/errors.ts';
import { HuggingFaceTokenizer } from '../../src/tokenizer/hugging-face.ts';
import { stopTokensOf } from '../../src/tokenizer/special-tokens.ts';
import { forModel } from '../../src/tokenizer/tokenizer.ts';

const tokenizer = JSON.parse(
  readFileSync(new URL('../fixtures/chat-templates/tokenizer.json', import.meta.url), 'utf8'),
);
const [BOS, EOS, UNK, HI] = [338, 331, 347, [39, 72]];
const special = (id: string) => ({ SpecialToken: { id, type_id: 0 } });
const text = (id: string) => ({ Sequence: { id, type_id: 0 } });
const template = (...single: object[]) => ({
  type: 'TemplateProcessing',
  single,
  pair: [text('A'), text('B')],
  special_tokens: Object.fromEntries(
    Object.entries({ '<s>': BOS, '</s>': EOS, '<unk>': UNK }).map(([id, token]) => [
      id,
      { id, ids: [token], tokens: [id] },
    ]),
  ),
});
const ends = { sep: ['</s>', EOS], cls: ['<s>', BOS] };
const bosFirst = template(special('<s>'), text('A'));
const byteLevel = { type: 'ByteLevel', add_prefix_space: true, trim_offsets: false };

const load = (post_processor: object | null, config = {}) =>
  HuggingFaceTokenizer.of({ name: 'memory', tokenizer: { ...tokenizer, post_processor }, config });

describe('the post-processor', () => {
  it.each<[string, object | null, number[]]>([
    ['a template', bosFirst, [BOS, ...HI]],
    [
      'a template with both ends',
      template(special('<s>'), special('<unk>'), text('A'), special('</s>')),
      [BOS, UNK, ...HI, EOS],
    ],
    ['Bert', { type: 'BertProcessing', ...ends }, [BOS, ...HI, EOS]],
    ['Roberta', { type: 'RobertaProcessing', ...ends, trim_offsets: true, add_prefix_space: false }, [BOS, ...HI, EOS]],
    ['a sequence', { type: 'Sequence', processors: [byteLevel, bosFirst] }, [BOS, ...HI]],
    ['none', null, HI],
  ])('%s adds what the Rust library adds, if asked', (_, processor, ids) => {
    const found = load(processor);
    expect(found.encode('Hi', { special: 'both' })).toEqual(ids);
    expect(found.encode('Hi', { special: 'begin' })).toEqual(ids.slice(0, ids.indexOf(72) + 1));
    expect(found.encode('Hi')).toEqual(HI);
  });

  it.each<[string, object, RegExp]>([
    ['two that add tokens', { type: 'Sequence', processors: [bosFirst, bosFirst] }, /several post-processors/],
    ['a token without ids', { ...bosFirst, special_tokens: {} }, /does not give its ids/],
    ['a token that is none', { type: 'BertProcessing', sep: ['</s>', -1], cls: ends.cls }, /-1 as the id of sep/],
  ])('is refused with %s', (_, processor, message) => {
    expect(() => load(processor)).toThrow(FileError);
    expect(() => load(processor)).toThrow(message);
  });

  it('adds no bos to a text that has it', () => {
    expect(load(bosFirst).encode('<s>Hi', { special: 'both' })).toEqual([BOS, ...HI]);
  });

  it('begins no text that continues another', () => {
    expect(() => load(bosFirst).encode('Hi', { continues: true, special: 'begin' })).toThrow(ArgumentError);
  });
});

describe('add_bos_token and add_eos_token', () => {
  const config = { bos_token: '<s>', eos_token: { content: '</s>' }, tokenizer_class: 'LlamaTokenizerFast' };
  it.each<[string, object, number[]]>([
    ['override the post-processor of a Llama', { add_bos_token: false, add_eos_token: true }, [...HI, EOS]],
    ['leave it where they are not given', {}, [BOS, ...HI]],
    ['add what the class adds', { add_bos_token: true }, [BOS, ...HI]],
    ['mean nothing to other classes', { add_bos_token: false, tokenizer_class: 'Qwen2Tokenizer' }, [BOS, ...HI]],
  ])('%s', (_, keys, ids) => {
    expect(load(bosFirst, { ...config, ...keys }).encode('Hi', { special: 'both' })).toEqual(ids);
  });

  it('tell tokenizers apart only where tokens differ', () => {
    const hashes = [{}, { add_bos_token: true }, { add_bos_token: false }].map(
      (keys) => load(bosFirst, { ...config, ...keys }).hash,
    );
    expect(hashes[0]).toBe(hashes[1]);
    expect(hashes[0]).not.toBe(hashes[2]);
  });
});

describe('a tokenizer in memory', () => {
  it('has the tokens that its configuration names, as tokens and as text', () => {
    const found = load(null, {
      bos_token: '<s>',
      eos_token: { content: '</s>' },
      extra_special_tokens: { image_token: '<pad>' },
    });
    expect([found.bosToken, found.eosToken]).toEqual([BOS, EOS]);
    expect(found.templateTokens).toEqual({ bos_token: '<s>', eos_token: '</s>', image_token: '<pad>' });
    expect(found.describe()).toEqual({ type: 'hugging-face', path: 'memory', hash: found.hash });
  });

  it('is refused under its name', () => {
    expect(() => HuggingFaceTokenizer.of({ name: 'a.gguf', tokenizer: {} })).toThrow(/^a\.gguf: got no vocabulary/);
    expect(() => HuggingFaceTokenizer.of({ name: 'a.gguf', tokenizer: 7 as never })).toThrow(ArgumentError);
  });

  it('encodes the parts of a text as the whole, where special tokens part it', () => {
    const found = load(null);
    const parts = ['Hi', '<|im_end|>\n', '', '<|im_start|>', ' Hi  there'];
    expect(found.encodeParts(parts)[2]).toEqual([]);
    expect(found.encodeParts(parts).flat()).toEqual(found.encode(parts.join('')));
  });

  it('puts no space before a part that continues another', () => {
    const file = new URL('../fixtures/tokenizer/metaspace/tokenizer.json', import.meta.url);
    const found = HuggingFaceTokenizer.of({ name: 'spaces', tokenizer: JSON.parse(readFileSync(file, 'utf8')) });
    expect(found.decode(found.encodeParts(['we pro', 'ceed', ' any']).flat())).toBe('we proceed any');
    expect(found.encodeParts(['we', ' hear'])).toEqual([
      found.encode('we'),
      found.encode(' hear', { continues: true }),
    ]);
  });
});

describe('a model with more rows than its tokenizer', () => {
  it('decodes them to nothing', () => {
    const found = forModel(load(null), 1000);
    expect(found.decode([999, ...HI, 998])).toBe('Hi');
    expect(() => found.decode([1000])).toThrow(ArgumentError);
    expect(() => load(null).decode([999])).toThrow(ArgumentError);
  });
});

describe('stopTokensOf', () => {
  it('unites the tokens that the files name', () => {
    const files = {
      generation: { eos_token_id: [1, 2] },
      config: { eos_token_id: 2, text_config: { eos_token_id: 3 } },
      eosToken: 4,
    };
    expect(stopTokensOf(files)).toEqual([1, 2, 3, 4]);
    expect(stopTokensOf({})).toEqual([]);
  });

  it.each([['a'], [1.5], [[1, -2]], [{}]])('refuses %j', (eos_token_id) => {
    expect(() => stopTokensOf({ generation: { eos_token_id } })).toThrow(
      /generation_config\.json: got .* in eos_token_id/,
    );
  });
});
