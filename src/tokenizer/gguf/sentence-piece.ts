/** SentencePiece's BPE as Llama 2, Mistral, Phi 3 and Gemma have it ("llama" in GGUF files). */
import { badFile } from '../../files/gguf/cursor.ts';
import type { Steps, Vocabulary } from './vocabulary.ts';

/** What stands for a space. */
const SPACE = '\u2581';

/** @throws GgufError if the file has neither merges nor scores. */
export function sentencePieceSteps(vocabulary: Vocabulary): Steps {
  const { tokens, special, addSpacePrefix = true } = vocabulary;
  // Gemma's files have tokens of spaces alone as they look in a text.
  const spelled = tokens.map((token) => (/^ {2,}$/.test(token) ? SPACE.repeat(token.length) : token));
  const vocab = new Map(spelled.map((token, id) => [token, id]));
  const toSpaces = { type: 'Replace', pattern: { String: ' ' }, content: SPACE };
  const prepend = { type: 'Prepend', prepend: SPACE };
  return {
    addBos: true,
    json: {
      normalizer: addSpacePrefix ? { type: 'Sequence', normalizers: [prepend, toSpaces] } : toSpaces,
      pre_tokenizer: null,
      decoder: {
        type: 'Sequence',
        decoders: [
          { type: 'Replace', pattern: { String: SPACE }, content: ' ' },
          { type: 'ByteFallback' },
          { type: 'Fuse' },
          ...(addSpacePrefix ? [{ type: 'Strip', content: ' ', start: 1, stop: 0 }] : []),
        ],
      },
      model: {
        type: 'BPE',
        dropout: null,
        unk_token: special.unknown === undefined ? null : (tokens[special.unknown] as string),
        continuing_subword_prefix: null,
        end_of_word_suffix: null,
        fuse_unk: true,
        byte_fallback: true,
        ignore_merges: false,
        vocab: Object.fromEntries(vocab),
        merges: vocabulary.merges ?? impliedMerges(vocabulary, vocab),
      },
    },
  };
}

interface Merge {
  readonly pair: readonly [left: string, right: string];
  readonly rank: number;
  readonly lengths: readonly [left: number, right: number];
}

/**
 * The merges that a vocabulary implies: every way to put a token together from two others, the tokens of the highest
 * scores first. Gemma's scores do not follow its merges, but its tokens are in their order.
 */
function impliedMerges(
  { path, architecture, scores }: Vocabulary,
  vocab: ReadonlyMap<string, number>,
): [string, string][] {
  const inOrder = architecture.startsWith('gemma');
  if (scores === undefined && !inOrder) {
    throw badFile('bad-metadata', `${path}, tokenizer.ggml.scores`, 'nothing', 'a list of numbers, or merges');
  }
  const merges: Merge[] = [];
  for (const [token, id] of vocab) {
    const rank = inOrder ? -id : (scores?.[id] ?? 0);
    merges.push(...splitsOf(token, rank, vocab));
  }
  merges.sort((a, b) => b.rank - a.rank || b.lengths[0] - a.lengths[0] || b.lengths[1] - a.lengths[1]);
  return merges.map(({ pair: [left, right] }) => [left, right]);
}

function splitsOf(token: string, rank: number, vocab: ReadonlyMap<string, number>): Merge[] {
  const splits: (Merge & { ids: readonly [number, number] })[] = [];
  const characters = [...token];
  let at = 0;
  for (const [i, character] of characters.slice(0, -1).entries()) {
    at += character.length;
    const pair = [token.slice(0, at), token.slice(at)] as const;
    const [left, right] = [vocab.get(pair[0]), vocab.get(pair[1])];
    if (left === undefined || right === undefined) continue;
    splits.push({ pair, rank, lengths: [i + 1, characters.length - i - 1], ids: [left, right] });
  }
  return splits.sort((a, b) => a.ids[0] - b.ids[0] || a.ids[1] - b.ids[1]);
}
