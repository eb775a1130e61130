/** Messages that are sent, and the answers to them: from the request to what is stored. */
import { Random } from '../../data/random.ts';
import { ApiError } from '../../web/api-error.ts';
import { asApiError } from '../told-error.ts';
import { LiveTurn, type PlacedSource } from './live-turn.ts';
import { type Conversation, conversationTo } from './conversation.ts';
import type { ChatModel, Prepared } from './model.ts';
import type { Parameters } from './parameters.ts';
import type { ShownMessage, TurnEvent } from './shown.ts';
import type { ChatStore, ChatTree, Mutation, NewAnswer, Question } from './store.ts';
import { messagesView } from './view.ts';

export interface TurnsOptions {
  store: ChatStore;
  /** The models that can be asked now; the first is asked unless a chat names others. */
  models(): readonly ChatModel[];
  /** A seed for a turn of a chat without one. */
  newSeed(): number;
  /** Told of errors that readers do not understand. */
  onError(error: unknown): void;
}

/** A model with its answers and their places. */
interface Asked {
  model: ChatModel;
  places: number[];
  prepared: Prepared;
}
/** A turn that is not stored whole yet. */
interface Live {
  chat: string;
  turn: LiveTurn | undefined;
  /** Whether it is to end as soon as it begins. */
  stopped: boolean;
  /** The ids of its answers once it is stored. */
  answers: readonly string[];
  ended: Promise<void>;
  /** Fulfils `ended`, and lets another turn begin. */
  leave(): void;
}

export class Turns {
  readonly #options: TurnsOptions;
  readonly #live = new Set<Live>();

  constructor(options: TurnsOptions) {
    this.#options = options;
  }

  /**
   * Has a message answered, and tells how it goes. It is stored when there is a first piece of an answer, and whole when all have ended;
   * all end when the reader leaves, which aborts `signal`.
   * @throws ApiError, Overloaded if it cannot be answered; nothing is stored then
   */
  async begin(
    chat: string,
    question: Question,
    { mutation, signal }: { mutation: Mutation | undefined; signal: AbortSignal },
  ): Promise<AsyncGenerator<TurnEvent>> {
    const known = mutation && this.#options.store.known<Stored>(mutation);
    if ([...this.#live].some((one) => one.chat === chat)) {
      throw new ApiError(409, 'the chat is being answered', { code: 'in_progress' });
    }
    if (known !== undefined) return this.#again(known);
    const live = this.#enter(chat, signal);
    try {
      return await this.#answer(live, question, mutation);
    } catch (error) {
      live.turn?.stop();
      live.leave();
      throw error;
    }
  }

  /** Ends the answers that are being drawn in a chat; returns when what there is of them is stored. */
  async stop(chat: string): Promise<number> {
    return await this.#stopAll((one) => one.chat === chat);
  }

  /** Ends the turn of an answer if it is being drawn; returns when it is stored. */
  async stopAnswer(answer: string): Promise<void> {
    await this.#stopAll(({ answers }) => answers.includes(answer));
  }

  /** Ends all answers. */
  async close(): Promise<void> {
    await this.#stopAll(() => true);
  }

  async #stopAll(which: (live: Live) => boolean): Promise<number> {
    const some = [...this.#live].filter(which);
    for (const live of some) stop(live);
    await Promise.all(some.map(({ ended }) => ended));
    return some.length;
  }

  /** A turn of a chat, in which no other can begin until it has left. */
  #enter(chat: string, signal: AbortSignal): Live {
    let end = (): void => {};
    const ended = new Promise<void>((resolve) => {
      end = resolve;
    });
    const leave = () => {
      this.#live.delete(live);
      end();
    };
    const live: Live = { chat, turn: undefined, stopped: false, answers: [], ended, leave };
    this.#live.add(live);
    signal.addEventListener('abort', () => stop(live), { once: true });
    return live;
  }

  async #answer(live: Live, question: Question, mutation: Mutation | undefined): Promise<AsyncGenerator<TurnEvent>> {
    const { chat, ended, leave } = live;
    const asked = await this.#ask(chat, question);
    const turn = new LiveTurn(asked.map(({ prepared: { source }, places }): PlacedSource => ({ source, places })));
    live.turn = turn;
    if (live.stopped) turn.stop();
    await turn.begun;
    if (turn.isEmpty) throw new ApiError(409, 'the answers were stopped before they began', { code: 'stopped' });
    const stored = this.#options.store.once(mutation, () => this.#store(chat, question, asked));
    live.answers = stored.answers;
    void turn.drawn.then(() => this.#end(turn, stored)).finally(leave);
    return this.#tell(turn, stored, ended);
  }

