/**
 * Rows that come and go in slots: each answers what it answers alone, bit for bit, in any company and behind any cached prefix; and
 * nothing of a slot's last row reaches the next.
 */
import { describe, expect, it } from 'vitest';
import { Random } from '../src/data/random.ts';
import { ArgumentError } from '../src/errors.ts';
import { LanguageModel } from '../src/models/language-model.ts';
import { PaLM } from '../src/models/palm.ts';
import { type RowOptions, type RowProgress, Slots } from '../src/models/slots.ts';
import type { StreamedToken } from '../src/models/token-stream.ts';
import { cpuKernels, device } from './device.ts';
import { fill } from './fill.ts';
import { againWithOtherInstructions } from './instruction-sets.ts';
import { RECORDED } from './parity/families/case.ts';

/** As many positions as the smallest of the models has. */
const CAPACITY = 64;
const SCHEDULES = process.env.PALM_TEST_AGAIN === undefined ? 1000 : 200;
const DRAWN: RowOptions = {
  ...{ temperature: 1, topK: undefined, topP: undefined, minP: undefined },
  ...{ frequencyPenalty: 0, presencePenalty: 0, repetitionPenalty: 1 },
  ...{ biasTokens: [], bias: [], endTokens: [3], minTokens: 0, maxTokens: 8, top: undefined, seed: 1, sample: 0 },
};

/** A request: a prompt, how its answers are drawn, and with which adapters. */
interface Request {
  prompt: number[];
  rows: RowOptions[];
  scope: string | undefined;
}
/** All that a row has told. */
interface Answer {
  tokens: number[];
  logProbs: number[];
  model: RowProgress['model'];
  ended: RowProgress['ended'];
}

function gather(answers: Map<number, Answer>, progress: readonly RowProgress[]): void {
  for (const { row, tokens, logProbs, model, ended } of progress) {
    const answer = answers.get(row) ?? { tokens: [], logProbs: [], model: [], ended: 'no' };
    answers.set(row, {
      tokens: [...answer.tokens, ...tokens],
      logProbs: [...answer.logProbs, ...logProbs],
      model: [...answer.model, ...model],
      ended,
    });
  }
}

/** What rows answer in slots of their own. */
async function alone(model: LanguageModel, int8: boolean, { prompt, rows, scope }: Request): Promise<Answer[]> {
  using slots = await Slots.create(model, { slots: rows.length, capacity: CAPACITY, int8 });
  const { rows: names } = await slots.admit(prompt, rows, scope);
  const answers = new Map<number, Answer>();
  while ([...names].some((name) => (answers.get(name)?.ended ?? 'no') === 'no')) {
    gather(answers, await slots.advance(names, 1000, 4));
  }
  return names.map((name) => answers.get(name) as Answer);
}

/** A few ways to draw, and prompts that share beginnings of several lengths. */
class Requests {
  readonly #random: Random;
  readonly #vocabulary: number;
  readonly #scopes: readonly (string | undefined)[];
  readonly #made: Request[] = [];

  constructor(seed: number, vocabulary: number, scopes: readonly string[]) {
    this.#random = new Random(seed);
    this.#vocabulary = vocabulary;
    this.#scopes = [undefined, ...scopes];
  }

