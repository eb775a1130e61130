/** A byte-level BPE tokenizer, trained on texts (Sennrich et al. 2016) and written as a tokenizer.json. */

/** How GPT-2 splits text into words, which merges never cross. */
const WORDS = /'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+/gu;
const EOS = '<|endoftext|>';
const PAD = '<pad>';
const LETTERS = lettersOfBytes();

/** GPT-2's printable letter for each byte. */
function lettersOfBytes() {
  const printable = (byte) => (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
  let other = 256;
  return Array.from({ length: 256 }, (_, byte) => String.fromCodePoint(printable(byte) ? byte : other++));
}

/** The tokenizer.json of a vocabulary with `size` tokens, of which 258 are the bytes, the eos and the padding. */
export function trainBpe(texts, size) {
  const vocabulary = [EOS, PAD, ...LETTERS];
  const merges = [];
  const words = countWords(texts);
  const counts = new Map();
  for (const word of words) countPairs(counts, word, 1);
  while (vocabulary.length < size) {
    const best = commonest(counts);
    if (best === undefined) break;
    merges.push(best);
    vocabulary.push(best.join(''));
    for (const word of words) mergeIn(word, best, counts);
  }
  return tokenizerJson(vocabulary, merges);
}

function countWords(texts) {
  const counts = new Map();
  for (const text of texts) for (const [word] of text.matchAll(WORDS)) counts.set(word, (counts.get(word) ?? 0) + 1);
  return [...counts].map(([word, count]) => ({
    count,
    pieces: Array.from(Buffer.from(word), (byte) => LETTERS[byte]),
  }));
}

/** Adds the pairs of neighbours in a word to `counts`, or with `sign` -1 takes them away. No letter is a space. */
function countPairs(counts, { pieces, count }, sign) {
  for (let i = 1; i < pieces.length; i++) {
    const pair = `${pieces[i - 1]} ${pieces[i]}`;
    counts.set(pair, (counts.get(pair) ?? 0) + sign * count);
  }
}

/** The pair that occurs most often, the first of several; undefined if none occurs twice. */
function commonest(counts) {
  let [best, most] = [undefined, 1];
  for (const [pair, count] of counts) if (count > most) [best, most] = [pair, count];
  return best?.split(' ');
}

/** Joins every occurrence of the pair in a word, from the left. */
function mergeIn(word, [left, right], counts) {
  if (!word.pieces.some((piece, i) => piece === left && word.pieces[i + 1] === right)) return;
  countPairs(counts, word, -1);
  const pieces = [];
  for (let i = 0; i < word.pieces.length; i++) {
    const joins = word.pieces[i] === left && word.pieces[i + 1] === right;
    pieces.push(joins ? left + right : word.pieces[i]);
    if (joins) i++;
  }
  word.pieces = pieces;
  countPairs(counts, word, 1);
}

function tokenizerJson(vocabulary, merges) {
  const special = (content, id) => {
    return { id, content, single_word: false, lstrip: false, rstrip: false, normalized: false, special: true };
  };
  const byteLevel = { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: true };
  return {
    version: '1.0',
    truncation: null,
    padding: null,
    added_tokens: [special(EOS, 0), special(PAD, 1)],
    normalizer: null,
    pre_tokenizer: byteLevel,
    post_processor: null,
    decoder: byteLevel,
    model: {
      type: 'BPE',
      dropout: null,
      unk_token: null,
      continuing_subword_prefix: null,
      end_of_word_suffix: null,
      fuse_unk: false,
      byte_fallback: false,
      ignore_merges: false,
      vocab: Object.fromEntries(vocabulary.map((token, id) => [token, id])),
      merges,
    },
  };
}