  async #ask(chat: string, question: Question): Promise<Asked[]> {
    const tree = this.#options.store.tree(chat);
    const { n, system, sampling } = tree.chat.parameters;
    const conversation = conversationOf(tree, question);
    const models = this.#modelsOf(tree.chat.parameters);
    const seed = sampling.seed ?? this.#options.newSeed();
    const shares = placesOf(models.length, n, seed);
    return await Promise.all(
      models.slice(0, n).map(async (model, i) => {
        const places = shares[i] as number[];
        const prepared = await model.prepare(conversation, { system, n: places.length, sampling }, seed);
        return { model, places, prepared };
      }),
    );
  }

  #modelsOf({ models: names }: Parameters): readonly ChatModel[] {
    const all = this.#options.models();
    if (names.length === 0) return all.slice(0, 1);
    return names.map((name) => {
      const found = all.find((one) => one.name === name);
      if (found !== undefined) return found;
      throw new ApiError(404, `there is no model ${JSON.stringify(name)}`, {
        param: 'models',
        code: 'model_not_found',
      });
    });
  }

  #store(chat: string, question: Question, asked: readonly Asked[]): Stored {
    const answers = asked.flatMap(({ model: { name, fingerprint }, places, prepared: { request } }) =>
      places.map((place, sample): NewAnswer => ({ place, model: name, fingerprint, request, sample })),
    );
    answers.sort((a, b) => a.place - b.place);
    return { chat, ...this.#options.store.addTurn(chat, question, answers) };
  }

  #end(turn: LiveTurn, { answers }: Stored): void {
    if (turn.error !== undefined) this.#options.onError(turn.error);
    try {
      this.#options.store.endAnswers(
        turn.answers.map(({ text, finish, tokens, logProb }, place) => {
          return { id: answers[place] as string, text, state: turn.stateOf(place), finish, tokens, logProb };
        }),
      );
    } catch (error) {
      turn.error ??= error;
      this.#options.onError(error);
    }
  }

  async *#tell(turn: LiveTurn, stored: Stored, ended: Promise<void>): AsyncGenerator<TurnEvent> {
    try {
      yield { type: 'turn', messages: this.#messagesOf(stored) };
      for await (const { place, text } of turn.progress()) {
        if (text !== '') yield { type: 'text', id: stored.answers[place] as string, text };
      }
      await ended;
      const error = turn.error === undefined ? null : asApiError(turn.error).message;
      yield { type: 'done', messages: this.#messagesOf(stored), error };
    } finally {
      turn.stop();
    }
  }

  /** What was told about a turn that is stored. */
  async *#again(stored: Stored): AsyncGenerator<TurnEvent> {
    const messages = this.#messagesOf(stored);
    yield { type: 'turn', messages };
    yield { type: 'done', messages, error: null };
  }

  #messagesOf({ chat, user, answers }: Stored): ShownMessage[] {
    const wanted = new Set([user, ...answers]);
    return messagesView(this.#options.store.tree(chat)).filter(({ id }) => wanted.has(id));
  }
}

function stop(live: Live): void {
  live.stopped = true;
  live.turn?.stop();
}

/** What is kept under the key of a message. */
interface Stored {
  chat: string;
  user: string;
  /** By place. */
  answers: string[];
}

function conversationOf(tree: ChatTree, question: Question): Conversation {
  if ('user' in question) return conversationTo(tree, question.user);
  return [...conversationTo(tree, question.parent), { role: 'user', text: question.text }];
}

/** The places of each model's answers, which are as equal in number as can be. Several models are shuffled: no place tells a model. */
function placesOf(models: number, n: number, seed: number): number[][] {
  const places = Array.from({ length: n }, (_, place) => place);
  if (models > 1) new Random(seed).shuffle(places);
  return Array.from({ length: Math.min(models, n) }, (_, model) =>
    places.filter((_, i) => i % models === model).sort((a, b) => a - b),
  );
}
