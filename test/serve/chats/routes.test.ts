/** The HTTP interface of the chat page: what is sent, answered, judged, stopped and refused. */
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Hono } from 'hono';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Overloaded } from '../../../src/serve/scheduler.ts';
import { OPEN_PATHS } from '../../../src/serve/chats/page.ts';
import { chatRoutes } from '../../../src/serve/chats/routes.ts';
import type { ShownAnswer, ShownTree, TurnEvent } from '../../../src/serve/chats/shown.ts';
import { ChatStore } from '../../../src/serve/chats/store.ts';
import { access } from '../../../src/web/access.ts';
import { allEvents, call, eventsOf, FakeModel } from './fake-models.ts';

let folder: string;
let store: ChatStore;
let app: Hono;
let close: () => Promise<void>;
let first: FakeModel;
let second: FakeModel;
let faults: unknown[];

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'palm-chats-'));
  first = new FakeModel('org/first');
  second = new FakeModel('second');
  await start();
});
afterEach(async () => {
  await close();
  await store.close();
  rmSync(folder, { recursive: true });
  expect(faults).toEqual([]);
});

async function start(): Promise<void> {
  store = await ChatStore.open(folder);
  faults = [];
  let seed = 100;
  const options = { store, models: () => [first, second], newSeed: () => ++seed };
  ({ app, close } = chatRoutes({ ...options, onError: (error) => faults.push(error) }));
}

async function json<T>(response: Response | Promise<Response>, status = 200): Promise<T> {
  const answer = await response;
  const body = (await answer.json()) as T;
  expect([answer.status, answer.status === status ? '' : body]).toEqual([status, '']);
  return body;
}
async function newChat(parameters: object = {}): Promise<ShownTree> {
  return await json<ShownTree>(call(app, 'POST', '/api/chats', { title: 'Rivers', parameters }), 201);
}
const tree = (id: string) => json<ShownTree>(call(app, 'GET', `/api/chats/${id}`));
async function send(chat: string, body: object, headers?: Record<string, string>): Promise<TurnEvent[]> {
  const response = await call(app, 'POST', `/api/chats/${chat}/messages`, body, headers);
  expect(response.status).toBe(200);
  return await allEvents(response);
}
/** The answers that an event has, in their places. */
function answersIn(event: TurnEvent | undefined): ShownAnswer[] {
  const messages = event !== undefined && 'messages' in event ? event.messages : [];
  return messages.filter((one): one is ShownAnswer => one.role === 'assistant').sort((a, b) => a.place - b.place);
}
const ask = async (chat: string, text = 'a river?', parent: string | null = null) =>
  answersIn((await send(chat, { parent, text })).at(-1));
const judge = (what: 'vote' | 'pick', id: string, body: object, headers?: Record<string, string>) =>
  call(app, 'POST', `/api/messages/${id}/${what}`, body, headers);
/** Waits until something is so. */
async function until(is: () => boolean): Promise<void> {
  while (!is()) await new Promise((resolve) => setTimeout(resolve, 1));
}

describe('chats', () => {
  it('are created, listed from the newest on, changed and deleted', async () => {
    const ids: string[] = [];
    for (let i = 0; i < 102; i++) ids.push((await newChat()).id);
    const { chats, more } = await json<{ chats: { id: string }[]; more: boolean }>(call(app, 'GET', '/api/chats'));
    expect([chats.length, more]).toEqual([100, true]);
    expect(chats.map(({ id }) => id)).toEqual([...ids].sort().reverse().slice(0, 100));
    const rest = await json(call(app, 'GET', `/api/chats?before=${chats.at(-1)?.id}`));
    expect(rest).toMatchObject({ chats: [{ id: [...ids].sort()[1] }, { id: [...ids].sort()[0] }], more: false });
    const id = ids[0] as string;
    const parameters = { models: ['second'], n: 3, system: 'Be kind.', sampling: { temperature: 0.5, stop: ['x'] } };
    const changed = await json<ShownTree>(call(app, 'PATCH', `/api/chats/${id}`, { training: false, parameters }));
    expect(changed).toMatchObject({ id, title: 'Rivers', training: false, parameters });
    expect(await tree(id)).toEqual(changed);
    await json(call(app, 'DELETE', `/api/chats/${id}`));
    await json(call(app, 'GET', `/api/chats/${id}`), 404);
    await json(call(app, 'DELETE', `/api/chats/${id}`), 404);
  });

  it('are asked of the first model, with two answers, and may be used for training unless they say otherwise', async () => {
    const chat = await json<ShownTree>(call(app, 'POST', '/api/chats', {}), 201);
    const parameters = { models: [], n: 2, system: null, sampling: {} };
    expect(chat).toMatchObject({ title: 'New chat', training: true, parameters, leaf: null, messages: [] });
    expect(await json(call(app, 'GET', '/api/models'))).toEqual({
      models: [
        { name: 'org/first', form: 'messages' },
        { name: 'second', form: 'messages' },
      ],
    });
  });

  it('leave no text behind when they are deleted', async () => {
    const { id } = await newChat({ system: 'a secret-system' });
    await ask(id, 'my secret-message');
    const kept = () => readdirSync(folder).filter((file) => readFileSync(join(folder, file)).includes('secret-'));
    expect(kept().length).toBeGreaterThan(0);
    await json(call(app, 'DELETE', `/api/chats/${id}`));
    expect(kept()).toEqual([]);
  });
});

