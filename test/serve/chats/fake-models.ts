/** Models that answer what a test says, at the pace that it says; and the events of a response. */
import type { Hono } from 'hono';
import type { Conversation } from '../../../src/serve/chats/conversation.ts';
import type { AnswerSource, ChatModel } from '../../../src/serve/chats/model.ts';
import type { AnswerRequest } from '../../../src/serve/chats/parameters.ts';
import type { TurnEvent } from '../../../src/serve/chats/shown.ts';

type FakePiece = { index: number; text: string; drawn: never[]; finish: 'stop' | 'length' | null };

export class FakeModel implements ChatModel {
  readonly name: string;
  readonly fingerprint: string;
  readonly form: 'messages' | 'text';
  /** What it was asked. */
  readonly asked: { conversation: Conversation; request: AnswerRequest }[] = [];
  /** Pieces of answer `index`; by default, a few words that say which one it is. */
  script: (index: number, conversation: Conversation) => string[];
  finish: 'stop' | 'length' = 'stop';
  /** What it throws: before its first piece, or after `failAfter` of them. */
  error: unknown;
  failAfter = 0;
  /** Answers whose source was ended. */
  ended = 0;
  /** Pieces that it has given. */
  given = 0;
  /** After so many pieces it waits for `release`. */
  holdAfter = Number.POSITIVE_INFINITY;
  #released: Promise<void> = Promise.resolve();
  release: () => void = () => {};

  constructor(name: string, { form = 'messages', fingerprint = `print of ${name}` }: Partial<ChatModel> = {}) {
    this.name = name;
    this.form = form;
    this.fingerprint = fingerprint;
    this.script = (index) => ['answer ', `${index + 1} `, 'of ', 'several'];
  }

  /** Waits after `pieces` of a turn until `release` is called, or the turn is stopped. */
  hold(pieces: number): void {
    this.holdAfter = pieces;
    this.#released = new Promise((resolve) => {
      this.release = () => {
        this.holdAfter = Number.POSITIVE_INFINITY;
        resolve();
      };
    });
  }

  async prepare(conversation: Conversation, asked: Omit<AnswerRequest, 'form'>, seed: number) {
    const sampling = { ...asked.sampling, seed: asked.sampling.seed ?? seed };
    const request: AnswerRequest = { ...asked, form: this.form, sampling };
    this.asked.push({ conversation, request });
    return { request, source: this.#source(conversation, request.n) };
  }

  #source(conversation: Conversation, n: number): AnswerSource {
    let end = (): void => {};
    const left = new Promise<void>((resolve) => {
      end = resolve;
    });
    let isLeft = false;
    const self = this;
    return {
      async *pieces() {
        if (self.error !== undefined && self.failAfter === 0) throw self.error;
        let given = 0;
        for await (const piece of self.#pieces(conversation, n)) {
          if (given >= self.holdAfter) await Promise.race([self.#released, left]);
          if (isLeft) return;
          if (self.error !== undefined && given >= self.failAfter) throw self.error;
          given++;
          self.given++;
          yield piece;
        }
      },
      end() {
        isLeft = true;
        self.ended++;
        end();
      },
    };
  }

  async *#pieces(conversation: Conversation, n: number): AsyncGenerator<FakePiece> {
    const answers = Array.from({ length: n }, (_, index) => this.script(index, conversation));
    const longest = Math.max(...answers.map(({ length }) => length));
    for (let i = 0; i < longest; i++) {
      for (const [index, pieces] of answers.entries()) {
        if (i >= pieces.length) continue;
        const finish = i === pieces.length - 1 ? this.finish : null;
        yield { index, text: pieces[i] as string, drawn: [], finish };
      }
    }
  }
}

/** A request to an application without a network. */
export async function call(
  app: Hono,
  method: string,
  path: string,
  body?: unknown,
  headers: Record<string, string> = {},
): Promise<Response> {
  const json = body === undefined ? {} : { body: JSON.stringify(body) };
  return await app.request(path, { method, headers: { 'content-type': 'application/json', ...headers }, ...json });
}

/** The events of a stream as they come. */
export async function* eventsOf(response: Response): AsyncGenerator<TurnEvent> {
  let text = '';
  for await (const bytes of response.body as unknown as AsyncIterable<Uint8Array>) {
    text += new TextDecoder().decode(bytes);
    const whole = text.split('\n\n');
    text = whole.pop() as string;
    for (const event of whole) if (event.startsWith('data: ')) yield JSON.parse(event.slice('data: '.length));
  }
}

/** All events of a stream. */
export async function allEvents(response: Response): Promise<TurnEvent[]> {
  const events: TurnEvent[] = [];
  for await (const event of eventsOf(response)) events.push(event);
  return events;
}
