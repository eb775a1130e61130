/**
 * Which of the waiting requests are answered next: all policy of the server, without a model, a socket or a clock of its own. Keys
 * share the slots fairly: the next request is one of the key that has been served the fewest tokens.
 */
import type { RowOptions, RowProgress } from '../models/slots.ts';

/** The slots, as far as the scheduler uses them. */
export interface SlotsLike {
  admit(
    prompt: readonly number[],
    rows: readonly RowOptions[],
    scope?: string,
  ): Promise<{ rows: number[]; cached: number }>;
  end(row: number): void;
  advance(order: readonly number[], promptTokens: number, tokens: number): Promise<RowProgress[]>;
}

/** How requests wait and are served. */
export interface Policy {
  /** Rows that are answered at once: the number of slots. */
  slots: number;
  /** Requests that may wait, and tokens of their prompts; more are refused. */
  maxWaiting: number;
  maxWaitingTokens: number;
  /** Milliseconds after which a request that still waits is refused. */
  maxWait: number;
  /** The share of the slots that a key may have while others wait. */
  share: number;
  /** Tokens of prompts that are read between two tokens of the rows that are being answered, and while there are none. */
  promptTokens: number;
  promptTokensAlone: number;
  /** Tokens that are drawn at once when nobody waits for less. */
  tokens: number;
  /** Milliseconds for which a new row gets its tokens one by one. */
  eager: number;
}

/** Answers to one prompt that someone wants. */
export interface Request {
  /** Whose it is. */
  key: string;
  prompt: readonly number[];
  rows: readonly RowOptions[];
  scope?: string | undefined;
  /** Whether a token may end a row in a way that the slots do not know, so that none is drawn in advance. */
  watched: boolean;
  /** Told when rows are admitted, with the tokens of the prompt that need not be read. */
  began?(cached: number): void;
  /** Told what happened to row `index`. */
  progressed(index: number, progress: RowProgress): void;
  /** Told if the request cannot be answered; nothing follows. */
  failed(error: unknown): void;
}

/** Why a request is not answered, and when to try again. */
export class Overloaded extends Error {
  /** Seconds, from 1 to 60. */
  readonly retryAfter: number;

  constructor(message: string, retryAfter: number) {
    super(message);
    this.name = 'Overloaded';
    this.retryAfter = retryAfter;
  }
}

/** What a turn of the scheduler did. */
export interface Turn {
  waiting: number;
  running: number;
  /** Tokens of prompts that were read, and tokens that were drawn. */
  read: number;
  drawn: number;
  milliseconds: number;
}

interface Waiting {
  request: Request;
  since: number;
  /** The index of the next row to admit. */
  next: number;
}
interface Running {
  request: Request;
  index: number;
  since: number;
  reads: boolean;
}

/** Failures of the slots in a row that end the turns. */
const MOST_FAILURES = 3;

export class Scheduler {
  readonly #slots: SlotsLike;
  readonly #policy: Policy;
  readonly #now: () => number;
  readonly #onError: (error: unknown) => void;
  #waiting: Waiting[] = [];
  readonly #running = new Map<number, Running>();
  /** Tokens that each key has been served. */
  readonly #served = new Map<string, number>();
  /** Tokens a millisecond, lately. */
  #rate = 0;
  #wake: () => void = () => {};
  /** How often the slots have failed in a row. */
  #failures = 0;

  /** `now` is a clock in milliseconds; `onError` is told why all answers failed at once. */
  constructor(slots: SlotsLike, policy: Policy, now: () => number, onError: (error: unknown) => void = () => {}) {
    this.#slots = slots;
    this.#policy = policy;
    this.#now = now;
    this.#onError = onError;
  }

  get waiting(): number {
    return this.#waiting.length;
  }

  get running(): number {
    return this.#running.size;
  }