describe('answers', () => {
  it('come as events, are stored, and say which model gave them once one was picked', async () => {
    const { id } = await newChat({ n: 3, sampling: { temperature: 0.7 } });
    const events = await send(id, { parent: null, text: 'a river?' });
    expect(events[0]?.type).toBe('turn');
    expect(answersIn(events[0]).map(({ text, state }) => [text, state])).toEqual(Array(3).fill(['', 'in_progress']));
    const texts = new Map<string, string>();
    for (const one of events) if (one.type === 'text') texts.set(one.id, (texts.get(one.id) ?? '') + one.text);
    const answers = answersIn(events.at(-1));
    expect(answers.map(({ text }) => text)).toEqual([1, 2, 3].map((i) => `answer ${i} of several`));
    for (const one of answers) expect(texts.get(one.id)).toBe(one.text);
    expect(answers).toMatchObject(Array(3).fill({ state: 'complete', finish: 'stop', model: null, picked: null }));
    const stored = await tree(id);
    expect(stored.messages.slice(1)).toEqual(answers);
    expect(stored.leaf).toBe(answers[0]?.id);
    expect(first.asked[0]).toEqual({
      conversation: [{ role: 'user', text: 'a river?' }],
      request: { form: 'messages', system: null, n: 3, sampling: { temperature: 0.7, seed: 101 } },
    });

    await json(judge('pick', answers[1]?.id as string, {}));
    const picked = answersIn({ type: 'turn', messages: (await tree(id)).messages });
    expect(picked.map((one) => [one.picked, one.model])).toEqual([false, true, false].map((is) => [is, 'org/first']));
    expect((await tree(id)).leaf).toBe(answers[1]?.id);
  });

  it('continue the thread that they are behind; an edit is a branch, and answers again are siblings', async () => {
    const { id } = await newChat({ n: 1, system: 'Be brief.' });
    const [one] = await ask(id, 'first');
    await ask(id, 'second', one?.id);
    expect(first.asked.at(-1)?.conversation.map(({ role, text }) => `${role}: ${text}`)).toEqual([
      'user: first',
      'assistant: answer 1 of several',
      'user: second',
    ]);
    await ask(id, 'second, edited', one?.id);
    await ask(id, 'another beginning');
    const again = await send(id, { user: (await tree(id)).messages[0]?.id });
    expect(answersIn(again.at(-1))).toMatchObject([{ parent: (await tree(id)).messages[0]?.id, model: 'org/first' }]);
    const { messages } = await tree(id);
    const children = (parent: string | null) => messages.filter((other) => other.parent === parent).length;
    expect([children(null), children(messages[0]?.id as string), children(one?.id as string)]).toEqual([2, 2, 2]);
    expect(first.asked.every(({ request }) => request.system === 'Be brief.')).toBe(true);
  });

  it('and messages may have any characters', async () => {
    const { id } = await newChat({ n: 1 });
    const odd = '\u0000 "\\ \ufffd \u202e \u{1f600}\u2028<script>';
    first.script = () => [odd];
    const [answer] = await ask(id, odd);
    expect(answer?.text).toBe(odd);
    expect((await tree(id)).messages[0]?.text).toBe(odd);
    expect(await json(call(app, 'POST', '/api/chats', { title: 'a\u0000' }), 400)).toMatchObject({
      error: { param: 'title' },
    });
  });

  it('come from several models in places that do not tell them, and their names stay unknown until one is picked', async () => {
    const firsts = new Set<number>();
    first.script = () => ['from one'];
    second.script = () => ['from the other'];
    for (let i = 0; i < 12; i++) {
      const { id } = await newChat({ n: 4, models: ['org/first', 'second'], sampling: { seed: i } });
      const response = await call(app, 'POST', `/api/chats/${id}/messages`, { parent: null, text: 'a river?' });
      const told = await response.text();
      expect(told).not.toMatch(/org\/first|"second"|print of/);
      const answers = answersIn({ type: 'turn', messages: (await tree(id)).messages });
      expect(answers.map(({ place }) => place)).toEqual([0, 1, 2, 3]);
      expect(answers.filter(({ text }) => text === 'from one')).toHaveLength(2);
      firsts.add(answers.findIndex(({ text }) => text === 'from one'));
      await json(call(app, 'GET', `/api/messages/${answers[0]?.id}/request`), 409);
    }
    expect(firsts.size).toBeGreaterThan(1);
  });

  it('can be got again from the API by the request that is told', async () => {
    const sampling = { temperature: 0.5, max_tokens: 7, top_p: null, seed: 3 };
    const { id } = await newChat({ n: 2, system: 'Be brief.', sampling });
    const [one, two] = await ask(id);
    await json(judge('pick', one?.id as string, {}));
    expect(await json(call(app, 'GET', `/api/messages/${two?.id}/request`))).toEqual({
      path: '/v1/chat/completions',
      choice: 1,
      body: {
        model: 'org/first',
        messages: [
          { role: 'system', content: 'Be brief.' },
          { role: 'user', content: 'a river?' },
        ],
        ...{ n: 2, temperature: 0.5, max_tokens: 7, seed: 3 },
      },
    });
    first = new FakeModel('org/first', { form: 'text' });
    const [text] = await ask(id, ' And more', one?.id);
    await json(judge('pick', text?.id as string, {}));
    expect(await json(call(app, 'GET', `/api/messages/${text?.id}/request`))).toMatchObject({
      path: '/v1/completions',
      body: { prompt: 'Be brief.a river?answer 1 of several And more' },
    });
  });
});

