/**
 * Spans of the assistant in a rendered text. transformers has a tag for them, which our library drops; we put two marks in
 * its place that no text contains, render, and cut them out again.
 */
import { DataError } from '../../errors.ts';

/** A part of a text: characters from `begin` to `end`. */
export interface Span {
  begin: number;
  end: number;
}

/** A rendered text and what the assistant wrote in it, in order. */
export interface SpannedText {
  text: string;
  spans: Span[];
}

/** Two of the characters that Unicode reserves for such use inside programs. */
const BEGIN = '\ufdd0';
const END = '\ufdd1';

/** The tag, with the blanks before it at the start of a line and the newline after it, which Jinja drops. */
const TAG = /(?:^[ \t]*)?\{%(-?)\s*(end)?generation\s*(-?)%\}\n?/gm;

/** Whether a template says itself what the assistant writes. */
export function hasTags(source: string): boolean {
  return /\{%-?\s*generation\s*-?%\}/.test(source);
}

/** The template with marks for tags. They trim the white space around them as the tags do. */
export function withMarks(source: string): string {
  return source.replace(TAG, (_, left: string, end: string | undefined, right: string) => {
    return `{{${left}'${end === undefined ? BEGIN : END}'${right}}}`;
  });
}

/** @throws DataError if the data, as JSON, contain a mark */
export function checkUnmarked(data: string): void {
  if (!data.includes(BEGIN) && !data.includes(END)) return;
  const received = 'a message with U+FDD0 or U+FDD1, which mark what the assistant writes';
  throw new DataError({ argument: 'messages', received, expected: 'text without them' });
}

/** Cuts the marks out. Returns undefined if they are not in pairs. */
export function cutMarks(marked: string): SpannedText | undefined {
  const parts = marked.split(new RegExp(`([${BEGIN}${END}])`));
  const spans: Span[] = [];
  let text = '';
  let begin: number | undefined;
  for (const part of parts) {
    if (part === BEGIN) {
      if (begin !== undefined) return undefined;
      begin = text.length;
    } else if (part === END) {
      if (begin === undefined) return undefined;
      spans.push({ begin, end: text.length });
      begin = undefined;
    } else text += part;
  }
  return begin === undefined ? { text, spans } : undefined;
}
