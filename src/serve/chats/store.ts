/** Chats, their messages and what people think of them, in one SQLite file that one process writes to. */
import { join } from 'node:path';
import type * as z from 'zod';
import { makeFolder } from '../../files/folder.ts';
import { lock } from '../../files/lock.ts';
import { ApiError } from '../../web/api-error.ts';
import { Database } from './database.ts';
import { newId } from './ids.ts';
import type { AnswerRequest, Parameters } from './parameters.ts';
import * as rows from './rows.ts';
import { migrate } from './schema.ts';

/** The file in the folder of a store. */
export const CHATS_FILE = 'chats.db';
/** Days for which a key names its mutation. */
const KEY_DAYS = 30;
const DAY = 24 * 60 * 60 * 1000;

/** A change that a client may ask for again without knowing whether it was made. */
export interface Mutation {
  /** Chosen by the client. */
  key: string;
  /** A hash of what it asks for. */
  request: string;
}

/** A message, or one that is there already and is answered again. */
export type Question = { parent: string | null; text: string } | { user: string };

/** An answer before its first token. */
export interface NewAnswer {
  place: number;
  model: string;
  fingerprint: string;
  request: AnswerRequest;
  sample: number;
}
/** An answer after its last token. */
export interface EndedAnswer {
  id: string;
  text: string;
  state: 'complete' | 'stopped' | 'failed';
  finish: 'stop' | 'length' | null;
  tokens: number;
  logProb: number;
}
/** A chat with everything in it. */
export interface ChatTree {
  chat: rows.Chat;
  /** In the order in which they were written. */
  messages: rows.Message[];
  /** By message; the last one counts. */
  votes: ReadonlyMap<string, rows.Vote>;
  /** By turn; the last one counts. */
  picks: ReadonlyMap<string, rows.Pick>;
}

const MESSAGES = `SELECT m.id, m.chat, m.parent, m.role, m.text, a.turn, a.place, a.model, a.fingerprint, a.request, a.sample,
  a.state, a.finish, a.tokens, a.log_prob FROM chat_message m LEFT JOIN answer a ON a.message = m.id`;

export class ChatStore {
  readonly #database: Database;
  readonly #unlock: () => Promise<void>;

  private constructor(database: Database, unlock: () => Promise<void>) {
    this.#database = database;
    this.#unlock = unlock;
  }

  /**
   * Opens the store in a folder, which is created if it is not there. Answers that were being drawn when a process ended are lost.
   * @throws LockedError if another process has it open
   * @throws ConfigError, FileError as Database.open and migrate do
   */
  static async open(directory: string): Promise<ChatStore> {
    makeFolder(directory);
    const unlock = await lock(directory);
    try {
      const database = await Database.open(join(directory, CHATS_FILE));
      migrate(database);
      database.transaction(() => {
        database.run("UPDATE answer SET state = 'lost' WHERE state = 'in_progress'");
        database.run('DELETE FROM mutation WHERE created_at < ?', timeOf(Date.now() - KEY_DAYS * DAY));
      });
      return new ChatStore(database, unlock);
    } catch (error) {
      await unlock();
      throw error;
    }
  }

  async close(): Promise<void> {
    this.#database.close();
    await this.#unlock();
  }