describe('stopping', () => {
  const begin = async (id: string) => {
    first.hold(5);
    const response = await call(app, 'POST', `/api/chats/${id}/messages`, { parent: null, text: 'a river?' });
    const events = eventsOf(response);
    const answers = answersIn((await events.next()).value);
    for (let i = 0; i < 2; i++) await events.next(); // some text of each
    return { answers, events };
  };
  const rest = async (events: AsyncGenerator<TurnEvent>) => {
    let last: TurnEvent | undefined;
    for await (const event of events) last = event;
    return last;
  };

  it('keeps what there is of each answer', async () => {
    const { id } = await newChat({ n: 2 });
    const { events } = await begin(id);
    expect(await json(call(app, 'POST', `/api/chats/${id}/stop`, {}))).toEqual({ stopped: 1 });
    const done = answersIn(await rest(events));
    expect(done).toMatchObject([{ state: 'stopped', finish: null }, { state: 'stopped' }]);
    expect(done.map(({ text }) => text)).toEqual(['answer 1 of ', 'answer 2 ']);
    expect((await tree(id)).messages.slice(1)).toEqual(done);
    expect(await json(call(app, 'POST', `/api/chats/${id}/stop`, {}))).toEqual({ stopped: 0 });
  });

  it.each(['vote', 'pick'] as const)('happens at once when an answer gets its %s', async (what) => {
    const { id } = await newChat({ n: 2 });
    const { answers, events } = await begin(id);
    await json(judge(what, answers[1]?.id as string, what === 'vote' ? { value: -1 } : {}));
    const told = answersIn(await rest(events));
    expect(told.map(({ state }) => state)).toEqual(['stopped', 'stopped']);
    const stored = answersIn({ type: 'turn', messages: (await tree(id)).messages });
    const judged = stored.map(({ vote, picked }) => [vote, picked]);
    const [one, other] = what === 'vote' ? [null, null] : [false, true];
    const vote = what === 'vote' ? -1 : 0;
    expect(judged).toEqual([
      [0, one],
      [vote, other],
    ]);
    expect(first.ended).toBeGreaterThan(0);
  });

  it('happens when the reader leaves, and when the chat is deleted', async () => {
    const { id } = await newChat({ n: 2 });
    first.hold(5);
    const controller = new AbortController();
    const request = new Request(`http://x/api/chats/${id}/messages`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ parent: null, text: 'a river?' }),
      signal: controller.signal,
    });
    const events = eventsOf(await app.fetch(request));
    await events.next();
    await until(() => first.given === 5);
    controller.abort();
    await until(() => store.tree(id).messages.every((one) => !('state' in one) || one.state !== 'in_progress'));
    const left = answersIn({ type: 'turn', messages: (await tree(id)).messages });
    expect(left.map(({ state, text }) => [state, text])).toEqual([
      ['stopped', 'answer 1 of '],
      ['stopped', 'answer 2 '],
    ]);
    await begin(id);
    await json(call(app, 'DELETE', `/api/chats/${id}`));
    await json(call(app, 'GET', `/api/chats/${id}`), 404);
  });

  it('before the first piece stores nothing', async () => {
    const { id } = await newChat();
    first.hold(0);
    const sent = call(app, 'POST', `/api/chats/${id}/messages`, { parent: null, text: 'a river?' });
    await until(() => first.asked.length === 1);
    expect(await json(call(app, 'POST', `/api/chats/${id}/stop`, {}))).toEqual({ stopped: 1 });
    expect(await json(sent, 409)).toMatchObject({ error: { code: 'stopped' } });
    expect((await tree(id)).messages).toEqual([]);
  });

  it('lets one message at a time be answered in a chat', async () => {
    const { id } = await newChat();
    const { events } = await begin(id);
    const other = call(app, 'POST', `/api/chats/${id}/messages`, { parent: null, text: 'more' });
    expect(await json(other, 409)).toMatchObject({ error: { code: 'in_progress' } });
    first.release();
    expect(answersIn(await rest(events))).toMatchObject([{ state: 'complete' }, { state: 'complete' }]);
    expect(await ask(id, 'more')).toHaveLength(2);
  });

  it('by the end of the process loses answers, and nothing else', async () => {
    const { id } = await newChat({ n: 1 });
    const [one] = await ask(id);
    const values = { place: 0, model: 'm', fingerprint: 'f', sample: 0 };
    const request = { form: 'messages', system: null, n: 1, sampling: {} } as const;
    const { answers } = store.addTurn(id, { parent: one?.id as string, text: 'more' }, [{ ...values, request }]);
    await store.close();
    await start();
    const { messages } = await tree(id);
    expect(messages.map((message) => ('state' in message ? message.state : message.text))).toEqual([
      ...['a river?', 'complete', 'more', 'lost'],
    ]);
    await json(judge('vote', answers[0] as string, { value: 1 }), 409);
    await json(call(app, 'POST', `/api/chats/${id}/messages`, { parent: answers[0], text: 'x' }), 409);
  });
});

