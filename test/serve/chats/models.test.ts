/**
 * Chats with small models that compute: what the API answers to the request that is told, and from picks and votes to files that
 * training reads.
 */
import { createHash } from 'node:crypto';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Hono } from 'hono';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { chatsCommand } from '../../../src/cli/chats.ts';
import { trainingCommand } from '../../../src/cli/train.ts';
import { LockedError } from '../../../src/errors.ts';
import { loadPreferences } from '../../../src/data/preferences.ts';
import { loadRows } from '../../../src/data/token-rows.ts';
import type { LanguageModel } from '../../../src/models/language-model.ts';
import { PaLM } from '../../../src/models/palm.ts';
import { loadModel } from '../../../src/models/registry.ts';
import { Slots } from '../../../src/models/slots.ts';
import { findModel, loadingOf, textOf } from '../../../src/runs/model-file.ts';
import { createApp } from '../../../src/serve/app.ts';
import { Catalog } from '../../../src/serve/catalog.ts';
import { type ChatModel, chatModel } from '../../../src/serve/chats/model.ts';
import { chatRoutes } from '../../../src/serve/chats/routes.ts';
import type { ShownAnswer, ShownRequest, ShownTree } from '../../../src/serve/chats/shown.ts';
import { ChatStore } from '../../../src/serve/chats/store.ts';
import { ServerNumbers } from '../../../src/serve/numbers.ts';
import { Scheduler } from '../../../src/serve/scheduler.ts';
import type { ServedModel } from '../../../src/serve/served-model.ts';
import type { Chat } from '../../../src/tokenizer/chat.ts';
import { loadTokenizer } from '../../../src/tokenizer/load.ts';
import { capturePrinted, palm, printed } from '../../command-line.ts';
import { device } from '../../device.ts';
import { LETTERS, outsideModel } from '../../outside-model.ts';
import { allEvents, call } from './fake-models.ts';

capturePrinted();
const CAPACITY = 128;
const folder = mkdtempSync(join(tmpdir(), 'palm-chat-models-'));
const at = (...names: string[]) => join(folder, ...names);
const abort = new AbortController();
const disposables: Disposable[] = [];
const turning: Promise<void>[] = [];
let api: Hono;
let app: Hono;
let store: ChatStore;
let llamaChat: Chat;
let models: ChatModel[];

async function served(
  name: string,
  model: LanguageModel,
  facts: Pick<ServedModel, 'text' | 'endTokens'>,
): Promise<ServedModel> {
  const slots = await Slots.create(model, { slots: 4, capacity: CAPACITY });
  disposables.push(slots, model);
  const policy = {
    ...{ slots: 4, maxWaiting: 16, maxWaitingTokens: 4096, maxWait: 60_000, share: 0.5 },
    ...{ promptTokens: 256, promptTokensAlone: 2048, tokens: 4, eager: 0 },
  };
  const scheduler = new Scheduler(slots, policy, () => performance.now());
  const turns = async () => {
    for await (const _ of scheduler.turns(abort.signal));
  };
  turning.push(turns());
  const vocabulary = model.decoder.usedTokens;
  return { name, created: 1, vocabulary, capacity: CAPACITY, scope: undefined, scheduler, fingerprint: 'f', ...facts };
}

beforeAll(async () => {
  const path = outsideModel(at('llama'), LETTERS);
  const file = await findModel(path);
  const text = await textOf({}, file);
  llamaChat = text.chat as Chat;
  const llama = (await loadModel(path, loadingOf(file, text, device))) as LanguageModel;
  const bytes = new PaLM({ numTokens: 258, dim: 16, depth: 1, heads: 2, dimHead: 8, ffMult: 2, seed: 4, device });
  const byte = await loadTokenizer('byte');
  await bytes.save(at('bytes.safetensors'), { tokenizer: byte });
  const all = [
    await served('llama', llama, { text, endTokens: [1, 2] }),
    await served('bytes', bytes, { text: byte, endTokens: [256] }),
  ];
  let seed = 0;
  const newSeed = () => ++seed;
  const onError = (error: unknown) => {
    throw error;
  };
  const catalog = new Catalog();
  catalog.offer('test', { models: all, judges: [], close: async () => {} }, 0);
  const numbers = new ServerNumbers(catalog);
  api = createApp({ catalog, numbers, ignoreUnknownFields: false, newId: () => 'id', newSeed, onError });
  store = await ChatStore.open(at('chats'));
  models = all.map(chatModel);
  ({ app } = chatRoutes({ store, models: () => models, newSeed, onError }));
});
afterAll(async () => {
  abort.abort();
  await Promise.all(turning);
  for (const one of disposables) one[Symbol.dispose]();
  rmSync(folder, { recursive: true });
});

