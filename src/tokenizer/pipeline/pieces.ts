/** Pieces of text on their way to the model, and how they are split. */

/**
 * Where a piece begins: at the start of the whole text, at the end of an earlier text that it continues, or elsewhere.
 * Some tokenizers put a space before a text, but not before one that continues another.
 */
export type Start = 'text' | 'continued' | 'middle';

export interface Piece {
  readonly text: string;
  readonly start: Start;
}

/** A part of a text that matches a pattern, or lies between matches. */
export interface Span {
  begin: number;
  end: number;
  match: boolean;
}

export const BEHAVIORS = ['Removed', 'Isolated', 'MergedWithPrevious', 'MergedWithNext', 'Contiguous'] as const;
/** What happens to the matches of a pattern when a text is split there. */
export type Behavior = (typeof BEHAVIORS)[number];

const belongTogether: Record<Behavior, (before: Span, after: Span) => boolean> = {
  Removed: () => false,
  Isolated: () => false,
  MergedWithPrevious: (before, after) => !before.match && after.match,
  MergedWithNext: (before, after) => before.match && !after.match,
  Contiguous: (before, after) => before.match === after.match,
};

/** The matches of a global `pattern` and the text between them, in order; together they are the whole text. */
export function spansOf(text: string, pattern: RegExp): Span[] {
  const spans: Span[] = [];
  let at = 0;
  for (const { 0: match, index } of text.matchAll(pattern)) {
    // Unlike JavaScript, Oniguruma finds no empty match at the end of another match.
    if (match === '' && spans.length > 0 && index === at) continue;
    if (index > at) spans.push({ begin: at, end: index, match: false });
    at = index + match.length;
    spans.push({ begin: index, end: at, match: true });
  }
  if (at < text.length) spans.push({ begin: at, end: text.length, match: false });
  return spans;
}

/** Replaces every match in `text` by `content`, taken literally. */
export function replaceMatches(text: string, pattern: RegExp, content: string): string {
  return spansOf(text, pattern)
    .map(({ begin, end, match }) => (match ? content : text.slice(begin, end)))
    .join('');
}

/** Splits a piece at the matches of a pattern or, with `invert`, at everything it does not match. */
export function split(piece: Piece, pattern: RegExp, behavior: Behavior, invert = false): Piece[] {
  const parts: Span[] = [];
  let before: Span | undefined;
  for (const { begin, end, match } of spansOf(piece.text, pattern)) {
    const span = { begin, end, match: match !== invert };
    const last = parts.at(-1);
    if (before && last && belongTogether[behavior](before, span)) last.end = end;
    else if (!(behavior === 'Removed' && span.match)) parts.push({ ...span });
    before = span;
  }
  return parts.filter(({ begin, end }) => end > begin).map(({ begin, end }) => cut(piece, begin, end));
}

/** The part of a piece from `begin` to `end`. */
export function cut(piece: Piece, begin: number, end: number): Piece {
  return { text: piece.text.slice(begin, end), start: begin === 0 ? piece.start : 'middle' };
}

/** Puts `prefix` before a piece, unless it already starts with that or continues an earlier text. */
export function withPrefix(piece: Piece, prefix: string): Piece {
  const none = piece.start === 'continued' || piece.text.startsWith(prefix);
  return none ? piece : { ...piece, text: prefix + piece.text };
}
