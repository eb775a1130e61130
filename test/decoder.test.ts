/** What a description makes: names and shapes before anything is made, heads of keys and values, adapters on chosen sites. */
import { afterEach, describe, expect, it } from 'vitest';
import { ArgumentError, OutOfMemoryError } from '../src/errors.ts';
import { addon, type DecoderDescription } from '../src/native/addon.ts';
import { memory } from '../src/tensor/tensor.ts';
import {
  Decoder,
  DESCRIPTION,
  type DrawnRows,
  numbersOf,
  PLAIN_ROPE,
  QK_NORM,
  type Scope,
  weightsOf,
} from './decoders.ts';
import { distance, type RecordedTensors, relativeDistance } from './parity/numbers.ts';
import { ids } from './parity/weights.ts';

const { numTokens, dim, depth, heads, dimHead, ff } = DESCRIPTION;
const ROWS = [1, 2, 3].map((seed) => ids(7, numTokens, seed));

afterEach(() => addon().useKernels(true));

function failure(make: () => unknown): unknown {
  try {
    make();
  } catch (error) {
    return error;
  }
  return expect.fail('this should have been refused');
}

/** The sites of a layer: `query` and so on, without those that span several of them. */
function targetsOf(description: DecoderDescription): string[] {
  const names = addon().decoderSites({ ...description, depth: 1 });
  return names.map(({ name }) => name.replace('layers.0.', '')).filter((name) => !name.includes('_'));
}

const VARIANTS: Partial<DecoderDescription>[] = [
  {},
  { depth: 1, dtype: 'float64' },
  { qkNorm: QK_NORM },
  { causal: false, ropes: [PLAIN_ROPE] },
  { kvHeads: 2, dtype: 'bfloat16' },
  { kvHeads: 4, qkNorm: QK_NORM },
];

describe('a description', () => {
  it.each(VARIANTS)('gives names and shapes of parameters before they are created: %o', (variant) => {
    const description = { ...DESCRIPTION, ...variant };
    const before = memory();
    const told = addon().decoderParameters(description);
    expect(memory()).toEqual(before);
    using made = new Decoder(description);
    expect(made.parameters.map(({ name, shape }) => ({ name, shape }))).toEqual(told);
    expect(told.map(({ name }) => name)).toEqual(expect.arrayContaining(['token_embedding', 'layers.0.input', 'norm']));
  });

  it.each(VARIANTS)('gives sites with the shapes of their adapters: %o', (variant) => {
    const description = { ...DESCRIPTION, ...variant };
    const sites = addon()
      .decoderSites(description)
      .filter(({ name }) => !name.includes('_'));
    const targets = targetsOf(description);
    expect(targets).toEqual(expect.arrayContaining(['query', 'key', 'value', 'output']));
    using made = new Decoder(description);
    using scope = made.scope(targets, 3, 3);
    const expected = sites.flatMap(({ name, shape: [to, from] }) => [
      { name: `${name}.a`, shape: [from, 3] },
      { name: `${name}.b`, shape: [3, to] },
    ]);
    expect(scope.parameters.map(({ name, shape }) => ({ name, shape }))).toEqual(expected);
    expect(sites).toHaveLength(targets.length * description.depth);
  });

  it('gives query and value shapes that follow the numbers of heads', () => {
    const sites = addon().decoderSites({ ...DESCRIPTION, depth: 1, kvHeads: 2 });
    const shape = (name: string) => sites.find((site) => site.name === `layers.0.${name}`)?.shape;
    expect(shape('query')).toEqual([heads * dimHead, dim]);
    expect(shape('value')).toEqual([2 * dimHead, dim]);
    expect(shape('output')).toEqual([dim, heads * dimHead]);
  });

  it.each(['numTokens', 'dim', 'depth', 'heads', 'dimHead', 'ff'])(
    'are refused where no machine has so much: %s',
    (name) => {
      const before = memory();
      const description = { ...DESCRIPTION, [name]: 2 ** 50 };
      expect(failure(() => addon().decoderParameters(description))).toBeInstanceOf(OutOfMemoryError);
      expect(failure(() => addon().decoderSites(description))).toBeInstanceOf(OutOfMemoryError);
      expect(failure(() => addon().decoderCreate(description))).toBeInstanceOf(OutOfMemoryError);
      expect(memory()).toEqual(before);
    },
  );

  it.each([3, 8, 0])('is refused with %i key/value heads for four heads', (kvHeads) => {
    const description = { ...DESCRIPTION, kvHeads };
    expect(failure(() => addon().decoderCreate(description))).toBeInstanceOf(ArgumentError);
    expect(failure(() => addon().decoderParameters(description))).toBeInstanceOf(ArgumentError);
  });
});

/** Rows of `input`: those of its key and value are repeated, so that more heads say the same. */
function repeatedRows(kvHeads: number): number[] {
  const rows = (from: number, length: number) => Array.from({ length }, (_, i) => from + i);
  const query = heads * dimHead;
  const again = (from: number) => Array.from({ length: kvHeads }, () => rows(from, dimHead)).flat();
  return [...rows(0, query), ...again(query), ...again(query + dimHead), ...rows(query + 2 * dimHead, 2 * ff)];
}

