/** What OpenAI's own client makes of the server: whole answers, streams, errors. */
import { mkdtempSync, rmSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { serve, type ServerType } from '@hono/node-server';
import OpenAI from 'openai';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { LanguageModel } from '../../src/models/language-model.ts';
import { PaLM } from '../../src/models/palm.ts';
import { loadModel } from '../../src/models/registry.ts';
import { findModel, loadingOf, textOf } from '../../src/runs/model-file.ts';
import { createApp } from '../../src/serve/app.ts';
import type { Catalog } from '../../src/serve/catalog.ts';
import { ServerNumbers } from '../../src/serve/numbers.ts';
import type { Scheduler } from '../../src/serve/scheduler.ts';
import { loadTokenizer } from '../../src/tokenizer/load.ts';
import { device } from '../device.ts';
import { LETTERS, outsideModel } from '../outside-model.ts';
import { catalogOf, served } from './serving.ts';

const folder = mkdtempSync(join(tmpdir(), 'palm-serve-'));
const faults: unknown[] = [];
const schedulers = new Map<string, Scheduler>();
let catalog: Catalog;
let server: ServerType;
let client: OpenAI;

beforeAll(async () => {
  const path = outsideModel(join(folder, 'llama'), LETTERS);
  const file = await findModel(path);
  const fault = (error: unknown) => void faults.push(error);
  const text = await textOf({}, file);
  const llama = (await loadModel(path, loadingOf(file, text, device))) as LanguageModel;
  const bytes = new PaLM({ numTokens: 258, dim: 16, depth: 1, heads: 2, dimHead: 8, ffMult: 2, seed: 4, device });
  catalog = catalogOf(
    await served('llama', llama, { text, endTokens: [1, 2] }, fault),
    await served('org/bytes', bytes, { text: await loadTokenizer('byte'), endTokens: [256] }, fault),
  );
  for (const { name, scheduler } of catalog.models) schedulers.set(name, scheduler);
  let ids = 0;
  const app = createApp({
    ...{ catalog, numbers: new ServerNumbers(catalog) },
    ignoreUnknownFields: false,
    newId: () => `answer-${++ids}`,
    newSeed: () => ids,
    onError: (error) => faults.push(error),
  });
  server = serve({ fetch: app.fetch, port: 0, hostname: '127.0.0.1' });
  await new Promise((resolve) => server.once('listening', resolve));
  const { port } = server.address() as AddressInfo;
  client = new OpenAI({ apiKey: 'any', baseURL: `http://127.0.0.1:${port}/v1`, maxRetries: 0 });
});
afterAll(async () => {
  server.close();
  await catalog.close(0);
  rmSync(folder, { recursive: true });
  expect(faults).toEqual([]);
});

const asked = { model: 'llama', messages: [{ role: 'user' as const, content: 'a river?' }], seed: 1, max_tokens: 12 };
const continued = { model: 'org/bytes', prompt: 'To be', seed: 1, max_tokens: 12 };

describe('models', () => {
  it('list all models, and find one by a name with slashes', async () => {
    const names: string[] = [];
    for await (const { id } of client.models.list()) names.push(id);
    expect(names).toEqual(['llama', 'org/bytes']);
    expect(await client.models.retrieve('org/bytes')).toMatchObject({ id: 'org/bytes', object: 'model' });
    await expect(client.models.retrieve('x')).rejects.toMatchObject({ status: 404, code: 'model_not_found' });
  });
});

describe('chats', () => {
  it('give n answers, with their log-probabilities and what was used', async () => {
    const answer = await client.chat.completions.create({ ...asked, n: 3, logprobs: true, top_logprobs: 2 });
    expect(answer).toMatchObject({ object: 'chat.completion', model: 'llama', system_fingerprint: 'fp_test' });
    expect(answer.choices.map(({ index }) => index)).toEqual([0, 1, 2]);
    const drawn = answer.choices.map(({ logprobs }) => logprobs?.content?.length ?? 0);
    for (const { message, finish_reason, logprobs } of answer.choices) {
      expect(message.role).toBe('assistant');
      expect(['stop', 'length']).toContain(finish_reason);
      expect(logprobs?.content?.map(({ token }) => token).join('')).toBe(message.content);
      for (const { logprob, top_logprobs: top } of logprobs?.content ?? []) {
        expect(logprob).toBeLessThanOrEqual((top[0]?.logprob as number) + 1e-6);
        expect(top).toHaveLength(2);
      }
    }
    const ends = answer.choices.filter(({ finish_reason }) => finish_reason === 'stop').length;
    expect(answer.usage?.completion_tokens).toBe(drawn.reduce((sum, count) => sum + count, 0) + ends);
  });

  it('stream pieces that are the whole answer together, and tell what was used', async () => {
    const whole = await client.chat.completions.create({ ...asked, n: 2 });
    const texts = ['', ''];
    let usage: OpenAI.CompletionUsage | null | undefined;
    const stream = await client.chat.completions.create({
      ...asked,
      n: 2,
      stream: true,
      stream_options: { include_usage: true },
    });
    for await (const chunk of stream) {
      for (const { index, delta } of chunk.choices) texts[index] += delta.content ?? '';
      usage = chunk.usage ?? usage;
    }
    expect(texts).toEqual(whole.choices.map(({ message }) => message.content));
    expect(usage?.completion_tokens).toBe(whole.usage?.completion_tokens);
    expect(usage?.prompt_tokens).toBe(whole.usage?.prompt_tokens);
    const helped = await client.chat.completions.stream({ ...asked, n: 2 }).finalChatCompletion();
    expect(helped.choices.map(({ message }) => message.content)).toEqual(texts);
  });

  it('take a developer for a system message, and parts of text for one text', async () => {
    const said = (role: 'system' | 'developer', content: string | { type: 'text'; text: string }[]) => ({
      ...asked,
      messages: [
        { role, content: 'be kind.' },
        { role: 'user' as const, content },
      ],
    });
    const [one, other] = await Promise.all([
      client.chat.completions.create(said('system', 'a river?')),
      client.chat.completions.create(
        said('developer', [
          { type: 'text', text: 'a ' },
          { type: 'text', text: 'river?' },
        ]),
      ),
    ]);
    expect(other.choices).toEqual(one.choices);
  });
});

describe('completions', () => {
  it('continue texts and tokens, several at once, and repeat the prompt where that is asked for', async () => {
    const { choices } = await client.completions.create({
      ...continued,
      prompt: ['To be', 'Or not'],
      n: 2,
      logprobs: 1,
    });
    expect(choices.map(({ index }) => index)).toEqual([0, 1, 2, 3]);
    const { choices: again } = await client.completions.create({
      ...continued,
      prompt: [...Buffer.from('To be')],
      n: 2,
      echo: true,
    });
    expect(again.map(({ text }) => text)).toEqual(choices.slice(0, 2).map(({ text }) => `To be${text}`));
    const { tokens, text_offset: offsets } = choices[0]?.logprobs ?? {};
    expect(offsets?.[1]).toBe(tokens?.[0]?.length);
    const { usage } = await client.completions.create(continued);
    expect(usage).toMatchObject({ prompt_tokens: 5, prompt_tokens_details: { cached_tokens: 4 } });
  });

  it('stream pieces that are the whole text together', async () => {
    let text = '';
    for await (const { choices } of await client.completions.create({ ...continued, stream: true }))
      text += choices[0]?.text ?? '';
    expect(text).toBe((await client.completions.create(continued)).choices[0]?.text);
  });

  it('stop drawing when the client leaves', async () => {
    const scheduler = schedulers.get('org/bytes') as Scheduler;
    const stream = await client.completions.create({
      ...continued,
      max_tokens: 59,
      logit_bias: { 256: -100 },
      stream: true,
    });
    for await (const _ of stream) break;
    for (let i = 0; scheduler.running > 0 && i < 1000; i++) await new Promise((resolve) => setTimeout(resolve, 5));
    expect(scheduler.running).toBe(0);
  });
});

describe('errors', () => {
  it.each([
    ['a bias for a token that is not there', { ...asked, logit_bias: { 33: 1 } }, 400, 'logit_bias', null],
    ['an end token that is not there', { ...asked, stop_token_ids: [33] }, 400, 'stop_token_ids', null],
    ['an unknown model', { ...asked, model: 'x' }, 404, 'model', 'model_not_found'],
    ['a chat with a model that has none', { ...asked, model: 'org/bytes' }, 400, 'model', null],
    ['an unknown field', { ...asked, temprature: 1 }, 400, 'temprature', 'unknown_parameter'],
    ['tools', { ...asked, tools: [] }, 400, 'tools', 'unsupported_parameter'],
    ['a wrong number', { ...asked, temperature: 5 }, 400, 'temperature', null],
    ['too long an answer', { ...asked, max_tokens: 64 }, 400, 'max_tokens', 'context_length_exceeded'],
    [
      'a role that the template does not know',
      { ...asked, messages: [{ role: 'user' }] },
      400,
      'messages.0.content',
      null,
    ],
  ])('of %s', async (_what, body, status, param, code) => {
    const refused = client.chat.completions.create(body as OpenAI.ChatCompletionCreateParams);
    await expect(refused).rejects.toMatchObject({ status, param, code, type: 'invalid_request_error' });
  });

  it('of a prompt with a token that is not there', async () => {
    const refused = client.completions.create({ ...continued, prompt: [[65], [258], [259]] });
    await expect(refused).rejects.toMatchObject({ status: 400, param: 'prompt' });
  });

  it('of several prompts that are too many at once end the request, and nothing else', async () => {
    const body = { ...continued, prompt: Array.from({ length: 12 }, () => 'To be') };
    await expect(client.completions.create(body)).rejects.toMatchObject({ status: 429 });
    expect((await client.withOptions({ maxRetries: 5 }).completions.create(continued)).choices).toHaveLength(1);
  });

  it('of overload say when to come back, and the client that retries is answered', async () => {
    const flood = Array.from({ length: 20 }, () =>
      client.completions.create({ ...continued, max_tokens: 50, n: 4, logit_bias: { 256: -100 } }),
    );
    const outcomes = await Promise.allSettled(flood);
    const refused = outcomes.filter(({ status }) => status === 'rejected') as PromiseRejectedResult[];
    expect(refused.length).toBeGreaterThan(0);
    for (const { reason } of refused) {
      expect(reason).toMatchObject({ status: 429, type: 'rate_limit_error' });
      expect(Number(reason.headers.get('retry-after'))).toBeGreaterThanOrEqual(1);
    }
    const patient = client.withOptions({ maxRetries: 5 });
    expect((await patient.completions.create(continued)).choices).toHaveLength(1);
  });

  it.each([
    ['a body that is no JSON', '/chat/completions', { 'content-type': 'application/json' }, '{', 400],
    ['a body of another type', '/chat/completions', { 'content-type': 'text/plain' }, '{}', 415],
    [
      'a body that is too large',
      '/completions',
      { 'content-type': 'application/json' },
      `"${'x'.repeat(2 ** 20)}"`,
      413,
    ],
    ['a path that is not there', '/images', { 'content-type': 'application/json' }, '{}', 404],
  ])('of %s', async (_what, path, headers, body, status) => {
    const answer = await fetch(`${client.baseURL}${path}`, { method: 'POST', headers, body });
    expect(answer.status).toBe(status);
    const { error } = (await answer.json()) as { error: object };
    expect(error).toMatchObject({ type: 'invalid_request_error' });
  });
});
