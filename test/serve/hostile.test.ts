/** Bodies that no client sends: whatever they are, the answer is a refusal that says why, or an answer. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Random } from '../../src/data/random.ts';
import { PaLM } from '../../src/models/palm.ts';
import { createApp } from '../../src/serve/app.ts';
import type { Catalog } from '../../src/serve/catalog.ts';
import { ServerNumbers } from '../../src/serve/numbers.ts';
import { loadTokenizer } from '../../src/tokenizer/load.ts';
import { device } from '../device.ts';
import { catalogOf, served } from './serving.ts';

const faults: unknown[] = [];
let catalog: Catalog;
let app: ReturnType<typeof createApp>;
beforeAll(async () => {
  const onError = (error: unknown) => void faults.push(error);
  const model = new PaLM({ numTokens: 258, dim: 16, depth: 1, heads: 2, dimHead: 8, ffMult: 2, seed: 4, device });
  catalog = catalogOf(await served('m', model, { text: await loadTokenizer('byte'), endTokens: [256] }, onError));
  const numbers = new ServerNumbers(catalog);
  app = createApp({ catalog, numbers, ignoreUnknownFields: false, newId: () => 'id', newSeed: () => 1, onError });
});
afterAll(async () => {
  await catalog.close(0);
  expect(faults).toEqual([]);
});

async function post(path: string, body: string | Uint8Array, type = 'application/json') {
  const headers = { 'content-type': type };
  const response = await app.request(path, { method: 'POST', headers, body });
  const text = await response.text();
  return { status: response.status, text, error: response.status < 400 ? undefined : JSON.parse(text).error };
}
const completion = (fields: object) =>
  post('/v1/completions', JSON.stringify({ model: 'm', max_tokens: 2, ...fields }));

describe('bodies', () => {
  it.each([
    ['nothing', '', 400],
    ['no JSON', '{"model":', 400],
    ['a list', '[]', 400],
    ['null', 'null', 400],
    ['nested 100,000 deep', `${'['.repeat(100_000)}${']'.repeat(100_000)}`, 400],
    ['bytes that are no UTF-8', Uint8Array.of(0x22, 0xff, 0xfe, 0x22), 400],
    ['a prototype', '{"model":"m","prompt":"a","__proto__":{"max_tokens":1}}', 400],
    ['a megabyte and a byte', JSON.stringify('a'.repeat(1024 * 1024 - 1)), 413],
  ])('of %s', async (_, body, status) => {
    const answer = await post('/v1/completions', body);
    expect([answer.status, typeof answer.error?.message]).toEqual([status, 'string']);
  });

  it('of another type', async () => {
    for (const type of ['text/plain', 'application/x-www-form-urlencoded', 'multipart/form-data', '']) {
      expect((await post('/v1/completions', '{"model":"m","prompt":"a"}', type)).status).toBe(415);
    }
  });
});

describe('fields', () => {
  it.each([
    ['a prompt of 100,000 characters', { prompt: 'x'.repeat(100_000) }, 400],
    ['a prompt of half a character', { prompt: '\ud800' }, 200],
    ['a prompt of nothing', { prompt: '' }, 400],
    ['no prompts', { prompt: [] }, 400],
    ['4,096 stop texts', { prompt: 'a', stop: Array.from({ length: 4096 }, (_, i) => `${i}`) }, 400],
    ['a stop text of a megabyte', { prompt: 'a', stop: 'x'.repeat(900_000) }, 400],
    ['a million choices', { prompt: 'a', n: 1_000_000 }, 400],
    ['more tokens than there are numbers', { prompt: 'a', max_tokens: 1e300 }, 400],
    ['the largest seed', { prompt: 'a', seed: Number.MAX_SAFE_INTEGER }, 200],
    ['a negative seed', { prompt: 'a', seed: -1 }, 200],
    [
      'a bias of everything',
      { prompt: 'a', logit_bias: Object.fromEntries(Array.from({ length: 301 }, (_, i) => [i, 1])) },
      400,
    ],
    ['all tokens forbidden but one', { prompt: 'a', top_k: 1, logit_bias: { 97: 100 } }, 200],
    ['a temperature of nearly nothing', { prompt: 'a', temperature: 1e-300 }, 200],
    ['a model whose name is a path', { model: '../../etc/passwd', prompt: 'a' }, 404],
  ])('of %s', async (_, fields, status) => {
    const answer = await completion(fields);
    expect([answer.status, answer.error?.message ?? 'answered']).toEqual([status, expect.any(String)]);
  });

  it('of anything, 2,000 times', async () => {
    const random = new Random(1);
    const pick = <T>(from: readonly T[]): T => from[Math.floor(random.next() * from.length)] as T;
    const names = [
      ...[
        'prompt',
        'max_tokens',
        'n',
        'temperature',
        'top_p',
        'top_k',
        'min_p',
        'seed',
        'stop',
        'logit_bias',
        'logprobs',
      ],
      ...[
        'stream',
        'echo',
        'user',
        'min_tokens',
        'ignore_eos',
        'repetition_penalty',
        'frequency_penalty',
        'model',
        'suffix',
      ],
    ];
    const values: unknown[] = [
      ...[
        null,
        true,
        false,
        0,
        1,
        -1,
        2,
        0.5,
        1e308,
        -1e-308,
        '',
        'a',
        '\u0000',
        '\ud83d',
        [],
        ['a'],
        [1],
        [[1], [2]],
        {},
      ],
      ...[{ 97: 5 }, { a: 1 }, [null], 'x'.repeat(300), 2 ** 53, [257], [258], [-1], { constructor: 1 }],
    ];
    const statuses = new Map<number, number>();
    for (let turn = 0; turn < 2000; turn++) {
      const fields: Record<string, unknown> = { model: 'm', prompt: 'a', max_tokens: 2 };
      for (let changes = 1 + Math.floor(random.next() * 3); changes > 0; changes--) fields[pick(names)] = pick(values);
      const { status, text, error } = await post('/v1/completions', JSON.stringify(fields));
      const isTyped =
        status === 200 ? /^(\{|data: )/.test(text) : typeof error.message === 'string' && error.message !== '';
      expect([fields, status < 500 && isTyped]).toEqual([fields, true]);
      statuses.set(status, (statuses.get(status) ?? 0) + 1);
    }
    expect([...statuses.keys()].sort()).toEqual([200, 400, 404]);
    expect(statuses.get(200)).toBeGreaterThan(50);
  });
});