  next(): Request {
    const random = this.#random;
    if (this.#made.length > 0 && random.int(6) === 0) return this.#made[random.int(this.#made.length)] as Request;
    const tokens = (count: number) => Array.from({ length: count }, () => random.int(this.#vocabulary));
    const earlier = this.#made[random.int(Math.max(1, this.#made.length))]?.prompt ?? [];
    const prompt = [...earlier.slice(0, random.int(40)), ...tokens(1 + random.int(random.int(4) === 0 ? 60 : 6))].slice(
      0,
      CAPACITY - 14,
    );
    const rows = Array.from({ length: 1 + (random.int(3) === 0 ? 2 : 0) }, (_, sample) => this.#options(sample));
    const request = { prompt, rows, scope: this.#scopes[random.int(this.#scopes.length)] };
    this.#made.push(request);
    return request;
  }

  #options(sample: number): RowOptions {
    const random = this.#random;
    const some = <T>(value: T) => (random.int(4) === 0 ? value : undefined);
    return {
      ...DRAWN,
      temperature: [0, 0.5, 1, 1.5][random.int(4)] as number,
      topK: some(5),
      topP: some(0.8),
      minP: some(0.05),
      frequencyPenalty: some(0.7) ?? 0,
      presencePenalty: some(-0.4) ?? 0,
      repetitionPenalty: some(1.3) ?? 1,
      ...(some(true) ? { biasTokens: [2, 5], bias: [3, -100] } : {}),
      minTokens: random.int(3),
      maxTokens: 1 + random.int(12),
      top: some(random.int(4)),
      seed: random.int(5),
      sample,
    };
  }
}

const key = (request: Request) => JSON.stringify(request);

/** Lets rows come, go and be ended at random, and compares each with itself alone. Returns how many tokens were cached. */
async function schedule(
  model: LanguageModel,
  { seed, int8 = false, scopes = [] }: { seed: number; int8?: boolean; scopes?: string[] },
  known: Map<string, Answer[]>,
): Promise<number> {
  const random = new Random(seed);
  const requests = new Requests(seed % 50, model.decoder.usedTokens, scopes);
  const size = 1 + random.int(6);
  using slots = await Slots.create(model, { slots: size, capacity: CAPACITY, int8 });
  const answers = new Map<number, Answer>();
  const live = new Map<number, { request: Request; sample: number; released: boolean }>();
  let [free, cached] = [size, 0];
  for (let turn = 0; turn < 12 || live.size > 0; turn++) {
    const request = requests.next();
    if (turn < 12 && request.rows.length <= free) {
      const admission = await slots.admit(request.prompt, request.rows, request.scope);
      for (const [sample, name] of admission.rows.entries()) live.set(name, { request, sample, released: false });
      free -= request.rows.length;
      cached += admission.cached;
    }
    const names = [...live.keys()].sort(() => random.int(3) - 1);
    if (random.int(5) === 0 && names[0] !== undefined) {
      slots.end(names[0]);
      (live.get(names[0]) as { released: boolean }).released = true;
    }
    const progress = await slots.advance(
      names,
      [0, 10, 50, 500][turn < 12 ? random.int(4) : 3] as number,
      random.int(5),
    );
    gather(answers, progress);
    for (const { row, ended } of progress) {
      if (ended === 'no') continue;
      const {
        request: own,
        sample,
        released,
      } = live.get(row) as { request: Request; sample: number; released: boolean };
      live.delete(row);
      free++;
      if (!known.has(key(own))) known.set(key(own), await alone(model, int8, own));
      const expected = (known.get(key(own)) as Answer[])[sample] as Answer;
      const found = answers.get(row) as Answer;
      if (ended === 'released') {
        expect(released).toBe(true);
        const begun = found.tokens.length;
        expect({ ...found, ended: 'no' }).toEqual({
          tokens: expected.tokens.slice(0, begun),
          logProbs: expected.logProbs.slice(0, begun),
          model: expected.model.slice(0, begun),
          ended: 'no',
        });
      } else expect(found).toEqual(expected);
    }
  }
  return cached;
}

const folder = (name: string) => `${RECORDED}/${name}`;
const PALM = { numTokens: 40, dim: 16, depth: 2, heads: 2, dimHead: 8, ffMult: 2, seed: 3, device };

type Dtype = 'float32' | 'bfloat16' | 'float64';

async function modelOf(name: string, dtype: Dtype): Promise<LanguageModel> {
  const model =
    name === 'palm' ? new PaLM({ ...PALM, dtype }) : await LanguageModel.load(folder(name), { dtype, device });
  for (const scope of ['one', 'two']) {
    model.addScope(scope, { rank: scope === 'one' ? 2 : 5, targets: 'all-linear', seed: scope.length });
    for (const parameter of model.parameters({ scope })) {
      await fill(parameter, parameter.name.length);
    }
  }
  return model;
}

const SHARE: [name: string, dtype: 'float32' | 'bfloat16', int8: boolean, part: number][] = [
  ['palm', 'float32', false, 0.3],
  ['palm', 'bfloat16', false, 0.2],
  ['palm', 'float32', true, 0.1],
  ['llama', 'float32', false, 0.1],
  ['qwen3', 'bfloat16', false, 0.1],
  ['mistral', 'float32', false, 0.1], // windows
  ['gpt2', 'bfloat16', true, 0.05], // learned positions, 8 bits
  ['gemma2', 'float32', false, 0.05], // by the plain path
];

describe.skipIf(!cpuKernels)('rows in slots answer as alone', () => {
  it.each(SHARE)('%s, %s, int8: %s', { timeout: 300_000 }, async (name, dtype, int8, part) => {
    using model = await modelOf(name, dtype);
    const known = new Map<string, Answer[]>();
    let cached = 0;
    for (let seed = 0; seed < SCHEDULES * part; seed++) {
      cached += await schedule(model, { seed, int8, scopes: ['one', 'two'] }, known);
    }
    if (name === 'gemma2') expect(cached).toBe(0);
    else expect(cached).toBeGreaterThan(100 * part);
  });
});

describe('a stream is a row of slots', () => {
  it.each<[string, Dtype, boolean, object]>([
    ['palm', 'float32', false, { temperature: 0.8, topP: 0.9 }],
    ['palm', 'bfloat16', false, { temperature: 1.3, minP: 0.02 }],
    ['palm', 'float64', false, { topK: 7 }],
    ['qwen3', 'bfloat16', false, { temperature: 0 }],
    ['gpt2', 'float32', true, {}],
    ['gemma2', 'float32', false, { temperature: 0.9 }], // by the plain path
  ])('streamed ≡ served, bit for bit: %s, %s, int8: %s, %o', async (name, dtype, int8, drawing) => {
    using model = await modelOf(name, dtype);
    if (int8 && !cpuKernels) return;
    const prompt = Array.from({ length: 17 }, (_, i) => (7 * i + 3) % model.decoder.usedTokens);
    let answered = 0;
    for (const [seed, scope] of [undefined, 'two', undefined, 'one', undefined].entries()) {
      const stream = model.stream({
        ...{ prompt, maxNewTokens: 40, seed, eosToken: 3, weights: int8 ? 'int8' : undefined },
        ...{ scope, suppress: [1, 9], ...drawing },
      });
      const streamed: StreamedToken[] = [];
      for await (const next of stream) streamed.push(next);
      using slots = await Slots.create(model, { slots: 3, capacity: CAPACITY, suppress: [1, 9], int8 });
      const row = { ...DRAWN, endTokens: [3], maxTokens: 40, seed, ...drawing };
      const { rows } = await slots.admit(prompt, [row, { ...row, sample: 1 }], scope);
      await slots.admit(prompt.slice(0, 9), [{ ...row, temperature: 1, seed: 8 }]);
      const answers = new Map<number, Answer>();
      for (let turn = 0; turn < 20; turn++) gather(answers, await slots.advance([3, ...rows], 20, 3));
      expect(answers.get(rows[0] as number)).toMatchObject({
        tokens: streamed.map(({ token }) => token),
        logProbs: streamed.map(({ logProb }) => logProb),
      });
      answered += streamed.length;
    }
    expect(answered).toBeGreaterThan(30);
  });
});

/** What a row draws from and tells, by the formulas: log-probabilities with penalties and bias, and of the model. */
function byFormula(logits: number[], drawn: readonly number[], prompt: readonly number[], options: RowOptions) {
  const logSoftmax = (z: number[]) => {
    const top = Math.max(...z);
    const total = Math.log(z.reduce((sum, one) => sum + Math.exp(one - top), 0)) + top;
    return z.map((one) => one - total);
  };
  const z = logits.map((logit, token) => {
    const [count, seen] = [drawn.filter((one) => one === token).length, [...prompt, ...drawn].includes(token)];
    const { repetitionPenalty: by, frequencyPenalty, presencePenalty, biasTokens, bias } = options;
    const repeated = seen ? (logit > 0 ? logit / by : logit * by) : logit;
    const at = biasTokens.indexOf(token);
    return (
      repeated - frequencyPenalty * count - (count > 0 ? presencePenalty : 0) + (at < 0 ? 0 : (bias[at] as number))
    );
  });
  const banned = drawn.length < options.minTokens ? options.endTokens : [];
  const allowed = z.map((one, token) =>
    banned.includes(token) ? Number.NEGATIVE_INFINITY : one / options.temperature,
  );
  const least = [...allowed].sort((a, b) => b - a)[(options.topK ?? allowed.length) - 1] as number;
  return {
    sampled: logSoftmax(allowed.map((one) => (one >= least ? one : Number.NEGATIVE_INFINITY))),
    model: logSoftmax(logits),
  };
}

describe('what a row draws from', () => {
  it.each<[string, Partial<RowOptions>]>([
    ['its logits', {}],
    ['a temperature and the likeliest tokens', { temperature: 0.7, topK: 5 }],
    ['penalties of what it has drawn', { frequencyPenalty: 0.8, presencePenalty: -0.5 }],
    ['a penalty of repetition, of the prompt too', { repetitionPenalty: 1.7 }],
    ['bias', { biasTokens: [4, 9], bias: [2.5, -3], temperature: 1.3 }],
    ['no end before its time', { minTokens: 6, endTokens: [0, 1, 2, 3, 5, 8] }],
  ])('is %s', async (_what, more) => {
    using model = new PaLM({ ...PALM, seed: 11 });
    using slots = await Slots.create(model, { slots: 1, capacity: 40 });
    const [prompt, options] = [[7, 3, 7, 20], { ...DRAWN, endTokens: [], maxTokens: 12, top: 3, ...more }];
    await slots.admit(prompt, [options]);
    const [row] = await slots.advance([1], 10, 12);
    const { tokens, logProbs, model: told } = row as RowProgress;
    using output = await model.forward([[...prompt, ...tokens]]);
    const all = Array.from(await output.logits.data(), Number);
    for (const [i, token] of tokens.entries()) {
      const at = (prompt.length - 1 + i) * PALM.numTokens;
      const expected = byFormula(all.slice(at, at + PALM.numTokens), tokens.slice(0, i), prompt, options);
      expect(logProbs[i]).toBeCloseTo(expected.sampled[token] as number, 4);
      expect(told[i]?.token).toBeCloseTo(expected.model[token] as number, 4);
      const likeliest = [...expected.model].sort((a, b) => b - a).slice(0, 3);
      for (const [rank, logProb] of likeliest.entries()) expect(told[i]?.top[rank]).toBeCloseTo(logProb, 4);
    }
    expect(tokens.length).toBeGreaterThanOrEqual(Math.max(6, options.minTokens));
  });

  it('is drawn as often as it is likely', async () => {
    using model = new PaLM({ ...PALM, numTokens: 6, seed: 2 });
    using slots = await Slots.create(model, { slots: 100, capacity: 4 });
    const counts = new Array<number>(6).fill(0);
    for (let seed = 0; seed < 50; seed++) {
      const rows = Array.from({ length: 100 }, (_, sample) => ({
        ...DRAWN,
        endTokens: [],
        maxTokens: 1,
        seed,
        sample,
      }));
      const admission = await slots.admit([1, 2], rows);
      for (const { tokens } of await slots.advance(admission.rows, 10, 1)) {
        const token = tokens[0] as number;
        counts[token] = (counts[token] as number) + 1;
      }
    }
    using output = await model.forward([[1, 2]]);
    const logits = Array.from(await output.logits.data(), Number).slice(6);
    const { model: logProbs } = byFormula(logits, [], [], DRAWN);
    for (const [token, count] of counts.entries()) {
      const p = Math.exp(logProbs[token] as number);
      expect(Math.abs(count - 5000 * p)).toBeLessThan(4 * Math.sqrt(5000 * p * (1 - p)));
    }
  });

  it('is that of adapters made again, in slots that those before them have left', async () => {
    using model = await modelOf('palm', 'float32');
    using slots = await Slots.create(model, { slots: 1, capacity: 40 });
    const ask = async (to: Slots) => {
      const { rows } = await to.admit([1, 2, 3], [{ ...DRAWN, temperature: 0, endTokens: [] }], 'one');
      return (await to.advance(rows, 10, 8))[0]?.tokens;
    };
    for (let turn = 0; turn < 8; turn++) {
      model.removeScope('one');
      model.addScope('one', { rank: 2, targets: 'all-linear', seed: turn });
      for (const parameter of model.parameters({ scope: 'one' })) await fill(parameter, turn + 1);
      using fresh = await Slots.create(model, { slots: 1, capacity: 40 });
      expect(await ask(slots)).toEqual(await ask(fresh));
      const { rows } = await slots.admit([5], [{ ...DRAWN, maxTokens: 1 }]); // the slot forgets these adapters
      await slots.advance(rows, 10, 1);
    }
  });
});

describe('what slots never draw', () => {
  it.each([undefined, 3])('are tokens that are suppressed, with topK %s', async (topK) => {
    using model = new PaLM(PALM);
    const allowed = [7, 11];
    const suppress = Array.from({ length: 40 }, (_, token) => token).filter((token) => !allowed.includes(token));
    using slots = await Slots.create(model, { slots: 1, capacity: 60, suppress });
    await slots.admit([1], [{ ...DRAWN, topK, endTokens: [], maxTokens: 40, temperature: 2 }]);
    const [progress] = await slots.advance([1], 10, 40);
    expect(new Set(progress?.tokens)).toEqual(new Set(allowed));
    expect(progress?.logProbs.every((logProb) => logProb > -5)).toBe(true);
  });
});

describe('what slots refuse', () => {
  it('says which of the slots, the capacity and the tokens are too few', async () => {
    using model = new PaLM(PALM);
    using slots = await Slots.create(model, { slots: 2, capacity: 12 });
    const admitting = (prompt: number[], ...rows: Partial<RowOptions>[]) =>
      slots.admit(
        prompt,
        rows.map((row) => ({ ...DRAWN, ...row })),
      );
    for (const [refused, words] of [
      [() => admitting([1], {}, {}, {}), /3.*free slots, 2/],
      [() => admitting([1, 2, 3, 4, 5], {}), /8 behind a prompt of 5.*at most 12/],
      [() => admitting([]), /no tokens/],
      [() => admitting([40], {}), /40.*0 to 39/],
      [() => admitting([1], { endTokens: [-1] }), /endTokens.*-1/],
      [() => admitting([1], { biasTokens: [1], bias: [] }), /one for each of biasTokens/],
      [() => Slots.create(model, { slots: 0, capacity: 4 }), /slots: got 0/],
    ] as const) {
      await expect(refused()).rejects.toThrow(ArgumentError);
      await expect(refused()).rejects.toThrow(words);
    }
    const { rows } = await admitting([1, 2], {}, { seed: 2 }); // nothing was taken by what was refused
    expect(rows).toHaveLength(2);
  });
});

againWithOtherInstructions('test/slots.test.ts');