describe('judgements', () => {
  it('are kept as they are changed: the last one counts', async () => {
    const { id } = await newChat({ n: 1 });
    const [one] = await ask(id);
    for (const value of [1, -1, 0, -1]) await json(judge('vote', one?.id as string, { value }));
    expect(store.tree(id).votes.get(one?.id as string)).toBe(-1);
    await json(judge('pick', one?.id as string, {}), 409);
  });

  it('say what was shown in which order, and against what an answer was picked', async () => {
    const { id } = await newChat({ n: 4 });
    const answers = await ask(id);
    const ids = answers.map((one) => one.id);
    const [a, b, c, d] = ids as [string, string, string, string];
    await json(judge('pick', b, {}));
    const turn = answers[0]?.turn as string;
    expect(store.tree(id).picks.get(turn)).toMatchObject({ chosen: b, inferior: [a, c, d], shown: ids, blind: true });
    await json(judge('pick', c, { inferior: [d] }));
    expect(store.tree(id).picks.get(turn)).toMatchObject({ chosen: c, inferior: [d], shown: ids, blind: true });
    for (const inferior of [[c], [a, a], ['x'], [(await tree(id)).messages[0]?.id]]) {
      expect(await json(judge('pick', c, { inferior }), 400)).toMatchObject({ error: { param: 'inferior' } });
    }
  });

  it.each([
    ['an answer that names its model', 'I am First.', 'no', false],
    ['names within other words', 'firstly, a headfirst', 'secondary', true],
  ])('of several models are blind, but for %s', async (_what, one, other, blind) => {
    first.script = () => [one];
    second.script = () => [other];
    const { id } = await newChat({ models: ['org/first', 'second'] });
    const [a, b] = await ask(id);
    await json(judge('pick', a?.id as string, {}));
    expect(store.tree(id).picks.get(a?.turn as string)?.blind).toBe(blind);
    await json(judge('pick', b?.id as string, {})); // the names are known now
    expect(store.tree(id).picks.get(a?.turn as string)?.blind).toBe(false);
  });
});

