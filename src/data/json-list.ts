/** A JSON file that is one list of objects, read one object at a time. */
import { DataError, printable } from '../errors.ts';
import { decodeLine, type JsonlLine, parseObject } from './jsonl.ts';
import { MAX_ROW_BYTES, tooLong } from './pieces.ts';

/**
 * The objects of the JSON list in `pieces`, each with the line that it begins on.
 * @throws DataError naming `file:line` for anything but objects, a list that does not end, or an object over 16 MiB.
 */
export async function* readJsonList(path: string, pieces: AsyncGenerator<Buffer>): AsyncGenerator<JsonlLine> {
  const reader = new ListReader(path);
  for await (const piece of pieces) yield* reader.read(piece);
  reader.end();
}

const code = (character: string) => character.charCodeAt(0);
const QUOTE = code('"');
const BACKSLASH = code('\\');
const NEWLINE = code('\n');
const [BRACE, BRACE_END, BRACKET, BRACKET_END] = [code('{'), code('}'), code('['), code(']')];
const BLANK = new Set([32, 9, 10, 13, 0xef, 0xbb, 0xbf]); // and the bytes of a byte order mark

const ITEM = ['an object'];
const FIRST = ['an object', 'the end of the list'];
const NEXT = ['a comma', 'the end of the list'];

class ListReader {
  private readonly path: string;
  private line = 1;
  /** What may come next outside objects; empty after the list. */
  private expected: readonly string[] = ['a list'];
  /** The object being read: its earlier pieces, their size, and the containers that are open. */
  private parts: Buffer[] = [];
  private size = 0;
  private depth = 0;
  private quoted = false;
  private escaped = false;

  constructor(path: string) {
    this.path = path;
  }

  *read(piece: Buffer): Generator<JsonlLine> {
    let begin = 0;
    for (let at = 0; at < piece.length; at++) {
      const byte = piece[at] as number;
      if (this.depth === 0) {
        begin = at;
        this.outside(byte);
      } else if (this.closes(byte)) yield this.object(piece.subarray(begin, at + 1));
    }
    if (this.depth > 0) this.keep(piece.subarray(begin));
  }

  end(): void {
    if (this.depth > 0) throw this.wrong('the end of the file inside an object', 'the rest of the object');
    if (this.expected.length > 0) throw this.wrong('the end of the file', this.expected.join(' or '));
  }

  private outside(byte: number): void {
    if (byte === NEWLINE) this.line++;
    if (BLANK.has(byte)) return;
    const character = String.fromCharCode(byte);
    const meaning = { '{': 'an object', ',': 'a comma', ']': 'the end of the list', '[': 'a list' }[character];
    if (meaning === undefined || !this.expected.includes(meaning)) {
      throw this.wrong(printable(character), this.expected.join(' or ') || 'nothing after the list');
    }
    if (byte === BRACE) this.depth = 1;
    else this.expected = character === ',' ? ITEM : character === '[' ? FIRST : [];
  }

  /** Takes a byte of an object; true if it ends the object. */
  private closes(byte: number): boolean {
    if (this.escaped) this.escaped = false;
    else if (byte === QUOTE) this.quoted = !this.quoted;
    else if (this.quoted) this.escaped = byte === BACKSLASH;
    else if (byte === BRACE || byte === BRACKET) this.depth++;
    else if (byte === BRACE_END || byte === BRACKET_END) return --this.depth === 0;
    return false;
  }

  private keep(bytes: Buffer): void {
    this.parts.push(bytes);
    this.size += bytes.length;
    if (this.size > MAX_ROW_BYTES) throw tooLong(`${this.path}:${this.line}`, 'an object');
  }

  private object(end: Buffer): JsonlLine {
    const bytes = Buffer.concat([...this.parts, end]);
    const place = `${this.path}:${this.line}`;
    const row = { line: this.line, value: parseObject(decodeLine(bytes, place), place) };
    for (const byte of bytes) if (byte === NEWLINE) this.line++;
    this.parts = [];
    this.size = 0;
    this.expected = NEXT;
    return row;
  }

  private wrong(received: string, expected: string): DataError {
    const fix = 'Write a list of objects, or one object per line.';
    return new DataError({ argument: `${this.path}:${this.line}`, received, expected, fix });
  }
}
