import { toByteLetters } from './bytes.ts';
import { patternOf } from './patterns.ts';
import { type Piece, replaceMatches, spansOf } from './pieces.ts';
import { precompiled } from './precompiled.ts';
import type { Step } from './step.ts';
import { MARK, NMT_REMOVED, NO_TEXT, NONSPACING_MARK, SPACE, WITHOUT_FORM } from './unicode.ts';

/** Rewrites a text before it is split. */
export type Normalizer = (piece: Piece) => Piece;

/** Creates the normalizer that a step describes. @throws Error if it is not supported. */
export function createNormalizer(step: Step): Normalizer {
  switch (step.type) {
    case 'Sequence':
      return inSequence(step.steps('normalizers').map(createNormalizer));
    case 'BertNormalizer':
      return bert(step);
    case 'NFC':
    case 'NFD':
    case 'NFKC':
    case 'NFKD':
      return rewriting(normalForm(step.type));
    case 'Lowercase':
      return rewriting(lowercase);
    case 'Strip':
      return strip(step.flag('strip_left'), step.flag('strip_right'));
    case 'StripAccents':
      return removing(MARK);
    case 'Replace':
      return replace(patternOf(step), step.string('content'));
    case 'Prepend':
      return prepend(step.string('prepend'));
    case 'ByteLevel':
      return rewriting(toByteLetters);
    case 'Nmt':
      return inSequence([removing(NMT_REMOVED), rewriting((text) => text.replace(NMT_SPACE, ' '))]);
    case 'Precompiled':
      return rewriting(precompiled(step.string('precompiled_charsmap')));
    default:
      throw step.unknown('normalizer');
  }
}

const NMT_SPACE = /[\t\n\f\r\u1680\u200b-\u200f\u2028\u2029\u2581\ufeff\ufffd]/gu;
const IDEOGRAPH =
  /[\u4e00-\u9fff\u3400-\u4dbf\u{20000}-\u{2a6df}\u{2a700}-\u{2b73f}\u{2b740}-\u{2b81f}\u{2b920}-\u{2ceaf}\uf900-\ufaff\u{2f800}-\u{2fa1f}]/gu;

function inSequence(normalizers: Normalizer[]): Normalizer {
  return (piece) => normalizers.reduce((normalized, next) => next(normalized), piece);
}

function rewriting(rewrite: (text: string) => string): Normalizer {
  return (piece) => ({ ...piece, text: rewrite(piece.text) });
}

/** A replacement that removes the start of a piece also removes its mark as the start of the whole text. */
function replace(pattern: RegExp, content: string): Normalizer {
  return (piece) => {
    const [first] = spansOf(piece.text, pattern);
    const cutOff = content === '' && first?.match === true && first.end > 0;
    const start = cutOff && piece.start === 'text' ? 'middle' : piece.start;
    return { start, text: replaceMatches(piece.text, pattern, content) };
  };
}

function removing(pattern: RegExp): Normalizer {
  return replace(pattern, '');
}

function strip(left: boolean, right: boolean): Normalizer {
  const sides = [left ? ['^\\p{White_Space}+'] : [], right ? ['\\p{White_Space}+$'] : []].flat();
  return sides.length === 0 ? (piece) => piece : removing(new RegExp(sides.join('|'), 'gu'));
}

function prepend(prefix: string): Normalizer {
  return (piece) =>
    piece.text === '' || piece.start === 'continued' ? piece : { ...piece, text: prefix + piece.text };
}

function normalForm(form: string): (text: string) => string {
  // With a capturing group, split puts the separators at the odd indices.
  return (text) =>
    text
      .split(WITHOUT_FORM)
      .map((part, i) => (i % 2 === 1 ? part : part.normalize(form)))
      .join('');
}

/** Lowercases each character separately: JavaScript writes a sigma at the end of a word differently. */
function lowercase(text: string): string {
  return text.includes('Σ') ? text.replace(/./gsu, (character) => character.toLowerCase()) : text.toLowerCase();
}

function bert(step: Step): Normalizer {
  const lower = step.flag('lowercase');
  const accents = step.has('strip_accents') ? step.flag('strip_accents') : lower;
  return inSequence([
    ...(step.flag('clean_text') ? [removing(NO_TEXT), rewriting((text) => text.replace(SPACE, ' '))] : []),
    ...(step.flag('handle_chinese_chars') ? [rewriting((text) => text.replace(IDEOGRAPH, ' $& '))] : []),
    ...(accents ? [rewriting(normalForm('NFD')), removing(NONSPACING_MARK)] : []),
    ...(lower ? [rewriting(lowercase)] : []),
  ]);
}