describe('a request that is sent again with its key', () => {
  const key = { 'idempotency-key': 'one' };

  it('creates one chat, and changes it once', async () => {
    const create = () => json<ShownTree>(call(app, 'POST', '/api/chats', { title: 'A' }, key), 201);
    const [one, two] = [await create(), await create()];
    expect(two.id).toBe(one.id);
    const other = await json(call(app, 'POST', '/api/chats', { title: 'B' }, key), 422);
    expect(other).toMatchObject({ error: { code: 'key_reused', param: 'Idempotency-Key' } });
    const remove = () => json(call(app, 'DELETE', `/api/chats/${one.id}`, undefined, { 'idempotency-key': 'two' }));
    expect(await remove()).toEqual(await remove());
    expect(await json(call(app, 'GET', '/api/chats'))).toEqual({ chats: [], more: false });
  });

  it('is answered as it was, without another answer of the model', async () => {
    const { id } = await newChat();
    const body = { parent: null, text: 'a river?' };
    first.hold(3);
    const events = eventsOf(await call(app, 'POST', `/api/chats/${id}/messages`, body, key));
    await events.next();
    const early = await call(app, 'POST', `/api/chats/${id}/messages`, body, key);
    expect(await json(early, 409)).toMatchObject({ error: { code: 'in_progress' } });
    first.release();
    let last: TurnEvent | undefined;
    for await (const event of events) last = event;
    expect((await send(id, body, key)).at(-1)).toEqual(last);
    expect(first.asked).toHaveLength(1);
    expect((await tree(id)).messages).toHaveLength(3);
  });

  it('votes once, and not again after another vote', async () => {
    const { id } = await newChat({ n: 1 });
    const [one] = await ask(id);
    const vote = (value: number, name: string) =>
      judge('vote', one?.id as string, { value }, { 'idempotency-key': name });
    const told = await json(vote(1, 'a'));
    await json(vote(-1, 'b'));
    expect(await json(vote(1, 'a'))).toEqual(told); // late, and not a change of mind
    expect(store.tree(id).votes.get(one?.id as string)).toBe(-1);
  });
});

describe('behind the access of a server', () => {
  const guarded = (keys: string[]) => {
    const hosts = () => new Set(['localhost']);
    const site = new Hono();
    site.use(access({ keys, open: OPEN_PATHS, hosts, origins: [], now: Date.now }));
    return site.route('/', app);
  };

  it('every route needs a key', async () => {
    const routes = app.routes.filter(({ method }) => method !== 'ALL');
    expect(routes.length).toBeGreaterThanOrEqual(11);
    for (const { method, path } of routes) {
      // Of one address, the sixth wrong key in a minute is told to wait.
      const refused = await call(
        guarded(['secret']),
        method,
        path.replace(':id', 'x'),
        method === 'GET' ? undefined : {},
      );
      expect([method, path, refused.status]).toEqual([method, path, 401]);
    }
    const known = await call(guarded(['secret']), 'GET', '/api/chats', undefined, { authorization: 'Bearer secret' });
    expect(await json(Promise.resolve(known))).toEqual({ chats: [], more: false });
  });

  it('pages of other sites change nothing', async () => {
    const from = (headers: Record<string, string>) => call(guarded([]), 'POST', '/api/chats', {}, headers);
    await json(from({ origin: 'http://evil.example' }), 403);
    await json(from({ 'sec-fetch-site': 'cross-site' }), 403);
    expect(store.chats(5)).toEqual([]);
    await json(from({ origin: 'http://localhost', 'sec-fetch-site': 'same-origin' }), 201);
  });
});