async function json<T>(response: Promise<Response>): Promise<T> {
  const answer = await response;
  expect(answer.ok, await answer.clone().text()).toBe(true);
  return (await answer.json()) as T;
}
const newChat = (model: string, parameters: object, more: object = {}) =>
  json<ShownTree>(call(app, 'POST', '/api/chats', { parameters: { models: [model], ...parameters }, ...more }));

async function ask(chat: string, text: string, parent: string | null = null): Promise<ShownAnswer[]> {
  const events = await allEvents(await call(app, 'POST', `/api/chats/${chat}/messages`, { parent, text }));
  const done = events.at(-1);
  if (done?.type !== 'done') throw new Error(JSON.stringify(done));
  return done.messages.filter((one): one is ShownAnswer => one.role === 'assistant');
}
const pick = (answer: ShownAnswer | undefined) => json(call(app, 'POST', `/api/messages/${answer?.id}/pick`, {}));
const vote = (answer: ShownAnswer | undefined, value: number) =>
  json(call(app, 'POST', `/api/messages/${answer?.id}/vote`, { value }));

describe.each(['llama', 'bytes'])('an answer of %s', (name) => {
  it('is what the API gives to the request that is told, bit for bit', async () => {
    const { id } = await newChat(name, { n: 3, system: 'be kind.', sampling: { temperature: 0.9, max_tokens: 9 } });
    const first = await ask(id, 'a river?');
    await pick(first[2]);
    const second = await ask(id, 'and more?', first[2]?.id);
    await pick(second[1]);
    for (const answer of [...first, ...second]) {
      const told = await json<ShownRequest>(call(app, 'GET', `/api/messages/${answer.id}/request`));
      const { choices } = await json<{ choices: { text?: string; message?: { content: string } }[] }>(
        call(api, 'POST', told.path, told.body),
      );
      const choice = choices[told.choice];
      expect(choice?.message?.content ?? choice?.text).toBe(answer.text);
    }
    expect(new Set(first.map(({ text }) => text)).size).toBeGreaterThan(1);
  });

  it('is as long as there is room for, and refused if there is none', async () => {
    const { id } = await newChat(name, { n: 1, sampling: { max_tokens: 5000 } });
    await ask(id, 'a river?');
    const long = { parent: null, text: 'long '.repeat(40) };
    const refused = await call(app, 'POST', `/api/chats/${id}/messages`, long);
    expect(refused.status).toBe(400);
    expect(await refused.json()).toMatchObject({ error: { code: 'context_length_exceeded' } });
  });
});

