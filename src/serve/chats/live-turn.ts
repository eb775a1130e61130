/** Answers to one message while they are drawn, from one or several models, whether or not somebody reads them. */
import type { Piece } from '../answering.ts';
import type { AnswerSource } from './model.ts';

/** Answers of one model, and the place at which each is shown. */
export interface PlacedSource {
  source: AnswerSource;
  places: readonly number[];
}
/** An answer so far. */
export interface Drawing {
  text: string;
  finish: Piece['finish'];
  tokens: number;
  logProb: number;
  failed: boolean;
}
/** More text of the answer at a place. */
export interface Progress {
  place: number;
  text: string;
}

export class LiveTurn {
  /** By place. */
  readonly answers: readonly Drawing[];
  /** Settles when there is a first piece, or nothing more will come. @throws what a source throws before its first piece */
  readonly begun: Promise<void>;
  /** Fulfilled when nothing more will come. */
  readonly drawn: Promise<void>;
  /** The first error after the first piece. */
  error: unknown;
  readonly #sources: readonly PlacedSource[];
  /** Text that no reader has taken, by place. */
  #pending = new Map<number, string>();
  #stopped = false;
  #hasBegun = false;
  #ended = false;
  #wake: () => void = () => {};

  constructor(sources: readonly PlacedSource[]) {
    this.#sources = sources;
    const places = sources.flatMap((one) => one.places);
    this.answers = places.map(() => ({ text: '', finish: null, tokens: 0, logProb: 0, failed: false }));
    let begin = (): void => {};
    const first = new Promise<void>((resolve) => {
      begin = resolve;
    });
    const all = Promise.all(sources.map((one) => this.#draw(one, begin)));
    this.begun = Promise.race([first, all.then(() => undefined)]);
    this.drawn = all.then(
      () => this.#end(),
      () => this.#end(),
    );
  }

  /** Whether no answer has a single piece. */
  get isEmpty(): boolean {
    return !this.#hasBegun;
  }

  /** Ends all answers before their next token. */
  stop(): void {
    this.#stopped = true;
    for (const { source } of this.#sources) source.end();
  }

  /** How the answer at a place has ended. */
  stateOf(place: number): 'complete' | 'stopped' | 'failed' {
    const { finish, failed } = this.answers[place] as Drawing;
    if (finish !== null) return 'complete';
    return failed && !this.#stopped ? 'failed' : 'stopped';
  }

  /** The text as it comes, several tokens at once for a reader who is behind. */
  async *progress(): AsyncGenerator<Progress> {
    while (true) {
      const pending = [...this.#pending];
      this.#pending = new Map();
      for (const [place, text] of pending) yield { place, text };
      if (pending.length > 0) continue;
      if (this.#ended) return;
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }

  async #draw({ source, places }: PlacedSource, begin: () => void): Promise<void> {
    try {
      for await (const piece of source.pieces()) {
        this.#hasBegun = true;
        begin();
        this.#take(places[piece.index] as number, piece);
      }
    } catch (error) {
      if (!this.#hasBegun) {
        this.stop();
        throw error;
      }
      this.error ??= error;
      for (const place of places) (this.answers[place] as Drawing).failed = true;
    }
  }

  #take(place: number, { text, drawn, finish }: Pick<Piece, 'text' | 'drawn' | 'finish'>): void {
    const answer = this.answers[place] as Drawing;
    answer.text += text;
    answer.finish = finish;
    answer.tokens += drawn.length;
    answer.logProb += drawn.reduce((sum, { sampled }) => sum + sampled, 0);
    this.#pending.set(place, (this.#pending.get(place) ?? '') + text);
    this.#wake();
  }

  #end(): void {
    this.#ended = true;
    this.#wake();
  }
}
