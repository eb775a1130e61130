/**
 * The alphabet of byte-level tokenizers: one printable character per byte, the byte's own character if it is printable.
 */

const isPrintable = (byte: number) => (byte > 0x20 && byte < 0x7f) || (byte > 0xa0 && byte !== 0xad);

let others = 0;
const letters = Array.from({ length: 256 }, (_, byte) =>
  String.fromCharCode(isPrintable(byte) ? byte : 256 + others++),
);
const byteOf = new Map(letters.map((letter, byte) => [letter, byte]));

/** The UTF-8 bytes of a text, as one letter each. */
export function toByteLetters(text: string): string {
  let result = '';
  for (const byte of Buffer.from(text, 'utf8')) result += letters[byte];
  return result;
}

/** The bytes that a token represents: one per letter, or its own UTF-8 bytes if it contains other characters. */
export function bytesOf(token: string): Iterable<number> {
  const bytes = Array.from(token, (letter) => byteOf.get(letter));
  return bytes.every((byte) => byte !== undefined) ? (bytes as number[]) : Buffer.from(token, 'utf8');
}

/** Decodes bytes to text, with U+FFFD for invalid UTF-8. */
export function textOf(bytes: readonly number[]): string {
  return new TextDecoder('utf-8', { ignoreBOM: true }).decode(Uint8Array.from(bytes));
}

/** The byte of a token such as `<0x0A>`, which models without a byte alphabet use for rare characters. */
export function fallbackByte(token: string): number | undefined {
  return /^<0x[0-9a-fA-F]{2}>$/.test(token) ? Number.parseInt(token.slice(3, 5), 16) : undefined;
}

/** The byte tokens of `text`; undefined unless every byte has one. */
export function fallbackTokens(text: string, vocabulary: ReadonlyMap<string, number>): number[] | undefined {
  const name = (byte: number) => `<0x${byte.toString(16).toUpperCase().padStart(2, '0')}>`;
  const tokens = Array.from(Buffer.from(text, 'utf8'), (byte) => vocabulary.get(name(byte)));
  return tokens.every((token) => token !== undefined) ? (tokens as number[]) : undefined;
}
