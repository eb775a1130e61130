import { printable } from '../../errors.ts';

/**
 * One element of a regular expression: an escape, a class (with nested classes), the start of a group, a quantifier, or
 * a character.
 */
const ESCAPE = /\\(?:[pPxu]\{[^}]*\}|k<[^>]*>|x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|[\s\S])/uy;
const GROUP = /\((?:\?(?:<[=!]|<\w+>|[a-z]*:|[=!>]))?/uy;
const QUANTIFIER = /(?:[*+?]|\{\d*,?\d*\})/uy;

/**
 * Rewrites atomic groups, `(?>a)`, and possessive quantifiers, `a++`, which JavaScript lacks. They must not backtrack
 * into what they matched; neither does a lookahead, so each becomes a lookahead followed by a reference to what it
 * captured.
 */
export function withoutAtomic(source: string): string {
  let out = '';
  let atom = 0;
  let held = 0;
  const open: { at: number; atomic: boolean }[] = [];
  const hold = (from: number, content: string) => {
    const name = `_${held++}`;
    out = `${out.slice(0, from)}(?:(?=(?<${name}>${content}))\\k<${name}>)`;
    atom = from;
  };
  for (let i = 0; i < source.length; ) {
    const quantifier = matchAt(QUANTIFIER, source, i);
    if (quantifier !== undefined && out !== '') {
      i += quantifier.length;
      if (source[i] === '+' && quantifier.length === 1) {
        hold(atom, out.slice(atom) + quantifier);
        i++;
        continue;
      }
      const lazy = source[i] === '?' ? '?' : '';
      out += quantifier + lazy;
      i += lazy.length;
      continue;
    }
    const group = matchAt(GROUP, source, i);
    if (group !== undefined) {
      open.push({ at: out.length, atomic: group === '(?>' });
      out += group === '(?>' ? '' : group;
      i += group.length;
      continue;
    }
    if (source[i] === ')') {
      const { at, atomic } = open.pop() ?? { at: 0, atomic: false };
      if (atomic) hold(at, out.slice(at));
      else out += ')';
      atom = at;
      i++;
      continue;
    }
    const part = source[i] === '[' ? classAt(source, i) : (matchAt(ESCAPE, source, i) ?? characterAt(source, i));
    atom = out.length;
    out += part;
    i += part.length;
  }
  if (held > 0 && /\\[1-9]/.test(source))
    throw new Error(`an atomic group together with a numbered reference in ${printable(source)}`);
  return out;
}

function matchAt(pattern: RegExp, source: string, at: number): string | undefined {
  pattern.lastIndex = at;
  return pattern.exec(source)?.[0];
}

function characterAt(source: string, at: number): string {
  return String.fromCodePoint(source.codePointAt(at) as number);
}

function classAt(source: string, begin: number): string {
  let depth = 0;
  for (let i = begin; i < source.length; i++) {
    if (source[i] === '\\') i++;
    else if (source[i] === '[') depth++;
    // A bracket that would close an empty class is a literal.
    else if (source[i] === ']' && !/\[\^?$/.test(source.slice(begin, i)) && --depth === 0)
      return source.slice(begin, i + 1);
  }
  return source.slice(begin);
}
