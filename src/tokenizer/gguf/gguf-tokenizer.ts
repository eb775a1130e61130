/** The tokenizer in a GGUF file, as the contents of the files that Hugging Face would have for it. */
import { openGguf } from '../../files/gguf/gguf.ts';
import { type GgufMetadata, unsupported } from '../../files/gguf/metadata.ts';
import { printable } from '../../errors.ts';
import { withDeadline } from '../deadline.ts';
import { byteLevelSteps } from './byte-level.ts';
import { sentencePieceSteps } from './sentence-piece.ts';
import { type Json, readVocabulary, type Steps, type Vocabulary } from './vocabulary.ts';

/** The contents of a tokenizer.json and of a tokenizer_config.json, and special tokens by their ids. */
export interface TokenizerContents {
  readonly tokenizer: Json;
  readonly config: Json;
  readonly eosToken: number | undefined;
  readonly padToken: number | undefined;
  /** All tokens that end an answer. */
  readonly stopTokens: readonly number[];
}

/**
 * Reads the tokenizer in the GGUF file `path`.
 * @throws FileError if the file is missing or unreadable.
 * @throws GgufError if it is damaged, or its tokenizer is of a kind that is not read.
 */
export async function readGgufTokenizer(path: string): Promise<TokenizerContents> {
  await using file = await openGguf(path);
  return tokenizerContents(file.metadata);
}

/** Merges of the largest vocabularies are found in a second or two. */
const PATIENCE_MILLISECONDS = 10_000;

/** The tokenizer that the metadata of a GGUF file describe. @throws GgufError as `readGgufTokenizer` does. */
export function tokenizerContents(metadata: GgufMetadata): TokenizerContents {
  const vocabulary = readVocabulary(metadata);
  const steps = withDeadline(PATIENCE_MILLISECONDS, () => stepsOf(vocabulary));
  const { bos, eos, pad, unknown } = vocabulary.special;
  const [addBos, addEos] = [vocabulary.addBos ?? steps.addBos, vocabulary.addEos ?? false];
  const { tokens } = vocabulary;
  const named = { bos_token: bos, eos_token: eos, pad_token: pad, unk_token: unknown };
  const names = Object.entries(named).filter(([, id]) => id !== undefined);
  return {
    tokenizer: {
      version: '1.0',
      truncation: null,
      padding: null,
      added_tokens: addedTokens(vocabulary),
      ...steps.json,
      post_processor: template(tokens, addBos ? bos : undefined, addEos ? eos : undefined),
    },
    config: {
      ...Object.fromEntries(names.map(([name, id]) => [name, tokens[id as number]])),
      add_bos_token: addBos,
      add_eos_token: addEos,
      ...(vocabulary.chatTemplate === undefined ? {} : { chat_template: vocabulary.chatTemplate }),
    },
    eosToken: eos,
    padToken: pad,
    stopTokens: [...new Set([eos, ...vocabulary.otherEnds])].filter((id) => id !== undefined),
  };
}

function stepsOf(vocabulary: Vocabulary): Steps {
  if (vocabulary.model === 'gpt2') return byteLevelSteps(vocabulary);
  if (vocabulary.model === 'llama') return sentencePieceSteps(vocabulary);
  const argument = `${vocabulary.path}, tokenizer.ggml.model`;
  const fix = 'Use the tokenizer.json of the model that the file was converted from.';
  throw unsupported(argument, printable(vocabulary.model), '"gpt2" or "llama"', fix);
}

/** Tokens that are found in a text as they are: special ones are left out of decoded texts. */
function addedTokens({ tokens, kinds }: Vocabulary): Json[] {
  const plain = { single_word: false, lstrip: false, rstrip: false, normalized: false };
  return tokens.flatMap((content, id) => {
    const kind = kinds[id];
    const added = kind === 'control' || kind === 'unknown' || kind === 'user';
    return added && content !== '' ? [{ id, content, ...plain, special: kind !== 'user' }] : [];
  });
}

function template(tokens: readonly string[], bos: number | undefined, eos: number | undefined): Json | null {
  if (bos === undefined && eos === undefined) return null;
  const part = (id: number | undefined) =>
    id === undefined ? [] : [{ SpecialToken: { id: tokens[id] as string, type_id: 0 } }];
  const special = [bos, eos]
    .filter((id) => id !== undefined)
    .map((id) => [tokens[id], { id: tokens[id], ids: [id], tokens: [tokens[id]] }]);
  const text = (id: 'A' | 'B') => [...part(bos), { Sequence: { id, type_id: 0 } }, ...part(eos)];
  return {
    type: 'TemplateProcessing',
    single: text('A'),
    pair: [...text('A'), ...text('B')],
    special_tokens: Object.fromEntries(special),
  };
}
