/** SentencePiece's table of replacements, compiled to a byte trie in a double array (Darts). */

/** Graphemes of up to this many bytes are looked up as a whole; longer ones character by character. */
const LONGEST_GRAPHEME = 5;

/**
 * Creates the rewriting function of a `precompiled_charsmap`: base64 of the trie's size, the trie, and NUL-terminated
 * texts.
 */
export function precompiled(base64: string): (text: string) => string {
  const bytes = Buffer.from(base64, 'base64');
  if (bytes.length < 4 || bytes.readUInt32LE(0) > bytes.length - 4) throw new Error('a truncated precompiled_charsmap');
  const size = bytes.readUInt32LE(0);
  const units = Uint32Array.from({ length: size / 4 }, (_, unit) => bytes.readUInt32LE(4 + 4 * unit));
  const texts = bytes.subarray(4 + size);

  /** The replacement of the shortest prefix of `text` in the trie, as in the Rust library. */
  function lookUp(text: string): string | undefined {
    const found = shortestPrefix(units, Buffer.from(text, 'utf8'));
    if (found === undefined) return undefined;
    const end = texts.indexOf(0, found);
    return texts.toString('utf8', found, end < 0 ? texts.length : end);
  }
  const graphemes = new Intl.Segmenter('en', { granularity: 'grapheme' });
  const characters = (grapheme: string) => Array.from(grapheme, (one) => lookUp(one) ?? one).join('');

  return (text) => {
    let result = '';
    for (const { segment } of graphemes.segment(text)) {
      const whole = Buffer.byteLength(segment) <= LONGEST_GRAPHEME ? lookUp(segment) : undefined;
      result += whole ?? characters(segment);
    }
    return result;
  };
}

/** The value of the first leaf on the path of `key` through the trie. */
function shortestPrefix(units: Uint32Array, key: Uint8Array): number | undefined {
  const offset = (unit: number) => (unit >>> 10) << ((unit & (1 << 9)) >>> 6);
  let at = offset(units[0] ?? 0);
  for (const byte of key) {
    if (byte === 0) return undefined;
    at ^= byte;
    const unit = units[at] ?? 0;
    if ((unit & 0x800000ff) >>> 0 !== byte) return undefined;
    at ^= offset(unit);
    if (((unit >>> 8) & 1) === 1) return (units[at] ?? 0) & 0x7fffffff;
  }
  return undefined;
}
