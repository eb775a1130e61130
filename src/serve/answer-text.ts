/** The text of an answer while it is being drawn: what is certain, up to a stop string. */
import type { DecodeStream } from '../tokenizer/tokenizer.ts';

export class AnswerText {
  readonly #decode: DecodeStream;
  readonly #stop: readonly string[];
  /** Text that may be the beginning of a stop string. */
  #held = '';
  #stopped = false;

  /** `decode` makes text of tokens; the answer ends before the first of the strings `stop`. */
  constructor(decode: DecodeStream, stop: readonly string[]) {
    this.#decode = decode;
    this.#stop = stop;
  }

  /** Whether a stop string has appeared: no later text belongs to the answer. */
  get stopped(): boolean {
    return this.#stopped;
  }

  /** The text that is certain with one more token: not what may yet become a stop string, or half a character. */
  push(token: number): string {
    return this.#take(this.#decode.push(token), false);
  }

  /** The rest of the text, once there are no more tokens. */
  end(): string {
    return this.#take(this.#decode.end(), true);
  }

  #take(text: string, last: boolean): string {
    if (this.#stopped) return '';
    const all = this.#held + text;
    const places = this.#stop.map((one) => all.indexOf(one)).filter((at) => at >= 0);
    this.#stopped = places.length > 0;
    const certain = this.#stopped ? Math.min(...places) : last ? all.length : all.length - this.#pending(all);
    this.#held = this.#stopped ? '' : all.slice(certain);
    return all.slice(0, certain);
  }

  /** The length of the longest end of `text` that a stop string begins with. */
  #pending(text: string): number {
    const longest = Math.max(0, ...this.#stop.map(({ length }) => length - 1));
    for (let count = Math.min(longest, text.length); count > 0; count--) {
      const end = text.slice(-count);
      if (this.#stop.some((one) => one.startsWith(end))) return count;
    }
    return 0;
  }
}
