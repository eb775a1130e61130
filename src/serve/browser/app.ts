/** What the page knows, and what can be done with it. Views are drawn from it, and call it. */
import type {
  ShownAnswer,
  ShownChat,
  ShownMessage,
  ShownModel,
  ShownParameters,
  ShownRequest,
  ShownTree,
} from '../chats/shown.ts';
import { change, read, Refused, send } from './client.ts';
import { canPick, type Exchange, letterOf, threadOf } from './thread.ts';

const UNTITLED = 'New chat';
const TITLE_LENGTH = 60;

export interface Views {
  /** Draws everything again. */
  draw(): void;
  /** More text of an answer that is drawn. */
  grow(id: string, text: string): void;
  /** Says something that has happened, to those who do not see it. */
  say(text: string): void;
  /** Shows what went wrong. */
  fail(text: string): void;
  /** Where the next message is written. */
  focusComposer(): void;
}

export class App {
  models: ShownModel[] = [];
  chats: ShownChat[] = [];
  /** Whether there are older chats than those. */
  more = false;
  tree: ShownTree | undefined;
  /** The message that is being edited, and its text so far. */
  editing: { id: string; text: string } | undefined;
  #live: { chat: string } | undefined;
  readonly #views: Views;

  constructor(views: Views) {
    this.#views = views;
  }

  /** Whether the chat that is shown is being answered. */
  get isLive(): boolean {
    return this.#live !== undefined && this.#live.chat === this.tree?.id;
  }

  get thread(): Exchange[] {
    return this.tree === undefined ? [] : threadOf(this.tree);
  }

