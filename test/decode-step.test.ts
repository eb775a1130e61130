/**
 * The decode step of a device, for blocks of every family that it supports: against the plain path, in float32, bfloat16
 * and 8 bits, through adapters on any sites, in any batch, and after the weights have changed. test/decode.test.ts does
 * so for PaLM, test/cuda/addon.test.ts runs both files over emulated CUDA kernels.
 */
import { afterAll, describe, expect, it } from 'vitest';
import { type AdapterDescription, addon, type DecoderDescription } from '../src/native/addon.ts';
import { DECODED, PLAIN, SEQUENTIAL } from './block-descriptions.ts';
import { Decoder, DESCRIPTION, type DrawnRows, type Scope, weightsOf } from './decoders.ts';
import { cpuKernels } from './device.ts';
import { againWithOtherInstructions } from './instruction-sets.ts';
import { distance as largest, type RecordedTensors } from './parity/numbers.ts';
import { ids } from './parity/weights.ts';
import { representable, withKernels } from './readings.ts';

const PROMPTS = [9, 1, 4].map((length, row) => ids(length, 17, 30 + row));
const GREEDY = { temperature: 0, maxNewTokens: 44, samplesPerPrompt: 2 };
const DRAWN = { ...GREEDY, temperature: 1 };

/** Blocks that decoding supports here, with learned positions for what is asked. */
const SUPPORTED = { ...SEQUENTIAL, ...DECODED, ...(cpuKernels ? {} : PLAIN), palm: DESCRIPTION };
const BLOCKS: [string, DecoderDescription][] = Object.entries(SUPPORTED).map(([name, description]) => [
  name,
  { ...description, positions: description.positions && { rows: 80, offset: 2 } },
]);

/** Adapters on all sites: of several ranks and scales, and not in every layer. */
function adaptersFor({ gated }: DecoderDescription): AdapterDescription[] {
  const apart = ['query', 'key', 'value', 'output', 'up', ...(gated ? ['gate'] : []), 'down'];
  const joined = ['query_key_value', ...(gated ? ['up_gate'] : ['up']), 'down'];
  return [
    ...apart.map((site, i) => ({ layer: 0, site, rank: 1 + (i % 3), scale: 0.5 + i / 4 })),
    ...joined.map((site, i) => ({ layer: 1, site, rank: 5 - i, scale: 2 })),
  ];
}

async function scopeOf(model: Decoder, description: DecoderDescription): Promise<Scope> {
  const scope = model.adapted(adaptersFor(description));
  await scope.draw(8);
  return scope;
}

/** What a model answers: by kernels or by the plain path. */
async function answers(
  description: DecoderDescription,
  weights: RecordedTensors,
  { kernels = true, scoped = false, prompts = PROMPTS, ...sampling }: Asked = {},
): Promise<DrawnRows> {
  using model = await Decoder.of(description, weights);
  const scope = scoped ? await scopeOf(model, description) : undefined;
  const drawn = await withKernels(kernels, () => model.generate(prompts, { ...DRAWN, ...sampling }, scope));
  scope?.[Symbol.dispose]();
  return drawn;
}

interface Asked {
  kernels?: boolean;
  scoped?: boolean;
  prompts?: number[][];
  temperature?: number;
  maxNewTokens?: number;
  int8?: boolean;
}

/** The same weights rounded to 8 bits, with a scale for every row of the matrices that decoding multiplies by. */
function rounded(weights: RecordedTensors, { parallel, heads, dimHead }: DecoderDescription): RecordedTensors {
  const round = (row: Float64Array) => {
    const scale = Math.fround(row.reduce((most, x) => Math.max(most, Math.abs(x)), 0) / 127);
    for (const [i, x] of row.entries()) row[i] = Math.fround(Math.round(x / scale) * scale);
  };
  const matrices = /\.(input|output)$|^(token_embedding|head|embedding_out)$/;
  return new Map(
    [...weights].map(([name, weight]) => {
      if (!matrices.test(name)) return [name, weight];
      const data = weight.data.slice();
      const width = weight.shape[1] as number;
      const split = !parallel && name.endsWith('.output') ? heads * dimHead : width;
      for (let begin = 0; begin < data.length; begin += width) {
        round(data.subarray(begin, begin + split));
        if (split < width) round(data.subarray(begin + split, begin + width));
      }
      return [name, { ...weight, data }];
    }),
  );
}

/** Log-probabilities of what was drawn, as a float64 model gives them. */
async function truthOf(description: DecoderDescription, weights: RecordedTensors, drawn: DrawnRows): Promise<number[]> {
  using model = await Decoder.of({ ...description, dtype: 'float64' }, weights);
  const rows = PROMPTS.length * GREEDY.samplesPerPrompt;
  const width = drawn.tokens.length / rows;
  const texts = Array.from({ length: rows }, (_, row) => drawn.tokens.slice(row * width, (row + 1) * width));
  const logits = await model.logits(texts);
  const vocabulary = description.usedTokens;
  return drawn.logProbs.map((logProb, i) => {
    if (logProb === 0) return 0; // of a prompt, or padding
    const row = logits.slice((i - 1) * vocabulary, i * vocabulary);
    const most = Math.max(...row);
    const mass = row.reduce((sum, logit) => sum + Math.exp(logit - most), 0);
    return (row[drawn.tokens[i] as number] as number) - most - Math.log(mass);
  });
}

/** The mean distance from the truth of log-probabilities that were drawn. */
async function errorOf(...given: Parameters<typeof truthOf>): Promise<number> {
  const truth = await truthOf(...given);
  const [, , { logProbs }] = given;
  return logProbs.reduce((sum, logProb, i) => sum + Math.abs(logProb - (truth[i] as number)), 0) / logProbs.length;
}

