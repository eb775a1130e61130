/** What exports leave out, and why. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { Database } from '../../../src/serve/chats/database.ts';
import { type ExportForm, exportChats } from '../../../src/serve/chats/exports.ts';
import { parametersSchema } from '../../../src/serve/chats/parameters.ts';
import { CHATS_FILE, ChatStore, type EndedAnswer, type NewAnswer } from '../../../src/serve/chats/store.ts';

let folder: string;
let store: ChatStore;
let chat: string;
beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'palm-exports-'));
  store = await ChatStore.open(folder);
  chat = store.createChat({ title: 'A', training: true, parameters: parametersSchema.parse({}) });
});
afterEach(async () => {
  await store.close();
  rmSync(folder, { recursive: true });
});

type Said = Partial<EndedAnswer> & Partial<NewAnswer> & { form?: 'messages' | 'text' };

/** A message and the answers to it, which have ended. */
function turn(...answers: Said[]): string[] {
  const begun = answers.map(({ form = 'messages', model = 'm' }, place): NewAnswer => {
    const request = { form, system: null, n: answers.length, sampling: {} };
    return { place, model, fingerprint: 'f', request, sample: place };
  });
  const { answers: ids } = store.addTurn(chat, { parent: null, text: 'a river?' }, begun);
  store.endAnswers(
    answers.map(({ text = 'x', state = 'complete', finish = 'stop' }, i) => {
      return { id: ids[i] as string, text, state, finish, tokens: 1, logProb: -1 };
    }),
  );
  return ids;
}
function pick([chosen, ...inferior]: string[], blind = true): void {
  const id = chosen as string;
  store.pick(chat, { turn: store.answer(id).turn, chosen: id, inferior, shown: [id, ...inferior], blind });
}
function exported(form: ExportForm, model?: string) {
  const { lines, leftOut, cut } = exportChats(store, form, model);
  return { rows: lines.map((line) => JSON.parse(line)), leftOut: Object.fromEntries(leftOut), cut };
}

it('pairs that say nothing, or would teach what was not written, are left out', () => {
  pick(turn({ text: 'good' }, { text: 'bad' }, { text: 'stopped', state: 'stopped', finish: null }, { text: ' ' }));
  pick(turn({ text: 'same' }, { text: 'same' }));
  pick(turn({ text: 'one', model: 'm' }, { text: 'other', model: 'n' }), false);
  pick(turn({ text: 'one', form: 'text' }, { text: 'other' }));
  expect(exported('preferences')).toMatchObject({
    rows: [{ chosen: [{ content: 'good' }], rejected: [{ content: 'bad' }], chosen_model: 'm' }],
    leftOut: {
      'an answer was stopped before its end': 1,
      'an answer is empty': 1,
      'the answers are equal': 1,
      'the models of the answers were known': 1,
      'one answer was given to messages, the other to text': 1,
    },
  });
});

it('labels are never made of picks, nor of a vote that was taken back', () => {
  const [a, b, c] = turn({ text: 'a' }, { text: 'b', finish: 'length' }, { text: 'c' }) as [string, string, string];
  pick([a, b, c]);
  store.vote(a, 1);
  store.vote(b, -1);
  store.vote(c, -1);
  store.vote(a, 0);
  store.vote(c, 1);
  const { rows, cut } = exported('labels');
  expect(rows).toMatchObject([
    { completion: [{ content: 'b' }], label: false },
    { completion: [{ content: 'c' }], label: true },
  ]);
  expect(cut).toBe(1);
  expect(exported('labels', 'other')).toMatchObject({ rows: [], leftOut: { 'an answer is of another model': 2 } });
});

it('chats that may not be used are left out, whatever is in them', () => {
  const answers = turn({ text: 'a' }, { text: 'b' });
  pick(answers);
  store.vote(answers[0] as string, 1);
  store.changeChat(chat, { training: false });
  for (const form of ['preferences', 'labels'] as const) {
    expect(exported(form)).toEqual({ rows: [], leftOut: { 'the chat may not be used for training': 1 }, cut: 0 });
  }
  store.changeChat(chat, { training: true });
  expect(exported('preferences').rows).toHaveLength(1);
});

it('all chats are exported, however many there are', () => {
  for (let i = 0; i < 205; i++) {
    chat = store.createChat({ title: `${i}`, training: true, parameters: parametersSchema.parse({}) });
    if (i % 40 === 0) pick(turn({ text: `good ${i}` }, { text: 'bad' }));
  }
  const chosen = exported('preferences').rows.map(({ chosen: [{ content }] }) => content);
  expect(chosen.sort()).toEqual([0, 120, 160, 200, 40, 80].map((i) => `good ${i}`));
});

it('a row that this program cannot have written is an error, not data', async () => {
  pick(turn({ text: 'a' }, { text: 'b' }));
  await store.close();
  const database = await Database.open(join(folder, CHATS_FILE));
  database.run("UPDATE pick SET inferior = 'no list'");
  database.close();
  store = await ChatStore.open(folder);
  expect(() => exported('preferences')).toThrow(/chats\.db: got a row whose inferior is wrong: is not JSON/);
});