function withRepeatedRows(weights: RecordedTensors, kvHeads: number): RecordedTensors {
  return new Map(
    [...weights].map(([name, weight]) => {
      if (!name.endsWith('.input')) return [name, weight];
      const rows = repeatedRows(kvHeads);
      const data = Float64Array.from(rows.flatMap((row) => [...weight.data.subarray(row * dim, (row + 1) * dim)]));
      return [name, { ...weight, shape: [rows.length, dim], data }];
    }),
  );
}

/** The likeliest token behind each, and the log-probability of each, as one pass over whole sequences gives them. */
async function uncached(
  model: Decoder,
  { tokens }: DrawnRows,
  scope?: Scope,
): Promise<{ likeliest: number[]; logProbs: number[] }> {
  const width = tokens.length / ROWS.length;
  const rows = ROWS.map((_, row) => tokens.slice(row * width, (row + 1) * width));
  const logits = await model.logits(rows, scope);
  const before = (i: number) => logits.slice((i - 1) * numTokens, i * numTokens);
  const isPrompt = (i: number) => i % width < (ROWS[0] as number[]).length;
  return {
    likeliest: tokens.map((token, i) => (isPrompt(i) ? token : before(i).indexOf(Math.max(...before(i))))),
    logProbs: tokens.map((token, i) => (isPrompt(i) ? 0 : logProb(before(i), token))),
  };
}

function logProb(logits: number[], token: number): number {
  return (logits[token] as number) - Math.log(logits.reduce((sum, logit) => sum + Math.exp(logit), 0));
}

describe.each([true, false])('two equal key/value heads, kernels %s', (kernels) => {
  const both = async (variant: Partial<DecoderDescription>) => {
    await addon().useKernels(kernels);
    const description = { ...DESCRIPTION, ...variant };
    const weights = weightsOf(description, 4);
    const one = await Decoder.of(description, weights);
    const two = await Decoder.of({ ...description, kvHeads: 2 }, withRepeatedRows(weights, 2));
    return { one, two };
  };
  const near = { float32: 1e-5, float64: 1e-12 };

  it.each([
    { dtype: 'float32' },
    { dtype: 'float32', qkNorm: QK_NORM },
    { dtype: 'float32', causal: false, ropes: [PLAIN_ROPE] },
    { dtype: 'float64' },
    { dtype: 'float64', qkNorm: QK_NORM },
  ] as (Partial<DecoderDescription> & { dtype: 'float32' | 'float64' })[])(
    'give the logits and gradients of one: %o',
    async (variant) => {
      const { one, two } = await both(variant);
      using _ = one;
      using __ = two;
      const tolerance = near[variant.dtype];
      expect(distance(await two.logits(ROWS), await one.logits(ROWS))).toBeLessThan(tolerance);
      const [expected, found] = [await one.gradients(ROWS), await two.gradients(ROWS)];
      for (const [name, gradient] of expected) {
        const other = found.get(name) as number[];
        // What the repeated rows get adds up to what the one row gets; all others are the same rows.
        const summed = name.endsWith('.input') ? summedRows(other, gradient.length) : other;
        expect(relativeDistance(summed, gradient), name).toBeLessThan(10 * tolerance);
      }
      const query = (gradients: Map<string, number[]>) =>
        gradients.get('layers.1.input')?.slice(0, heads * dimHead * dim);
      expect(relativeDistance(query(found) as number[], query(expected) as number[])).toBeLessThan(10 * tolerance);
    },
  );

  it.each(['float32', 'float64'] as const)(
    'write what one writes, and what they say without a cache: %s',
    async (dtype) => {
      const { one, two } = await both({ dtype });
      using _ = one;
      using __ = two;
      const greedy = await two.generate(ROWS, { temperature: 0 });
      expect(greedy.tokens).toEqual((await uncached(two, greedy)).likeliest);
      expect(greedy.tokens).toEqual((await one.generate(ROWS, { temperature: 0 })).tokens);
      const drawn = await two.generate(ROWS, { temperature: 1 });
      expect(distance(drawn.logProbs, (await uncached(two, drawn)).logProbs)).toBeLessThan(1e-5);
      expect(drawn.tokens).toEqual((await one.generate(ROWS, { temperature: 1 })).tokens);
    },
  );
});

/** Adds up the rows of a gradient of `input` that were one row before they were repeated. */
function summedRows(gradient: readonly number[], length: number): number[] {
  const sums = new Array<number>(length).fill(0);
  for (const [row, from] of repeatedRows(2).entries()) {
    for (let i = 0; i < dim; i++)
      sums[from * dim + i] = (sums[from * dim + i] as number) + (gradient[row * dim + i] as number);
  }
  return sums;
}