  /** Lets a request wait for its turn. @throws Overloaded if too much waits already */
  submit(request: Request): void {
    const { maxWaiting, maxWaitingTokens } = this.#policy;
    const tokens = this.#waitingTokens() + request.prompt.length;
    if (this.#waiting.length >= maxWaiting || (this.#waiting.length > 0 && tokens > maxWaitingTokens)) {
      throw new Overloaded(`${this.#waiting.length} requests are waiting already`, this.#retryAfter());
    }
    // A key that was away has not saved anything up.
    const present = this.#keys();
    if (present.size > 0 && !present.has(request.key)) {
      const least = Math.min(...[...present].map((key) => this.#servedTo(key)));
      this.#served.set(request.key, Math.max(least, this.#servedTo(request.key)));
    }
    this.#waiting.push({ request, since: this.#now(), next: 0 });
    this.#wake();
  }

  /** Ends all rows of a request, or one of them. Progress that was made before still arrives. */
  end(request: Request, index?: number): void {
    const ends = (one: number) => index === undefined || one === index;
    this.#waiting = this.#waiting.filter((one) => one.request !== request || index !== undefined);
    for (const [row, running] of this.#running) {
      if (running.request === request && ends(running.index)) this.#slots.end(row);
    }
  }

  /** Refuses all requests, those that are being answered too: for a server that stops. */
  refuseAll(): void {
    for (const request of this.#requests()) {
      request.failed(new Overloaded('the server is stopping', 1));
      this.end(request);
    }
  }

  /** Serves until `signal` is aborted: a turn reads some of the prompts, then draws for all rows that can. */
  async *turns(signal: AbortSignal): AsyncGenerator<Turn> {
    while (!signal.aborted) {
      if (this.#waiting.length === 0 && this.#running.size === 0) await this.#arrival(signal);
      else yield await this.#turn();
    }
  }

  async #arrival(signal: AbortSignal): Promise<void> {
    const arrival = new Promise<void>((resolve) => {
      this.#wake = resolve;
    });
    signal.addEventListener('abort', this.#wake, { once: true });
    await arrival;
    signal.removeEventListener('abort', this.#wake);
  }

  async #turn(): Promise<Turn> {
    const began = this.#now();
    this.#expire();
    await this.#admitAll();
    const all = [...this.#running];
    const reading = all.filter(([, { reads }]) => reads).map(([row]) => row);
    const drawing = all.length - reading.length;
    const budget = drawing > 0 ? this.#policy.promptTokens : this.#policy.promptTokensAlone;
    const progress = await this.#advance(reading, budget);
    for (const one of progress) this.#tell(one);
    const read = progress.reduce((total, { promptRead }) => total + promptRead, 0);
    const drawn = progress.reduce((total, { tokens }) => total + tokens.length, 0);
    const milliseconds = this.#now() - began;
    if (milliseconds > 0) this.#rate = 0.9 * this.#rate + 0.1 * ((read + drawn) / milliseconds);
    return { waiting: this.#waiting.length, running: this.#running.size, read, drawn, milliseconds };
  }

  /**
   * What rows read and drew. If that fails, as with too little memory, the requests fail that were being answered, and others go on.
   * @throws what the slots throw if it happens again and again
   */
  async #advance(reading: readonly number[], budget: number): Promise<RowProgress[]> {
    try {
      const progress = await this.#slots.advance(reading, budget, this.#tokensAtOnce());
      this.#failures = 0;
      return progress;
    } catch (error) {
      if (++this.#failures === MOST_FAILURES) throw error;
      this.#onError(error);
      for (const request of new Set([...this.#running.values()].map(({ request }) => request))) {
        request.failed(error);
        this.end(request); // the slots tell that it has ended when they next advance
      }
      return [];
    }
  }

  #tell(progress: RowProgress): void {
    const running = this.#running.get(progress.row);
    if (running === undefined) return;
    if (progress.tokens.length > 0) running.reads = false;
    this.#serve(running.request.key, progress.promptRead + progress.tokens.length);
    if (progress.ended !== 'no') this.#running.delete(progress.row);
    try {
      running.request.progressed(running.index, progress);
    } catch (error) {
      running.request.failed(error); // only this request: the others go on
      this.end(running.request);
    }
  }

  /** Refuses requests that have waited for too long. */
  #expire(): void {
    const late = this.#waiting.filter(({ since, next }) => next === 0 && this.#now() - since > this.#policy.maxWait);
    this.#waiting = this.#waiting.filter((one) => !late.includes(one));
    for (const { request } of late)
      request.failed(new Overloaded('the request has waited for too long', this.#retryAfter()));
  }

  async #admitAll(): Promise<void> {
    for (let next = this.#next(); next !== undefined; next = this.#next()) await this.#admit(next.waiting, next.rows);
  }

  /** The next request to begin, or to go on with, and how many of its rows; undefined if none has room. */
  #next(): { waiting: Waiting; rows: number } | undefined {
    const free = this.#policy.slots - this.#running.size;
    if (free === 0) return undefined;
    const byServed = [...this.#waiting].sort((a, b) => this.#servedTo(a.request.key) - this.#servedTo(b.request.key));
    for (const waiting of byServed) {
      const rows = Math.min(free, waiting.request.rows.length - waiting.next, this.#roomFor(waiting.request.key));
      if (rows > 0) return { waiting, rows };
    }
    return undefined;
  }

  /** How many more rows a key may have: any number unless others wait. */
  #roomFor(key: string): number {
    if (!this.#waiting.some(({ request }) => request.key !== key)) return this.#policy.slots;
    const own = [...this.#running.values()].filter(({ request }) => request.key === key).length;
    return Math.max(1, Math.floor(this.#policy.slots * this.#policy.share)) - own;
  }

  async #admit(waiting: Waiting, count: number): Promise<void> {
    const { request, next } = waiting;
    waiting.next += count;
    if (waiting.next === request.rows.length) this.#waiting = this.#waiting.filter((one) => one !== waiting);
    try {
      const { rows, cached } = await this.#slots.admit(
        request.prompt,
        request.rows.slice(next, next + count),
        request.scope,
      );
      for (const [i, row] of rows.entries()) {
        this.#running.set(row, { request, index: next + i, since: this.#now(), reads: true });
      }
      request.began?.(cached);
    } catch (error) {
      this.#waiting = this.#waiting.filter((one) => one !== waiting);
      request.failed(error);
    }
  }

  /** One while somebody waits, looks at every token or has just come. */
  #tokensAtOnce(): number {
    const patient = ({ request, since }: Running) => !request.watched && this.#now() - since >= this.#policy.eager;
    const all = [...this.#running.values()];
    return this.#waiting.length === 0 && all.every(patient) ? this.#policy.tokens : 1;
  }

  #serve(key: string, tokens: number): void {
    this.#served.set(key, this.#servedTo(key) + tokens);
    if (this.#served.size > 10_000) this.#forgetAbsent();
  }

  #forgetAbsent(): void {
    const present = this.#keys();
    for (const key of this.#served.keys()) if (!present.has(key)) this.#served.delete(key);
  }

  #servedTo(key: string): number {
    return this.#served.get(key) ?? 0;
  }

  /** The keys that wait or are being served. */
  #keys(): ReadonlySet<string> {
    return new Set([...this.#requests()].map(({ key }) => key));
  }

  #requests(): ReadonlySet<Request> {
    return new Set([...this.#waiting, ...this.#running.values()].map(({ request }) => request));
  }

  #waitingTokens(): number {
    return this.#waiting.reduce((total, { request }) => total + request.prompt.length, 0);
  }

  /** Seconds until what waits now may be done, by the rate of late. */
  #retryAfter(): number {
    const tokens = this.#waiting.reduce((total, { request }) => total + costOf(request), 0);
    return Math.min(60, Math.max(1, Math.ceil(tokens / (this.#rate || 1) / 1000)));
  }
}

function costOf({ prompt, rows }: Request): number {
  return prompt.length + rows.reduce((total, { maxTokens }) => total + maxTokens, 0);
}
