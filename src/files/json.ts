/**
 * Untrusted JSON. JSON.parse keeps the last of two equal keys, does not report the position of some errors, and has no
 * depth limit; so one pass over the text checks it first.
 */
import { printable } from '../errors.ts';

/** Maximum nesting depth; our own files come nowhere near it. */
const MAX_DEPTH = 1000;

/** Why a text is not valid JSON: `problem` in words, at character `at`. */
export class JsonError extends Error {
  readonly at: number;
  readonly problem: string;

  constructor(at: number, problem: string) {
    super(`${problem} at character ${at}`);
    this.at = at;
    this.problem = problem;
  }
}

/**
 * Parses `text`. An empty object takes two characters of text but up to a hundred bytes of memory, so `text` may have
 * at most `maxValues` values, including those nested in lists and objects.
 * @throws JsonError for invalid JSON, too many values, a key that occurs twice in one object, or nesting deeper than
 * 1000.
 */
export function parseJson(text: string, maxValues: number): unknown {
  new JsonWalk(text, maxValues).value();
  return JSON.parse(text);
}

/** True if UTF-8 can encode the string: it has no lone surrogate. */
export function isWellFormed(text: string): boolean {
  return !/\p{Surrogate}/u.test(text);
}

const SCALAR = /(?:-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?|true|false|null)/y;
const ESCAPE = /\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})/y;

/**
 * One pass over a text. Open containers are kept in an array instead of the call stack: an object as its keys, a list
 * as undefined.
 */
class JsonWalk {
  private readonly text: string;
  private readonly open: (Set<string> | undefined)[] = [];
  private at = 0;
  private left: number;

  constructor(text: string, maxValues: number) {
    this.text = text;
    this.left = maxValues;
  }

  value(): void {
    do this.descend();
    while (this.ascend());
    if (this.peek() !== '') this.fail();
  }

  /** Reads up to the end of the next scalar or empty container, opening the containers on the way. */
  private descend(): void {
    for (;;) {
      const next = this.peek();
      if (--this.left < 0) throw new JsonError(this.at, 'too many values');
      if (next === '"') this.string();
      else if (next !== '{' && next !== '[') this.at += this.matches(SCALAR);
      else {
        const close = next === '{' ? '}' : ']';
        this.enter(next === '{' ? new Set() : undefined);
        if (this.peek() !== close) {
          if (next === '{') this.key();
          continue;
        }
        this.leave();
      }
      return;
    }
  }

  /** Closes containers up to the next value; false once the outermost is closed. */
  private ascend(): boolean {
    while (this.open.length > 0) {
      const keys = this.open.at(-1);
      const next = this.peek();
      if (next === ',') {
        this.at++;
        if (keys !== undefined) this.key();
        return true;
      }
      if (next !== (keys === undefined ? ']' : '}')) this.fail();
      this.leave();
    }
    return false;
  }

  private enter(keys: Set<string> | undefined): void {
    if (this.open.push(keys) > MAX_DEPTH) throw new JsonError(this.at, `nesting deeper than ${MAX_DEPTH}`);
    this.at++;
  }

  private leave(): void {
    this.open.pop();
    this.at++;
  }

  private key(): void {
    if (this.peek() !== '"') this.fail();
    const begin = this.at;
    this.string();
    const key = JSON.parse(this.text.slice(begin, this.at)) as string;
    const keys = this.open.at(-1) as Set<string>;
    if (keys.has(key)) throw new JsonError(begin, 'a duplicate key');
    keys.add(key);
    if (this.peek() !== ':') this.fail();
    this.at++;
  }

  private string(): void {
    this.at++;
    for (;;) {
      const code = this.text.charCodeAt(this.at);
      if (code === 92) this.at += this.matches(ESCAPE);
      else if (code >= 32) this.at++;
      else this.fail();
      if (code === 34) return;
    }
  }

  /** The length of the match of `pattern` at this position. */
  private matches(pattern: RegExp): number {
    pattern.lastIndex = this.at;
    return pattern.exec(this.text)?.[0].length ?? this.fail();
  }

  private peek(): string {
    for (;;) {
      const code = this.text.charCodeAt(this.at);
      if (code !== 32 && code !== 10 && code !== 13 && code !== 9) return this.text.charAt(this.at);
      this.at++;
    }
  }

  private fail(): never {
    const at = this.at;
    throw new JsonError(at, at < this.text.length ? printable(this.text.slice(at, at + 24)) : 'the end');
  }
}