  /**
   * Does `work` and keeps its result under the key of the mutation, or returns the result that is kept there. What it did is on disk
   * when this returns.
   * @throws ApiError if the key was used for something else
   */
  once<T extends object>(mutation: Mutation | undefined, work: () => T): T {
    if (mutation === undefined) return this.#database.transaction(work);
    return this.#database.transaction(() => {
      const known = this.known<T>(mutation);
      if (known !== undefined) return known;
      const result = work();
      const values = [mutation.key, mutation.request, JSON.stringify(result), timeOf(Date.now())];
      this.#database.run('INSERT INTO mutation (key, request, response, created_at) VALUES (?, ?, ?, ?)', ...values);
      return result;
    });
  }

  /** The result that is kept under the key of a mutation. @throws ApiError if the key was used for something else */
  known<T extends object>({ key, request }: Mutation): T | undefined {
    const [found] = this.#read(rows.mutationRow, 'SELECT request, response FROM mutation WHERE key = ?', key);
    if (found === undefined) return undefined;
    if (found.request === request) return JSON.parse(found.response) as T;
    const detail = { param: 'Idempotency-Key', code: 'key_reused' };
    throw new ApiError(422, 'this Idempotency-Key belongs to another request', detail);
  }

  /** Chats from the newest on, before the one that is named. */
  chats(count: number, before?: string): rows.Chat[] {
    const sql = 'SELECT * FROM chat WHERE id < ? ORDER BY id DESC LIMIT ?';
    return this.#read(rows.chatRow, sql, before ?? '~', count);
  }

  /** @throws ApiError if there is none */
  chat(id: string): rows.Chat {
    const [found] = this.#read(rows.chatRow, 'SELECT * FROM chat WHERE id = ?', id);
    if (found === undefined) throw missing('chat', id);
    return found;
  }

  /** @throws ApiError if there is none */
  tree(id: string): ChatTree {
    const chat = this.chat(id);
    const messages = this.#read(rows.messageRow, `${MESSAGES} WHERE m.chat = ? ORDER BY m.seq`, id);
    const votes = `SELECT v.message, v.value FROM vote v JOIN chat_message m ON m.id = v.message WHERE m.chat = ? ORDER BY v.seq`;
    const picks = 'SELECT p.* FROM pick p JOIN chat_message m ON m.id = p.chosen WHERE m.chat = ? ORDER BY p.seq';
    return {
      chat,
      messages,
      votes: new Map(this.#read(rows.voteRow, votes, id).map(({ message, value }) => [message, value])),
      picks: new Map(this.#read(rows.pickRow, picks, id).map((pick) => [pick.turn, pick])),
    };
  }

  /** @throws ApiError unless it is an answer */
  answer(id: string): rows.Answer {
    const [found] = this.#read(rows.messageRow, `${MESSAGES} WHERE m.id = ?`, id);
    if (found === undefined) throw missing('message', id);
    if (found.role !== 'assistant') throw new ApiError(409, `the message ${id} is not an answer`);
    return found;
  }

  /** The answers that were asked for together, in the order in which they are shown. */
  turn(id: string): rows.Answer[] {
    return this.#read(rows.answerRow, `${MESSAGES} WHERE a.turn = ? ORDER BY a.place`, id);
  }

  createChat(chat: { title: string; training: boolean; parameters: Parameters }): string {
    const now = Date.now();
    const id = newId(now);
    const sql = 'INSERT INTO chat (id, title, training, parameters, leaf, created_at) VALUES (?, ?, ?, ?, NULL, ?)';
    const values = [id, chat.title, Number(chat.training), JSON.stringify(chat.parameters), timeOf(now)];
    this.#database.run(sql, ...values);
    return id;
  }

  /** Changes what is given. @throws ApiError for a leaf that is not a message of the chat */
  changeChat(
    id: string,
    change: { title?: string; training?: boolean; parameters?: Parameters; leaf?: string | null },
  ): void {
    const { title, training, parameters, leaf } = { ...this.chat(id), ...change };
    if (leaf !== null && change.leaf !== undefined) this.#messageOf(id, leaf);
    const sql = 'UPDATE chat SET title = ?, training = ?, parameters = ?, leaf = ? WHERE id = ?';
    this.#database.run(sql, title, Number(training), JSON.stringify(parameters), leaf, id);
  }

  deleteChat(id: string): void {
    this.chat(id);
    this.#database.run('DELETE FROM chat WHERE id = ?', id);
  }

  /** Takes what was deleted out of the files, too. */
  erase(): void {
    this.#database.emptyLog();
  }

  /**
   * Stores a message with the answers that are about to be drawn, the first of which becomes the leaf.
   * @throws ApiError for a place in the tree where it cannot stand
   */
  addTurn(chat: string, question: Question, answers: readonly NewAnswer[]): { user: string; answers: string[] } {
    return this.#database.transaction(() => {
      const user = this.#userOf(chat, question);
      const turn = newId(Date.now());
      const ids = answers.map((answer) => this.#addAnswer(chat, user, turn, answer));
      this.changeChat(chat, { leaf: ids[0] as string });
      return { user, answers: ids };
    });
  }

  endAnswers(answers: readonly EndedAnswer[]): void {
    this.#database.transaction(() => {
      for (const { id, text, state, finish, tokens, logProb } of answers) {
        const sql = 'UPDATE answer SET state = ?, finish = ?, tokens = ?, log_prob = ? WHERE message = ?';
        this.#database.run(sql, state, finish, tokens, logProb, id);
        this.#database.run('UPDATE chat_message SET text = ? WHERE id = ?', JSON.stringify(text), id);
      }
    });
  }

  /** Says that an answer is good, bad, or neither. */
  vote(message: string, value: rows.Vote): void {
    const sql = 'INSERT INTO vote (message, value, created_at) VALUES (?, ?, ?)';
    this.#database.run(sql, message, value, timeOf(Date.now()));
  }

  /** Says that an answer is better than others of its turn, and makes it the leaf. */
  pick(chat: string, { turn, chosen, inferior, shown, blind }: rows.Pick): void {
    const sql = 'INSERT INTO pick (turn, chosen, inferior, shown, blind, created_at) VALUES (?, ?, ?, ?, ?, ?)';
    const values = [turn, chosen, JSON.stringify(inferior), JSON.stringify(shown), Number(blind), timeOf(Date.now())];
    this.#database.run(sql, ...values);
    this.changeChat(chat, { leaf: chosen });
  }

  #userOf(chat: string, question: Question): string {
    if ('user' in question) {
      const { role } = this.#messageOf(chat, question.user);
      if (role === 'user') return question.user;
      throw new ApiError(409, `the message ${question.user} is an answer: it cannot be answered`, { param: 'user' });
    }
    const { parent, text } = question;
    const before = parent === null ? undefined : this.#messageOf(chat, parent);
    const ended = before?.role === 'assistant' && ['complete', 'stopped'].includes(before.state);
    if (before !== undefined && !ended) {
      throw new ApiError(409, `the message ${parent} is not a finished answer`, { param: 'parent' });
    }
    return this.#addMessage(chat, parent, 'user', text);
  }

  #addAnswer(chat: string, user: string, turn: string, answer: NewAnswer): string {
    const message = this.#addMessage(chat, user, 'assistant', '');
    const { place, model, fingerprint, request, sample } = answer;
    const columns = 'message, turn, place, model, fingerprint, request, sample, state, finish, tokens, log_prob';
    const sql = `INSERT INTO answer (${columns}) VALUES (?, ?, ?, ?, ?, ?, ?, 'in_progress', NULL, 0, 0)`;
    this.#database.run(sql, message, turn, place, model, fingerprint, JSON.stringify(request), sample);
    return message;
  }

  #addMessage(chat: string, parent: string | null, role: 'user' | 'assistant', text: string): string {
    const now = Date.now();
    const id = newId(now);
    const sql = 'INSERT INTO chat_message (id, chat, parent, role, text, created_at) VALUES (?, ?, ?, ?, ?, ?)';
    this.#database.run(sql, id, chat, parent, role, JSON.stringify(text), timeOf(now));
    return id;
  }

  /** @throws ApiError unless the chat has this message */
  #messageOf(chat: string, id: string): rows.Message {
    const [found] = this.#read(rows.messageRow, `${MESSAGES} WHERE m.id = ? AND m.chat = ?`, id, chat);
    if (found === undefined) throw missing('message', id);
    return found;
  }

  #read<S extends z.ZodType>(schema: S, sql: string, ...values: (string | number)[]) {
    return rows.read(this.#database, schema, sql, ...values);
  }
}

function timeOf(now: number): string {
  return new Date(now).toISOString();
}

function missing(what: string, id: string): ApiError {
  return new ApiError(404, `there is no ${what} ${JSON.stringify(id)}`, { code: 'not_found' });
}
