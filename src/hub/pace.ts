/** The pace of a transfer: a server that stops, or sends a byte now and then, is given up. */
import { Passing, type Patience } from './client.ts';

export class Pace implements Disposable {
  readonly #patience: Patience;
  readonly #ended = new AbortController();
  #timer: NodeJS.Timeout | undefined;
  #bytes = 0;
  /** Why the transfer was ended, if it was too slow. */
  failure: Passing | undefined;

  constructor(patience: Patience) {
    this.#patience = patience;
  }

  /** Ends the request that it is given to: when the transfer is too slow, and when it is disposed of. */
  get signal(): AbortSignal {
    return this.#ended.signal;
  }

  /** From now on, every window has to bring the least number of bytes. */
  start(): void {
    const { window, leastBytes } = this.#patience;
    this.#timer = setInterval(() => {
      if (this.#bytes < leastBytes) this.#fail(`fewer than ${leastBytes} bytes in ${window / 1000} s`);
      this.#bytes = 0;
    }, window);
  }

  /** Bytes that have passed. */
  count(bytes: number): void {
    this.#bytes += bytes;
  }

  /** All bytes have passed; now an answer is due. */
  awaitAnswer(): void {
    const { answer } = this.#patience;
    clearInterval(this.#timer);
    this.#timer = setTimeout(() => this.#fail(`no answer within ${answer / 1000} s`), answer);
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer);
    this.#ended.abort();
  }

  #fail(message: string): void {
    this.failure = new Passing(message);
    this.#ended.abort(this.failure);
  }
}
