import { printable } from '../../errors.ts';

/** A group without case: characters, escaped signs and classes without ranges, but no groups. */
const GROUP = /\(\?i:((?:\\[^a-zA-Z0-9]|\[[^\][\\^-]+\]|[^()[\]\\])*)\)/g;
/** What Oniguruma matches in more ways than its two cases: other letters, and pairs that are one letter somewhere. */
const UNEVEN = /[^\p{ASCII}]|ss|st|ff|fi|fl/iu;
/** Letters beyond ASCII whose other case is in it: the long s and the sign of the kelvin. */
const BEYOND: Readonly<Record<string, string>> = { s: '\u017f', k: '\u212a' };

/** `source` with all cases written out where it says `(?i:…)`, which JavaScript lacks. @throws Error for one that is not told. */
export function withoutFolding(source: string): string {
  const result = source.replace(GROUP, (group, inner: string) => {
    if (UNEVEN.test(inner)) throw new Error(`a group without case of ${printable(group)}`);
    return `(?:${allCases(inner)})`;
  });
  if (result.includes('(?i:')) throw new Error(`a group without case in ${printable(source)}`);
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