describe('exports', () => {
  const linesOf = (name: string) => {
    const lines = readFileSync(at(name), 'utf8').trimEnd().split('\n');
    return lines.map((line) => JSON.parse(line));
  };
  const exporting = async (name: string, form: string, ...args: string[]) => {
    await store.close();
    try {
      await palm(chatsCommand(), 'export', at('chats'), '--form', form, '--out', at(name), ...args);
    } finally {
      store = await ChatStore.open(at('chats'));
    }
  };
  /** A chat in which the first of three answers was picked, and then it and another one got votes. */
  const judged = async (model: string, text: string, more: object = {}) => {
    const sampling = { max_tokens: 12, stop: ['\n'], seed: 5 };
    const { id } = await newChat(model, { n: 3, system: 'be kind.', sampling }, more);
    const answers = await ask(id, text);
    await pick(answers[0]);
    await vote(answers[0], 1);
    await vote(answers[1], 1);
    await vote(answers[1], -1);
    await vote(answers[2], 1);
    await vote(answers[2], 0);
    return answers.map((one) => one.text);
  };
  let llama: string[];
  let bytes: string[];
  const system = { role: 'system', content: 'be kind.' };
  const asked = [system, { role: 'user', content: 'a river?' }];
  const said = (content: string | undefined) => [{ role: 'assistant', content }];

  beforeAll(async () => {
    await store.close();
    rmSync(at('chats'), { recursive: true });
    store = await ChatStore.open(at('chats'));
    ({ app } = chatRoutes({ store, models: () => models, newSeed: () => 1, onError: console.error }));
    llama = await judged('llama', 'a river?');
    bytes = await judged('bytes', ' To be');
    await judged('llama', 'a secret?', { training: false });
    // What the rest relies on
    for (const texts of [llama, bytes]) expect([new Set(texts).size, texts.includes('')]).toEqual([3, false]);
  });
  afterAll(() => store.close());

  it('of picks are pairs of the answers as they were, without chats that may not be used', async () => {
    await exporting('pairs.jsonl', 'preferences', '--model', 'llama');
    const pair = (other: number) => {
      return { prompt: asked, chosen: said(llama[0]), rejected: said(llama[other]) };
    };
    expect(linesOf('pairs.jsonl')).toMatchObject([pair(1), pair(2)]);
    expect(printed.stderr).toContain('2 rows of preferences');
    expect(printed.stderr).toContain('left out 2: the chat may not be used for training');
    expect(readFileSync(at('pairs.jsonl'), 'utf8')).not.toContain('secret');
    const sha256 = createHash('sha256')
      .update(readFileSync(at('pairs.jsonl')))
      .digest('hex');
    const leftOut = { 'the chat may not be used for training': 2, 'an answer is of another model': 2 };
    const manifest = JSON.parse(readFileSync(at('pairs.jsonl.manifest.json'), 'utf8'));
    expect(manifest).toMatchObject({ form: 'preferences', model: 'llama', rows: 2, sha256, left_out: leftOut });
    await exporting('again.jsonl', 'preferences', '--model', 'llama');
    expect(linesOf('again.jsonl')).toEqual(linesOf('pairs.jsonl'));
  });

  it('of votes are what was last said of an answer, and one file may hold both kinds of prompts', async () => {
    await exporting('labels.jsonl', 'labels');
    expect(linesOf('labels.jsonl')).toMatchObject([
      { prompt: 'be kind. To be', completion: bytes[0], label: true },
      { prompt: 'be kind. To be', completion: bytes[1], label: false },
      { prompt: asked, completion: said(llama[0]), label: true },
      { prompt: asked, completion: said(llama[1]), label: false },
    ]);
  });

  it('of pairs must not mix kinds of prompts, overwrite a file, or be empty', async () => {
    await expect(exporting('mixed.jsonl', 'preferences')).rejects.toThrow(/--model/);
    await expect(exporting('labels.jsonl', 'labels')).rejects.toThrow(/labels\.jsonl/);
    await expect(exporting('none.jsonl', 'labels', '--model', 'x')).rejects.toThrow(/4 left out because/);
    const elsewhere = palm(chatsCommand(), 'export', at('none'), '--form', 'labels', '--out', at('x.jsonl'));
    await expect(elsewhere).rejects.toThrow(/no chats/);
    expect(existsSync(at('mixed.jsonl'))).toBe(false);
    const used = palm(chatsCommand(), 'export', at('chats'), '--form', 'labels', '--out', at('x.jsonl'));
    await expect(used).rejects.toThrow(LockedError); // a server would have it open
  });

  it('are read as the tokens that were drawn, and train', async () => {
    await exporting('text.jsonl', 'preferences', '--model', 'bytes');
    await exporting('llama-labels.jsonl', 'labels', '--model', 'llama');
    const limits = { maxLength: CAPACITY };
    const tokenizer = llamaChat.tokenizer;
    const { pairs, skipped } = await loadPreferences(at('pairs.jsonl'), tokenizer, limits, { chat: llamaChat });
    expect([pairs.length, skipped]).toEqual([2, []]);
    const [pair] = pairs;
    expect(pair?.prompt).toEqual(await llamaChat.prompt(asked));
    const ids = [pair?.chosen ?? [], pair?.rejected ?? []];
    expect(ids.map((tokens) => tokenizer.decode(tokens))).toEqual([llama[0], llama[1]]);
    expect(ids.map((tokens) => tokens.at(-1))).toEqual([1, 1]); // <|im_end|>
    const labels = await loadRows('label', at('llama-labels.jsonl'), tokenizer, limits, { chat: llamaChat });
    expect(labels.rows.map(({ good }) => good)).toEqual([true, false]);
    const common = ['--epochs', '1', '--batchSize', '2', '--warmupSteps', '0', '--device', device];
    for (const [method, model, data] of [
      ['dpo', 'llama', 'pairs.jsonl'],
      ['dpo', 'bytes.safetensors', 'text.jsonl'],
      ['kto', 'llama', 'llama-labels.jsonl'],
      ['kto', 'bytes.safetensors', 'labels.jsonl'],
    ] as const) {
      const out = at(`${method} of ${data}`);
      await palm(trainingCommand(method), '--model', at(model), '--data', at(data), '--out', out, ...common);
      const [step] = readFileSync(join(out, 'metrics.jsonl'), 'utf8').split('\n');
      expect(JSON.parse(step as string)).toMatchObject({ step: 1, loss: expect.any(Number) });
    }
  });
});