  /** Loads what there is, and opens the chat of the address, or the newest, or a new one. */
  async begin(id: string | null): Promise<void> {
    await this.#try(async () => {
      ({ models: this.models } = await read<{ models: ShownModel[] }>('/api/models'));
      await this.#list();
      const first = id ?? this.chats[0]?.id;
      if (first === undefined) await this.create();
      else await this.open(first);
    });
  }

  async open(id: string): Promise<void> {
    await this.#try(async () => {
      this.tree = await read<ShownTree>(pathOf(id));
      this.editing = undefined;
      this.#views.draw();
      this.#views.say(`Chat ${this.tree.title}`);
    });
  }

  async create(): Promise<void> {
    await this.#try(async () => {
      const { parameters } = this.tree ?? {};
      this.tree = await change<ShownTree>('POST', '/api/chats', parameters === undefined ? {} : { parameters });
      this.chats = [this.tree, ...this.chats];
      this.#views.draw();
      this.#views.say('New chat');
      this.#views.focusComposer();
    });
  }

  async older(): Promise<void> {
    await this.#try(async () => {
      await this.#list(this.chats.at(-1)?.id);
      this.#views.draw();
    });
  }

  /** Deletes the chat that is shown. */
  async remove(): Promise<void> {
    const id = this.tree?.id;
    if (id === undefined) return;
    await this.#try(async () => {
      await change('DELETE', pathOf(id));
      this.chats = this.chats.filter((one) => one.id !== id);
      this.tree = undefined;
      this.#views.say('The chat is deleted');
      const next = this.chats[0]?.id;
      if (next === undefined) await this.create();
      else await this.open(next);
    });
  }

  async rename(title: string): Promise<void> {
    await this.#change({ title }, `Renamed to ${title}`);
  }

  async allowTraining(training: boolean): Promise<void> {
    await this.#change({ training }, `This chat ${training ? 'may' : 'may not'} be used for training`);
  }

  async setParameters(parameters: ShownParameters): Promise<boolean> {
    return await this.#change({ parameters }, 'Settings saved');
  }

  /** Shows the thread that ends with another message. */
  async show(leaf: string, said: string): Promise<void> {
    await this.#change({ leaf }, said);
  }

  /** Sends a message behind the thread that is shown; returns whether it is stored. */
  async sendText(text: string): Promise<boolean> {
    const on = this.thread.at(-1)?.on;
    return await this.#send({ parent: on?.id ?? null, text });
  }

  /** Sends a message again, with another text, as a branch of its own. */
  async sendEdited(): Promise<void> {
    const { id, text } = this.editing ?? {};
    const message = this.tree?.messages.find((one) => one.id === id);
    if (message === undefined || text === undefined) return;
    this.editing = undefined;
    await this.#send({ parent: message.parent, text });
  }

  /** Has a message answered again. */
  async again(user: string): Promise<void> {
    await this.#send({ user });
  }

  async stop(): Promise<void> {
    const { tree } = this;
    if (tree === undefined || !this.isLive) return;
    await this.#try(() => change('POST', `${pathOf(tree.id)}/stop`));
  }

  async vote(answer: ShownAnswer, value: -1 | 0 | 1): Promise<void> {
    await this.#try(async () => {
      await change('POST', `/api/messages/${answer.id}/vote`, { value });
      await this.#refresh();
      this.#views.say(`Answer ${letterOf(answer)}: ${value === 0 ? 'vote taken back' : value > 0 ? 'good' : 'bad'}`);
    });
  }

  async pick(answer: ShownAnswer): Promise<void> {
    await this.#try(async () => {
      await change('POST', `/api/messages/${answer.id}/pick`);
      await this.#refresh();
      const found = this.tree?.messages.find(({ id }) => id === answer.id) as ShownAnswer | undefined;
      this.#views.say(`Answer ${letterOf(answer)} picked; it is by ${found?.model}`);
      this.#views.focusComposer();
    });
  }

  /** Says something to those who do not see it. */
  say(text: string): void {
    this.#views.say(text);
  }

  /** The request that gives an answer again. */
  async requestOf(answer: ShownAnswer): Promise<ShownRequest | undefined> {
    let request: ShownRequest | undefined;
    await this.#try(async () => {
      request = await read<ShownRequest>(`/api/messages/${answer.id}/request`);
    });
    return request;
  }

  async #send(body: object): Promise<boolean> {
    if (this.tree === undefined || this.#live !== undefined) return false;
    const { id: chat, title } = this.tree;
    this.#live = { chat };
    let [stored, done] = [false, false];
    this.#views.draw();
    const heard = await this.#try(async () => {
      for await (const event of send(chat, body)) {
        // Another chat may be shown by now.
        const tree = this.tree?.id === chat ? this.tree : undefined;
        if (event.type === 'text') this.#grow(tree, event.id, event.text);
        else if (tree !== undefined) this.#merge(tree, event.messages);
        if (event.type === 'turn') {
          stored = true;
          if (tree !== undefined) this.#begun(tree, event.messages);
        } else if (event.type === 'done') {
          done = true;
          this.#done(event.messages, event.error);
        }
      }
    });
    this.#live = undefined;
    // What the server did in the end is not known: it may have the message, and part of the answers.
    if ((stored || !heard) && !done && this.tree?.id === chat) await this.#refresh().catch(() => undefined);
    this.#views.draw();
    if (stored && title === UNTITLED && this.tree?.id === chat) await this.#nameByFirstMessage(this.tree);
    return stored;
  }

  #begun(tree: ShownTree, messages: readonly ShownMessage[]): void {
    tree.leaf = messages.find(({ role }) => role === 'assistant')?.id ?? tree.leaf;
    this.#views.draw();
    this.#views.say('Answering');
  }

  #done(messages: readonly ShownMessage[], error: string | null): void {
    const answers = messages.filter((one): one is ShownAnswer => one.role === 'assistant');
    const stopped = answers.some(({ state }) => state === 'stopped') ? 'Stopped. ' : '';
    const [first] = answers;
    if (error !== null) this.#views.fail(error);
    if (answers.length === 1 && first !== undefined) this.#views.say(`${stopped}The answer is: ${first.text}`);
    else this.#views.say(`${stopped}${answers.length} answers: ${canPick(answers) ? 'pick the best' : ''}`);
  }

  #merge(tree: ShownTree, messages: readonly ShownMessage[]): void {
    for (const message of messages) {
      const at = tree.messages.findIndex(({ id }) => id === message.id);
      if (at < 0) tree.messages.push(message);
      else tree.messages[at] = message;
    }
  }

  #grow(tree: ShownTree | undefined, id: string, text: string): void {
    const message = tree?.messages.find((one) => one.id === id);
    if (message === undefined) return;
    message.text += text;
    this.#views.grow(id, text);
  }

  async #nameByFirstMessage(tree: ShownTree): Promise<void> {
    const [line = ''] = (tree.messages[0]?.text ?? '').trim().split('\n');
    const plain = [...line.replace(/\p{Cc}/gu, ' ')].slice(0, TITLE_LENGTH).join('').trim();
    if (plain !== '') await this.#change({ title: plain });
  }

  /** Changes the chat that is shown; returns whether it did. */
  async #change(what: object, said?: string): Promise<boolean> {
    const { tree } = this;
    if (tree === undefined) return false;
    return await this.#try(async () => {
      const changed = await change<ShownTree>('PATCH', pathOf(tree.id), what);
      // Text that is still growing is ahead of what is stored.
      const { messages, ...rest } = changed;
      Object.assign(tree, rest, this.isLive ? { leaf: tree.leaf } : { messages });
      this.chats = this.chats.map((one) => (one.id === tree.id ? tree : one));
      this.#views.draw();
      if (said !== undefined) this.#views.say(said);
    });
  }

  async #refresh(): Promise<void> {
    if (this.tree !== undefined) this.tree = await read<ShownTree>(pathOf(this.tree.id));
    this.#views.draw();
  }

  async #list(before?: string): Promise<void> {
    const query = before === undefined ? '' : `?before=${encodeURIComponent(before)}`;
    const found = await read<{ chats: ShownChat[]; more: boolean }>(`/api/chats${query}`);
    this.chats = before === undefined ? found.chats : [...this.chats, ...found.chats];
    this.more = found.more;
  }

  /** Does something that may fail; returns whether it did not. */
  async #try(work: () => Promise<unknown>): Promise<boolean> {
    try {
      await work();
      return true;
    } catch (error) {
      if (error instanceof Refused) this.#views.fail(error.message);
      else this.#views.fail(`The server cannot be reached: ${error instanceof Error ? error.message : error}`);
      return false;
    }
  }
}

function pathOf(id: string): string {
  return `/api/chats/${encodeURIComponent(id)}`;
}
