import { printable } from '../../errors.ts';

/** A case-insensitive group of characters, escaped signs and classes without ranges; no nested groups. */
const GROUP = /\(\?i:((?:\\[^a-zA-Z0-9]|\[[^\][\\^-]+\]|[^()[\]\\])*)\)/g;
/**
 * Characters that Oniguruma matches in more ways than upper and lower case: letters beyond ASCII, and pairs that are a
 * ligature.
 */
const UNEVEN = /[^\p{ASCII}]|ss|st|ff|fi|fl/iu;
/** Non-ASCII letters whose other case is ASCII: the long s and the kelvin sign. */
const BEYOND: Readonly<Record<string, string>> = { s: '\u017f', k: '\u212a' };

/** Writes out both cases in groups `(?i:…)`, which JavaScript lacks. @throws Error for an unsupported group. */
export function withoutFolding(source: string): string {
  const result = source.replace(GROUP, (group, inner: string) => {
    if (UNEVEN.test(inner)) throw new Error(`the case-insensitive group ${printable(group)}`);
    return `(?:${allCases(inner)})`;
  });
  if (result.includes('(?i:')) throw new Error(`a case-insensitive group in ${printable(source)}`);
  return result;
}

function allCases(inner: string): string {
  let within = false;
  return inner.replace(/[[\]a-z]/gi, (character) => {
    if (character === '[' || character === ']') {
      within = character === '[';
      return character;
    }
    const lower = character.toLowerCase();
    const cases = lower + lower.toUpperCase() + (BEYOND[lower] ?? '');
    return within ? cases : `[${cases}]`;
  });
}
