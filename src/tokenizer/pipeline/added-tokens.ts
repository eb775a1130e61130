import { cut, type Piece } from './pieces.ts';

/** A token that is matched in the text before the model sees it. */
export interface AddedToken {
  id: number;
  content: string;
  /** Matches only if no word character is adjacent. */
  singleWord: boolean;
  /** Whether the match includes the white space before it, and after it. */
  leftStrip: boolean;
  rightStrip: boolean;
  /** Matched after the normalizer has run. */
  normalized: boolean;
  special: boolean;
}

/** A piece of text between added tokens, or one of these tokens. */
export type Section = Piece | { token: number };

interface Node {
  next: Map<number, Node>;
  token?: AddedToken;
}

const WORD = '[\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}\\p{Join_Control}]';
const WORD_BEFORE = new RegExp(`${WORD}$`, 'u');
const WORD_AFTER = new RegExp(`^${WORD}`, 'u');

/** Finds tokens in texts: the leftmost match, and the longest of those that start there. */
export class TokenFinder {
  private readonly root: Node = { next: new Map() };

  /** @param written how the token is written in texts; of two tokens written the same, the first is found */
  add(token: AddedToken, written: string): void {
    let node = this.root;
    for (let i = 0; i < written.length; i++) {
      const unit = written.charCodeAt(i);
      const next = node.next.get(unit) ?? { next: new Map() };
      node.next.set(unit, next);
      node = next;
    }
    if (written !== '') node.token ??= token;
  }

  /** Splits a piece into the tokens it contains and the text between them. */
  split(piece: Piece): Section[] {
    const { text } = piece;
    const sections: Section[] = [];
    let done = 0;
    for (let at = 0; at < text.length; at++) {
      const found = this.longestAt(text, at);
      if (found === undefined) continue;
      const { token, end } = found;
      const begin = at;
      at = end - 1;
      if (token.singleWord && standsInWord(text, begin, end)) continue;
      const from = token.leftStrip ? Math.max(done, spaceBefore(text, begin)) : begin;
      if (from > done) sections.push(cut(piece, done, from));
      sections.push({ token: token.id });
      done = token.rightStrip ? spaceAfter(text, end) : end;
    }
    if (done < text.length) sections.push(cut(piece, done, text.length));
    return sections;
  }

  private longestAt(text: string, begin: number): { token: AddedToken; end: number } | undefined {
    let node: Node | undefined = this.root;
    let found: { token: AddedToken; end: number } | undefined;
    for (let end = begin; node !== undefined; end++) {
      if (node.token) found = { token: node.token, end };
      node = end < text.length ? node.next.get(text.charCodeAt(end)) : undefined;
    }
    return found;
  }
}

function standsInWord(text: string, begin: number, end: number): boolean {
  return WORD_BEFORE.test(text.slice(Math.max(0, begin - 2), begin)) || WORD_AFTER.test(text.slice(end, end + 2));
}

const isSpace = (character: string) => /\p{White_Space}/u.test(character);

function spaceBefore(text: string, end: number): number {
  let begin = end;
  while (begin > 0 && isSpace(text.charAt(begin - 1))) begin--;
  return begin;
}

function spaceAfter(text: string, begin: number): number {
  let end = begin;
  while (end < text.length && isSpace(text.charAt(end))) end++;
  return end;
}