describe('what cannot be answered', () => {
  it('is refused before anything is stored', async () => {
    const { id } = await newChat({ models: ['org/first', 'second'] });
    first.error = new Overloaded('too much waits', 7);
    const refused = await call(app, 'POST', `/api/chats/${id}/messages`, { parent: null, text: 'a river?' });
    expect(refused.headers.get('retry-after')).toBe('7');
    expect(await json(refused, 429)).toMatchObject({ error: { type: 'rate_limit_error' } });
    expect((await tree(id)).messages).toEqual([]);
    first.error = undefined;
    expect(await ask(id)).toHaveLength(2);
    const gone = await newChat({ models: ['third'] });
    const message = call(app, 'POST', `/api/chats/${gone.id}/messages`, { parent: null, text: 'x' });
    expect(await json(message, 404)).toMatchObject({ error: { code: 'model_not_found', param: 'models' } });
  });

  it('in the middle of an answer is told at its end, and the other model goes on', async () => {
    const { id } = await newChat({ models: ['org/first', 'second'] });
    Object.assign(first, { error: new Error('planted'), failAfter: 2 });
    const done = (await send(id, { parent: null, text: 'a river?' })).at(-1);
    expect(done).toMatchObject({ type: 'done', error: 'the server failed to answer; its log says why' });
    expect(new Set(answersIn(done).map(({ state }) => state))).toEqual(new Set(['failed', 'complete']));
    expect(`${faults.splice(0)}`).toBe('Error: planted');
    const failed = answersIn(done).find(({ state }) => state === 'failed') as ShownAnswer;
    const complete = answersIn(done).find(({ state }) => state === 'complete') as ShownAnswer;
    await json(judge('pick', failed.id, {}), 409);
    await json(judge('pick', complete.id, {}), 409);
    await json(judge('vote', complete.id, { value: 1 }));
  });

  it.each([
    ['a text that is too long', { parent: null, text: 'ä'.repeat(32 * 1024 + 1) }, 400, 'text'],
    ['an empty text', { parent: null, text: ' \n' }, 400, 'text'],
    ['half a surrogate pair', { parent: null, text: 'a\ud800' }, 400, 'text'],
    ['no text', { parent: null }, 400, 'text'],
    ['an unknown field', { parent: null, text: 'x', n: 2 }, 400, null],
    ['a parent of another chat', { parent: 'x', text: 'x' }, 404, null],
    ['a message that is not there', { user: 'x' }, 404, null],
    ['no object', [1], 400, null],
  ])('is %s', async (_what, body, status, param) => {
    const { id } = await newChat();
    const refused = call(app, 'POST', `/api/chats/${id}/messages`, body);
    expect(await json(refused, status)).toMatchObject({ error: { type: 'invalid_request_error', param } });
    expect((await tree(id)).messages).toEqual([]);
  });

  it.each([
    ['a fifth answer', { n: 5 }, 'parameters.n'],
    ['a model twice', { models: ['a', 'a'] }, 'parameters.models'],
    ['a wrong temperature', { sampling: { temperature: 3 } }, 'parameters.sampling.temperature'],
    ['an unknown parameter', { sampling: { logit_bias: {} } }, 'parameters.sampling'],
    ['too long a system message', { system: 'x'.repeat(64 * 1024 + 1) }, 'parameters.system'],
  ])('is a chat with %s', async (_what, parameters, param) => {
    expect(await json(call(app, 'POST', '/api/chats', { parameters }), 400)).toMatchObject({ error: { param } });
  });

  it('is an answer as if it were a message, or the other way round', async () => {
    const { id } = await newChat();
    const [one] = await ask(id);
    const user = (await tree(id)).messages[0]?.id as string;
    await json(call(app, 'POST', `/api/chats/${id}/messages`, { user: one?.id }), 409);
    await json(call(app, 'POST', `/api/chats/${id}/messages`, { parent: user, text: 'x' }), 409);
    await json(judge('vote', user, { value: 1 }), 409);
    await json(judge('vote', one?.id as string, { value: 2 }), 400);
    await json(judge('vote', 'x', { value: 1 }), 404);
    await json(call(app, 'PATCH', `/api/chats/${id}`, { leaf: 'x' }), 404);
    await json(call(app, 'GET', `/api/messages/${user}/request`), 409);
  });

  it('is a body that is no JSON, of another type, or too large, and a key that is none', async () => {
    const type = { 'content-type': 'application/json' };
    for (const [body, headers, status] of [
      ['{', type, 400],
      ['{}', { 'content-type': 'text/plain' }, 415],
      [`"${'x'.repeat(600 * 1024)}"`, type, 413],
      ['{}', { ...type, 'idempotency-key': 'has spaces' }, 400],
    ] as const) {
      const answer = await app.request('/api/chats', { method: 'POST', body, headers });
      expect(answer.status).toBe(status);
      expect(await answer.json()).toMatchObject({ error: { type: 'invalid_request_error' } });
    }
  });
});