async function expectPlainAnswers(
  description: DecoderDescription,
  weights: RecordedTensors,
  asked: Asked,
): Promise<void> {
  const fast = await answers(description, weights, asked);
  const plain = await answers(description, weights, { ...asked, kernels: false });
  expect(fast.tokens).toEqual(plain.tokens);
  expect(largest(fast.logProbs, plain.logProbs)).toBeLessThan(1e-5);
}

const bfloat16Errors: { fast: number; plain: number }[] = [];

describe.each(BLOCKS)('%s', (_name, description) => {
  const weights = weightsOf(description, 3);

  it('is decoded by a fast path', () => {
    expect(addon().decoderFallbacks(description).decoding).toBeUndefined();
  });

  it.each([false, true])('answers as the plain path does, through adapters on all sites: %s', async (scoped) => {
    await expectPlainAnswers(description, weights, { scoped, temperature: scoped ? 1 : 0 });
  });

  if (cpuKernels) {
    it('answers each prompt alone as in a batch, bit for bit', async () => {
      const together = await answers(description, weights, { scoped: true, temperature: 0 });
      const width = together.tokens.length / (2 * PROMPTS.length);
      for (const [i, prompt] of PROMPTS.entries()) {
        const alone = await answers(description, weights, { scoped: true, temperature: 0, prompts: [prompt] });
        const count = prompt.length + GREEDY.maxNewTokens;
        for (const of of ['tokens', 'logProbs'] as const)
          expect(alone[of].slice(prompt.length, count)).toEqual(
            together[of].slice(2 * i * width + prompt.length, 2 * i * width + count),
          );
      }
    });

    it('computes with weights of 8 bits what the plain path computes with their values', async () => {
      const values = rounded(weights, description);
      const fast = await answers(description, values, { int8: true });
      const plain = await answers(description, values, { kernels: false });
      expect(fast.tokens).toEqual(plain.tokens);
      expect(largest(fast.logProbs, plain.logProbs)).toBeLessThan(2e-5);
    });
  }

  it('is as near to float64 in bfloat16 as the plain path', async () => {
    const exact = representable(weights);
    const narrow = { ...description, dtype: 'bfloat16' } as const;
    const fast = await errorOf(description, exact, await answers(narrow, exact));
    const plain = await errorOf(description, exact, await answers(narrow, exact, { kernels: false }));
    expect(fast).toBeLessThan(1.5 * plain); // tokens differ, so each is a sample
    bfloat16Errors.push({ fast, plain });
  });
});

it('is no further from float64 in bfloat16 than the plain path over all of them', () => {
  const total = (of: 'fast' | 'plain') => bfloat16Errors.reduce((sum, errors) => sum + errors[of], 0);
  expect(bfloat16Errors.length).toBe(BLOCKS.length);
  expect(total('fast')).toBeLessThan(1.05 * total('plain'));
});

// CUDA's kernel takes at most 128 keys at once.
it.each([0, 40, 128])('answers alike over many keys, with window %i', async (window) => {
  const description = { ...(SEQUENTIAL.llama as DecoderDescription), layers: [{ window, rope: 0, scale: 0.4 }] };
  await expectPlainAnswers(description, weightsOf(description, 5), { maxNewTokens: 290 });
});

it('drops rows that have ended, and uses changed weights', async () => {
  const description = SEQUENTIAL.qwen3 as DecoderDescription;
  using model = await Decoder.of(description, weightsOf(description, 3));
  using scope = await scopeOf(model, description);
  const ask = () => model.generate(PROMPTS, { ...DRAWN, eosTokens: [5, 11] }, scope);
  const seen: DrawnRows[] = [];
  for (const seed of [1, 2, 3]) {
    await scope.draw(seed);
    const fast = await ask();
    const plain = await withKernels(false, ask);
    expect(fast.tokens).toEqual(plain.tokens);
    expect(largest(fast.logProbs, plain.logProbs)).toBeLessThan(1e-5);
    seen.push(fast);
  }
  expect(new Set(seen.map(({ tokens }) => tokens.join())).size).toBe(3);
});

const AROUND = 'norms before and after each branch';
const onCpu = (decoding: string) => (cpuKernels ? { decoding } : {});
const onCuda = (decoding: string) => (cpuKernels ? {} : { decoding });
const NO_ROPE = { ropes: [], layers: [{ window: 0, rope: -1, scale: 1 }] };

it.each<[string, Partial<DecoderDescription>, { training?: string; decoding?: string }]>([
  ['float64', { dtype: 'float64' }, { training: 'float64', decoding: 'float64' }],
  ['a scale of residuals', { residualScale: 2 }, { training: 'a scale of residuals' }],
  ['parallel blocks', { parallel: true }, { training: 'parallel blocks with two norms' }],
  ['alibi', { alibi: [1, 0.5, 0.25, 0.125] }, { training: 'alibi', ...onCpu('alibi') }],
  ['norms around branches', { form: 'sandwich' }, { training: AROUND, ...onCpu(AROUND) }],
  [
    'heads too wide',
    { ...NO_ROPE, heads: 64, kvHeads: 1, dimHead: 200 },
    onCuda('groups of query heads that shared memory cannot hold'),
  ],
])('%s keep a model from fast paths', (_words, change, fallbacks) => {
  expect(addon().decoderFallbacks({ ...(SEQUENTIAL.llama as DecoderDescription), ...change })).toEqual(fallbacks);
});

againWithOtherInstructions('test/decode-step.test.ts');

afterAll(() => addon().useKernels(true));
