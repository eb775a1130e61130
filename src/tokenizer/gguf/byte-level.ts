/** Byte-level BPE as GPT-2 has it ("gpt2" in GGUF files), and how each kind of it splits texts. */
import { printable } from '../../errors.ts';
import { badFile } from '../../files/gguf/cursor.ts';
import { unsupported } from '../../files/gguf/metadata.ts';
import type { Json, Steps, Vocabulary } from './vocabulary.ts';

/** How texts are split, and what else goes with it. */
interface Splitting {
  readonly preTokenizer: Json;
  readonly normalizer?: Json;
  /** Whether a word that is a token is that token, whatever the merges say. */
  readonly ignoreMerges?: boolean;
  readonly addBos?: boolean;
}

const byteLevel = (expression: boolean): Json => ({
  type: 'ByteLevel',
  add_prefix_space: false,
  trim_offsets: true,
  use_regex: expression,
});
const sequence = (...pretokenizers: Json[]): Json => ({ type: 'Sequence', pretokenizers });
const splitBy = (expression: string): Json =>
  sequence({ type: 'Split', pattern: { Regex: expression }, behavior: 'Isolated', invert: false }, byteLevel(false));

/** GPT-2's own expression. */
const gpt2: Splitting = { preTokenizer: byteLevel(true) };
/** The same, with every digit apart. */
const digits: Splitting = { preTokenizer: sequence({ type: 'Digits', individual_digits: true }, byteLevel(true)) };

const CONTRACTIONS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)";
const REST = '\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+';
const qwen2: Splitting = {
  preTokenizer: splitBy(`${CONTRACTIONS}|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|${REST}`),
  normalizer: { type: 'NFC' },
};
const llama3: Splitting = {
  preTokenizer: splitBy(
    `${CONTRACTIONS}|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|${REST}`,
  ),
  ignoreMerges: true,
  addBos: true,
};
/** Mistral's Tekken. */
const UPPER = '[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]';
const LOWER = '[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]';
const BEFORE = '[^\\r\\n\\p{L}\\p{N}]?';
const tekken: Splitting = {
  preTokenizer: splitBy(
    `${BEFORE}${UPPER}*${LOWER}+|${BEFORE}${UPPER}+${LOWER}*|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|${REST}`,
  ),
  ignoreMerges: true,
};

/** By `tokenizer.ggml.pre`. */
const SPLITTINGS: ReadonlyMap<string, Splitting> = new Map([
  ...['default', 'gpt-2', 'phi-2', 'olmo', 'mpt', 'jais'].map((name) => [name, gpt2] as const),
  ...['smollm', 'starcoder', 'refact', 'codeshell', 'exaone'].map((name) => [name, digits] as const),
  ...['qwen2', 'stablelm2', 'deepseek-r1-qwen'].map((name) => [name, qwen2] as const),
  ...['llama3', 'llama-v3', 'llama-bpe'].map((name) => [name, llama3] as const),
  ['tekken', tekken],
]);

/** @throws GgufError for a splitting that is not known, or without merges. */
export function byteLevelSteps({ path, pre = 'default', tokens, merges }: Vocabulary): Steps {
  const splitting = SPLITTINGS.get(pre);
  if (splitting === undefined) {
    const fix = 'Use the tokenizer.json of the model that the file was converted from.';
    const expected = `one of ${[...SPLITTINGS.keys()].join(', ')}`;
    throw unsupported(`${path}, tokenizer.ggml.pre`, printable(pre), expected, fix);
  }
  if (merges === undefined)
    throw badFile('bad-metadata', `${path}, tokenizer.ggml.merges`, 'nothing', 'a list of texts');
  const { preTokenizer, normalizer = null, ignoreMerges = false, addBos = false } = splitting;
  return {
    addBos,
    json: {
      normalizer,
      pre_tokenizer: preTokenizer,
      decoder: { type: 'ByteLevel', add_prefix_space: true, trim_offsets: true, use_regex: true },
      model: {
        type: 'BPE',
        dropout: null,
        unk_token: null,
        continuing_subword_prefix: null,
        end_of_word_suffix: null,
        fuse_unk: false,
        byte_fallback: false,
        ignore_merges: ignoreMerges,
        vocab: Object.fromEntries(tokens.map((token, id) => [token, id])),
        merges,
      },
    },
  };
}