describe('four key/value heads', () => {
  it.each([true, false])('generate the same as without a cache, kernels %s', async (kernels) => {
    await addon().useKernels(kernels);
    const description = { ...DESCRIPTION, kvHeads: 4 };
    using model = await Decoder.of(description, weightsOf(description, 6));
    const greedy = await model.generate(ROWS, { temperature: 0 });
    expect(greedy.tokens).toEqual((await uncached(model, greedy)).likeliest);
  });
});

/** `input` with α/r · (A · B)ᵀ added to its rows from `start` on. */
function folded(input: Float64Array, start: number, [a, b]: [number[], number[]], rank: number, scale: number): void {
  const width = b.length / rank;
  for (let out = 0; out < width; out++) {
    for (let from = 0; from < dim; from++) {
      let sum = 0;
      for (let r = 0; r < rank; r++) sum += (a[from * rank + r] as number) * (b[r * width + out] as number);
      const at = (start + out) * dim + from;
      input[at] = (input[at] as number) + scale * sum;
    }
  }
}

describe.each([1, 2])('a scope on query and value only, %i key/value heads', (kvHeads) => {
  const description = { ...DESCRIPTION, kvHeads };
  const weights = weightsOf(description, 8);
  const [rank, alpha] = [3, 6];
  const starts = { query: 0, value: (heads + kvHeads) * dimHead };

  /** The model with the adapters folded into its weights by hand. */
  async function merged(scope: Scope): Promise<Decoder> {
    const changed = new Map(weights);
    for (let layer = 0; layer < depth; layer++) {
      const name = `layers.${layer}.input`;
      const weight = changed.get(name) as NonNullable<ReturnType<RecordedTensors['get']>>;
      const data = Float64Array.from(weight.data);
      for (const [site, start] of Object.entries(starts)) {
        const at = `layers.${layer}.${site}`;
        const adapter: [number[], number[]] = [await scope.numbers(`${at}.a`), await scope.numbers(`${at}.b`)];
        folded(data, start, adapter, rank, alpha / rank);
      }
      changed.set(name, { ...weight, data });
    }
    return await Decoder.of(description, changed);
  }

  it.each([true, false])('has only these adapters and equals the merged model, kernels %s', async (kernels) => {
    await addon().useKernels(kernels);
    using model = await Decoder.of(description, weights);
    using scope = model.scope(['query', 'value'], rank, alpha);
    const layers = Array.from({ length: depth }, (_, layer) => `layers.${layer}`);
    expect(scope.parameters.map(({ name }) => name)).toEqual(
      layers.flatMap((layer) => ['query.a', 'query.b', 'value.a', 'value.b'].map((name) => `${layer}.${name}`)),
    );
    await scope.draw(9);
    using expected = await merged(scope);
    const plain = await model.logits(ROWS);
    const scoped = await model.logits(ROWS, scope);
    expect(distance(scoped, await expected.logits(ROWS))).toBeLessThan(1e-5);
    expect(distance(scoped, plain)).toBeGreaterThan(0.01);

    const greedy = await model.generate(ROWS, { temperature: 0 }, scope);
    expect(greedy.tokens).toEqual((await expected.generate(ROWS, { temperature: 0 })).tokens);
    expect(greedy.tokens).toEqual((await uncached(model, greedy, scope)).likeliest);
    const drawn = await model.generate(ROWS, { temperature: 1 }, scope);
    expect(distance(drawn.logProbs, (await uncached(model, drawn, scope)).logProbs)).toBeLessThan(1e-5);

    await addon().modelMergeScope(model.handle, scope.handle);
    expect(distance(await model.logits(ROWS), scoped)).toBeLessThan(1e-5);
  });
});

describe('a scope', () => {
  it('on every site equals the merged model', async () => {
    for (const kernels of [true, false]) {
      await addon().useKernels(kernels);
      using model = await Decoder.of(DESCRIPTION, weightsOf(DESCRIPTION, 8));
      using scope = model.scope(targetsOf(DESCRIPTION), 2, 2);
      await scope.draw(10);
      const scoped = await model.logits(ROWS, scope);
      await addon().modelMergeScope(model.handle, scope.handle);
      expect(distance(await model.logits(ROWS), scoped)).toBeLessThan(1e-5);
    }
  });

  it('changes nothing at first', async () => {
    using model = await Decoder.of(DESCRIPTION, weightsOf(DESCRIPTION, 8));
    using scope = model.scope(['value'], 2, 2);
    await addon().scopeInitialise(scope.handle, 1);
    expect(distance(await model.logits(ROWS, scope), await model.logits(ROWS))).toBeLessThan(1e-6);
    expect((await numbersOf(scope.parameters[0] as Scope['parameters'][0])).some((value) => value !== 0)).toBe(true);
  });

  it('is refused on an unknown site, with a list of the known ones', () => {
    using model = new Decoder(DESCRIPTION);
    const error = failure(() => model.scope(['query', 'vale'], 2, 2)) as ArgumentError;
    expect(error).toBeInstanceOf(ArgumentError);
    expect(error.message).toContain('vale');
    for (const target of targetsOf(DESCRIPTION)) expect(error.expected).toContain(target);
  });
});
