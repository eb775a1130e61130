/** Requests through scheduler and slots to text: alone or among 200 others, the same request gives the same pieces together. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Random } from '../../src/data/random.ts';
import { PaLM } from '../../src/models/palm.ts';
import { Slots } from '../../src/models/slots.ts';
import { ApiError } from '../../src/web/api-error.ts';
import { Answering, type Piece } from '../../src/serve/answering.ts';
import { completionFields } from '../../src/serve/fields.ts';
import { rowsOf } from '../../src/serve/rows.ts';
import { type Policy, Scheduler } from '../../src/serve/scheduler.ts';
import { loadTokenizer } from '../../src/tokenizer/load.ts';
import type { Tokenizer } from '../../src/tokenizer/tokenizer.ts';
import { device } from '../device.ts';

const CAPACITY = 128;
const POLICY: Policy = {
  ...{ slots: 8, maxWaiting: 256, maxWaitingTokens: 65_536, maxWait: 60_000, share: 0.25 },
  ...{ promptTokens: 256, promptTokensAlone: 2048, tokens: 4, eager: 0 },
};

let model: PaLM;
let tokenizer: Tokenizer;
beforeAll(async () => {
  model = new PaLM({ numTokens: 258, dim: 16, depth: 2, heads: 2, dimHead: 8, ffMult: 2, seed: 4, device });
  tokenizer = await loadTokenizer('byte');
});
afterAll(() => model.dispose());

/** A server without a network. */
async function serving<T>(work: (server: Server) => Promise<T>): Promise<T> {
  using slots = await Slots.create(model, { slots: POLICY.slots, capacity: CAPACITY });
  const scheduler = new Scheduler(slots, POLICY, () => performance.now());
  const abort = new AbortController();
  let drawn = 0;
  const serve = (async () => {
    for await (const turn of scheduler.turns(abort.signal)) drawn += turn.drawn;
  })();
  try {
    return await work({ ask: (body) => asking(scheduler, body), scheduler, drawn: () => drawn });
  } finally {
    abort.abort();
    await serve;
  }
}
interface Server {
  ask(body: object): Answering;
  scheduler: Scheduler;
  drawn(): number;
}

function asking(scheduler: Scheduler, body: object): Answering {
  const fields = completionFields({ model: 'm', prompt: 'Hi', max_tokens: 16, ...body }, false);
  const prompt = tokenizer.encode(fields.prompt as string);
  const facts = { prompt, vocabulary: 258, capacity: CAPACITY, endTokens: [256], seed: 1 };
  const stop = [fields.stop ?? []].flat();
  return new Answering(scheduler, { key: fields.user ?? '', prompt, rows: rowsOf(fields, facts), stop, tokenizer });
}

interface Whole {
  text: string;
  sampled: number[];
  finish: string | null;
}

/** The answers, put together from their pieces. */
async function whole(answering: Answering): Promise<Whole[]> {
  const answers: Whole[] = answering.rows.map(() => ({ text: '', sampled: [], finish: null }));
  for await (const { index, text, drawn, finish } of answering.pieces()) {
    const answer = answers[index] as Whole;
    expect(answer.finish).toBeNull();
    answer.text += text;
    answer.sampled.push(...drawn.map(({ sampled }) => sampled));
    answer.finish = finish;
  }
  return answers;
}

function randomBody(random: Random): object {
  const some = <T>(value: T) => (random.int(3) === 0 ? value : undefined);
  return {
    prompt: `To be, or not to be ${'x'.repeat(random.int(40))}`.slice(0, 1 + random.int(50)),
    max_tokens: 1 + random.int(20),
    n: 1 + random.int(3),
    seed: random.int(100),
    temperature: some(0.7),
    top_p: some(0.9),
    stop: some(['e', 'zz']),
    frequency_penalty: some(0.5),
    logprobs: some(2),
    user: `user ${random.int(5)}`,
  };
}

describe('answers', () => {
  it('are the same alone and among 200 others', { timeout: 120_000 }, async () => {
    const random = new Random(7);
    const bodies = Array.from({ length: 200 }, () => randomBody(random));
    const together = await serving(({ ask }) => Promise.all(bodies.map((body) => whole(ask(body)))));
    for (const [i, body] of bodies.entries()) {
      if (i % 4 === 0) expect(await serving(({ ask }) => whole(ask(body)))).toEqual([together[i]].flat());
    }
    expect(new Set(together.flat().map(({ finish }) => finish))).toEqual(new Set(['stop', 'length']));
  });

  it('of one request differ, and those of the same seed do not', async () => {
    const body = { n: 4, seed: 5, max_tokens: 12 };
    const [first, again] = await serving(async ({ ask }) => [await whole(ask(body)), await whole(ask(body))]);
    expect(new Set(first?.map(({ text }) => text)).size).toBe(4);
    expect(again).toEqual(first);
  });

  it('count what was drawn, and what was cached', async () => {
    await serving(async ({ ask }) => {
      const first = ask({ prompt: 'abcdef', max_tokens: 5, seed: 3 });
      await whole(first);
      expect(first.usage).toEqual({ prompt: 6, cached: 0, drawn: 5 });
      const second = ask({ prompt: 'abcdefgh', max_tokens: 5, seed: 3 });
      await whole(second);
      expect(second.usage).toEqual({ prompt: 8, cached: 6, drawn: 5 });
    });
  });

  it('end within a token when nobody listens any more', async () => {
    await serving(async ({ ask, scheduler, drawn }) => {
      const answering = ask({ max_tokens: 100, n: 2 });
      const seen: Piece[] = [];
      for await (const piece of answering.pieces()) {
        seen.push(piece);
        if (seen.length === 3) break;
      }
      const before = drawn();
      while (scheduler.running > 0) await new Promise(setImmediate);
      expect(drawn() - before).toBeLessThanOrEqual(2 * POLICY.tokens * 2);
      expect(await whole(ask({ max_tokens: 3 }))).toHaveLength(1);
    });
  });

  it('are refused if they may not fit', () => {
    const scheduler = new Scheduler({} as Slots, POLICY, () => 0);
    for (const [body, param] of [
      [{ max_tokens: 127 }, 'max_tokens'],
      [{ prompt: 'x'.repeat(128), max_tokens: null }, 'prompt'],
    ] as const) {
      expect(() => asking(scheduler, body)).toThrow(ApiError);
      expect(() => asking(scheduler, body)).toThrow(/the 128 that fit/);
      try {
        asking(scheduler, body);
      } catch (error) {
        expect(error).toMatchObject({ status: 400, param, code: 'context_length_exceeded' });
      }
    }
  });
});

it('a reader who is behind gets what was drawn meanwhile in one piece', async () => {
  const body = { max_tokens: 16, ignore_eos: true };
  await serving(async ({ ask, drawn }) => {
    const [expected] = await whole(ask(body));
    const before = drawn();
    const pieces = ask(body).pieces();
    const { value: first } = (await pieces.next()) as { value: Piece };
    await expect.poll(() => drawn() - before).toBe(16);
    const rest: Piece[] = [];
    for await (const piece of pieces) rest.push(piece);
    expect(rest).toMatchObject([{ finish: 'length' }]);
    expect(first.text + rest[0]?.text).toBe(expected?.text);
    expect([first, ...rest].flatMap((piece) => piece.drawn.map(({ sampled }) => sampled))).toEqual(expected?.sampled);
  });
});
