/** A request while it is answered: from what slots draw to pieces of text. */
import type { RowOptions, RowProgress } from '../models/slots.ts';
import { decodeStream, type Tokenizer } from '../tokenizer/tokenizer.ts';
import { AnswerText } from './answer-text.ts';
import { ApiError } from '../web/api-error.ts';
import type { Request, Scheduler } from './scheduler.ts';

/** A token that was drawn, with log-probabilities if the request asks for them. */
export interface Drawn {
  token: number;
  /** Of the distribution that was drawn from. */
  sampled: number;
  /** Of the model, at temperature 1, and of the likeliest tokens. */
  model: RowProgress['model'][number] | undefined;
}

/** More of an answer. */
export interface Piece {
  /** Which of the answers. */
  index: number;
  text: string;
  /** The tokens that were drawn for it, without one that ended the answer. */
  drawn: Drawn[];
  /** Why the answer ends with this piece; null if it goes on. */
  finish: 'stop' | 'length' | null;
}

export interface AnsweringOptions {
  key: string;
  prompt: readonly number[];
  rows: readonly RowOptions[];
  scope?: string | undefined;
  /** Text before which an answer ends. */
  stop: readonly string[];
  tokenizer: Tokenizer;
}

interface Answer {
  text: AnswerText;
  finished: boolean;
}

export class Answering implements Request {
  readonly key: string;
  readonly prompt: readonly number[];
  readonly rows: readonly RowOptions[];
  readonly scope: string | undefined;
  readonly watched: boolean;
  readonly #answers: Answer[];
  readonly #scheduler: Scheduler;
  #pieces: Piece[] = [];
  #error: unknown;
  #failed = false;
  /** Whether nobody listens any more. */
  #left = false;
  #cached = 0;
  #drawn = 0;
  #wake: () => void = () => {};

  constructor(scheduler: Scheduler, { key, prompt, rows, scope, stop, tokenizer }: AnsweringOptions) {
    this.key = key;
    this.prompt = prompt;
    this.rows = rows;
    this.scope = scope;
    this.watched = stop.length > 0;
    this.#answers = rows.map(() => ({ text: new AnswerText(decodeStream(tokenizer), stop), finished: false }));
    this.#scheduler = scheduler;
  }

  /** Tokens of the prompt, those of it that were cached, and tokens that were drawn, up to stop strings. */
  get usage() {
    return { prompt: this.prompt.length, cached: this.#cached, drawn: this.#drawn };
  }

  /**
   * The pieces as they are drawn. Whoever leaves the loop early ends all rows before their next token.
   * @throws Overloaded if too much waits
   * @throws ApiError if the logits are not finite
   */
  async *pieces(): AsyncGenerator<Piece> {
    this.#scheduler.submit(this);
    try {
      while (!this.#failed && !this.#left) {
        const pieces = this.#pieces.splice(0);
        for (const piece of pieces) yield piece;
        if (pieces.length > 0) continue;
        if (this.#answers.every(({ finished }) => finished)) return;
        // Nothing may be awaited since the conditions above were looked at: who fails meanwhile would wake nobody.
        await new Promise<void>((resolve) => {
          this.#wake = resolve;
        });
      }
      if (this.#failed) throw this.#error;
    } finally {
      this.#scheduler.end(this);
    }
  }

  /** Ends all answers before their next token, and the pieces at once. */
  end(): void {
    this.#left = true;
    this.#scheduler.end(this);
    this.#wake();
  }

  began(cached: number): void {
    this.#cached = Math.max(this.#cached, cached);
  }

  failed(error: unknown): void {
    this.#failed = true;
    this.#error = error;
    this.#wake();
  }

  progressed(index: number, progress: RowProgress): void {
    const answer = this.#answers[index] as Answer;
    if (answer.finished) return;
    if (progress.ended === 'numbers') {
      this.failed(new ApiError(500, 'the logits of the model are not finite numbers'));
      return;
    }
    const piece = this.#pieceOf(index, answer, progress);
    answer.finished = piece.finish !== null;
    if (piece.finish !== null && progress.ended === 'no') this.#scheduler.end(this, index);
    if (piece.text !== '' || piece.finish !== null || piece.drawn.length > 0) this.#add(piece);
    this.#wake();
  }

  /** A reader who is behind gets several tokens of an answer in one piece. */
  #add({ index, text, drawn, finish }: Piece): void {
    const untaken = this.#pieces.find((one) => one.index === index);
    if (untaken === undefined) this.#pieces.push({ index, text, drawn, finish });
    else Object.assign(untaken, { text: untaken.text + text, drawn: [...untaken.drawn, ...drawn], finish });
  }

  #pieceOf(index: number, { text }: Answer, { tokens, logProbs, model, ended }: RowProgress): Piece {
    const piece: Piece = { index, text: '', drawn: [], finish: null };
    const shown = ended === 'token' ? tokens.slice(0, -1) : tokens;
    this.#drawn += tokens.length - shown.length;
    for (const [i, token] of shown.entries()) {
      this.#drawn++;
      piece.text += text.push(token);
      piece.drawn.push({ token, sampled: logProbs[i] as number, model: model[i] });
      if (text.stopped) return { ...piece, finish: 'stop' };
    }
    if (ended === 'no') return piece;
    piece.text += text.end();
    return { ...piece, finish: ended === 'length' && !text.stopped ? 'length' : 'stop' };
  }
}
