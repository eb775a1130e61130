/**
 * Decoding by the fused kernels: against the ATen path, against the forward pass, against itself in other batches, and after
 * every way in which weights change.
 */
import { afterAll, describe, expect, it } from 'vitest';
import { ActorCritic } from '../src/models/actor-critic.ts';
import { addon } from '../src/native/addon.ts';
import { AdamW } from '../src/optim.ts';
import type { Generation } from '../src/models/language-model.ts';
import { PaLM } from '../src/models/palm.ts';
import { Slots } from '../src/models/slots.ts';
import { handleOf } from '../src/native/resource.ts';
import { Tensor } from '../src/tensor/tensor.ts';
import { cpuKernels, device } from './device.ts';
import { againWithOtherInstructions } from './instruction-sets.ts';
import { distance } from './parity/numbers.ts';
import { drawn, ids, palmOf, palmShapes, type Size } from './parity/weights.ts';

const ODD: Size = { numTokens: 19, dim: 24, depth: 2, heads: 3, dimHead: 6, ffMult: 3 };
// Heads wider than a panel, more panels than one thread takes at once, and a depth that pairs do not divide.
const WIDE: Size = { numTokens: 300, dim: 35, depth: 2, heads: 2, dimHead: 70, ffMult: 5 };
const SIZES = { odd: ODD, wide: WIDE };
const BATCHES = [1, 5, 13, 33];

/** Prompts of 1 to 9 tokens. */
function promptsOf(batch: number, numTokens: number): number[][] {
  return Array.from({ length: batch }, (_, row) => ids(1 + ((row * 5) % 9), numTokens, 70 + row));
}

function modelOf(size: Size, dtype: 'float32' | 'bfloat16' = 'float32', seed = 1): Promise<PaLM> {
  return palmOf(drawn(palmShapes(size, { actor: 3 }), seed), { ...size, dtype });
}

async function withKernels<T>(on: boolean, work: () => Promise<T>): Promise<T> {
  await addon().useKernels(on);
  try {
    return await work();
  } finally {
    await addon().useKernels(true);
  }
}

/** A row of slots that draws from the model's own logits and ends at its length. */
const ROW = {
  ...{ topK: undefined, topP: undefined, minP: undefined, top: undefined },
  ...{ frequencyPenalty: 0, presencePenalty: 0, repetitionPenalty: 1 },
  ...{ biasTokens: [], bias: [], endTokens: [], minTokens: 0 },
};

interface Drawn {
  width: number;
  tokens: number[];
  mask: number[];
  logProbs: number[];
}

async function take(generation: Generation): Promise<Drawn> {
  using out = generation;
  return {
    width: out.sequences.shape[1] as number,
    tokens: Array.from(await out.sequences.data(), Number),
    mask: Array.from(await out.responseMask.data(), Number),
    logProbs: Array.from(await out.logProbs.data(), Number),
  };
}

/** The responses of every row, with their log-probabilities. */
function responses({ width, tokens, mask, logProbs }: Drawn): { token: number; logProb: number }[][] {
  const rows = Array.from({ length: tokens.length / width }, (_, row) => row * width);
  return rows.map((start) =>
    tokens
      .slice(start, start + width)
      .map((token, t) => ({ token, logProb: logProbs[start + t] as number, real: mask[start + t] === 1 }))
      .filter(({ real }) => real)
      .map(({ token, logProb }) => ({ token, logProb })),
  );
}

/** The largest difference between log-probabilities as they were drawn and as evaluating the sequences gives them. */
async function gapToForward(palm: PaLM, sampling: Parameters<PaLM['generate']>[0]): Promise<number> {
  const temperature = sampling.temperature ?? 1;
  using out = await palm.generate(sampling);
  using read = await palm.forward(out.sequences, sampling.scope === undefined ? {} : { scope: sampling.scope });
  const [tokens, mask, drawnLogProbs, logits] = await Promise.all(
    [out.sequences, out.responseMask, out.logProbs, read.logits].map(async (tensor) =>
      Array.from(await tensor.data(), Number),
    ),
  );
  const vocabulary = read.logits.shape[2] as number;
  let largest = 0;
  for (const [i, real] of (mask as number[]).entries()) {
    if (real === 0) continue;
    const row = (logits as number[]).slice((i - 1) * vocabulary, i * vocabulary).map((logit) => logit / temperature);
    const top = Math.max(...row);
    const mass = Math.log(row.reduce((sum, logit) => sum + Math.exp(logit - top), 0)) + top;
    const expected = (row[(tokens as number[])[i] as number] as number) - mass;
    largest = Math.max(largest, Math.abs(expected - ((drawnLogProbs as number[])[i] as number)));
  }
  return largest;
}

describe.each(Object.entries(SIZES))('%s', (_, size) => {
  it.each(BATCHES)('samples the same tokens as the ATen path in float32, %i rows', async (batch) => {
    using palm = await modelOf(size);
    const prompts = promptsOf(batch, size.numTokens);
    for (const more of [{}, { scope: 'actor', temperature: 0.7, samplesPerPrompt: 2 }, { topK: 5, eosToken: 3 }]) {
      const draw = async () => take(await palm.generate({ prompts, maxNewTokens: 12, seed: 4, ...more }));
      const fused = await draw();
      const reference = await withKernels(false, draw);
      expect(fused.tokens).toEqual(reference.tokens);
      expect(distance(fused.logProbs, reference.logProbs)).toBeLessThan(1e-5);
    }
  });

  it('decodes a row greedily to the same tokens in any batch, with and without a cache', async () => {
    using palm = await modelOf(size);
    const sampling = { maxNewTokens: 24, temperature: 0, scope: 'actor' };
    const all = promptsOf(33, size.numTokens);
    const together = responses(await take(await palm.generate({ ...sampling, prompts: all })));
    for (const count of [1, 2, 7, 13]) {
      const some = responses(await take(await palm.generate({ ...sampling, prompts: all.slice(0, count) })));
      expect(some).toEqual(together.slice(0, count));
    }
    const row = [...(all[0] as number[])];
    for (let step = 0; step < sampling.maxNewTokens; step++) {
      using read = await palm.forward([row], { scope: 'actor' });
      const last = Array.from(await read.logits.data(), Number).slice(-size.numTokens);
      row.push(last.indexOf(Math.max(...last)));
    }
    expect(row.slice((all[0] as number[]).length)).toEqual((together[0] ?? []).map(({ token }) => token));
  });

  it('gives the log-probabilities of the forward pass', async () => {
    const sampling = { prompts: promptsOf(5, size.numTokens), maxNewTokens: 40, samplesPerPrompt: 2, seed: 2 };
    using exact = await modelOf(size);
    using rounded = await modelOf(size, 'bfloat16');
    for (const more of [{}, { temperature: 0.7 }, { scope: 'actor' }, { scope: 'actor', temperature: 0.7 }]) {
      expect(await gapToForward(exact, { ...sampling, ...more })).toBeLessThan(1e-5);
      expect(await gapToForward(rounded, { ...sampling, ...more })).toBeLessThan(0.1);
    }
  });
});

// cuBLAS chooses its kernel by the number of rows: on a GPU log-probabilities differ in their last bits.
const same = (row: ReturnType<typeof responses>[number]) =>
  row.map(({ token, logProb }) => ({ token, logProb: cpuKernels ? logProb : expect.closeTo(logProb, 5) }));

it('computes a row bit for bit the same in every batch, as other rows end and are dropped', async () => {
  using palm = await modelOf(ODD);
  const sampling = { prompts: promptsOf(13, ODD.numTokens), maxNewTokens: 40, samplesPerPrompt: 2, seed: 6 };
  const whole = responses(await take(await palm.generate(sampling)));
  const ended = responses(await take(await palm.generate({ ...sampling, eosToken: 5 })));
  for (const [row, response] of ended.entries()) {
    expect(response).toEqual(same((whole[row] ?? []).slice(0, response.length)));
    const end = response.findIndex(({ token }) => token === 5);
    expect(end === -1 ? 40 : end + 1).toBe(response.length);
  }
  expect(new Set(ended.map((response) => response.length)).size).toBeGreaterThan(5);
});

it('streams the tokens that it generates at once', async () => {
  using palm = await modelOf(WIDE);
  const [prompt] = promptsOf(1, WIDE.numTokens) as [number[]];
  const [row] = responses(await take(await palm.generate({ prompts: [prompt], maxNewTokens: 40, seed: 3 })));
  const streamed: { token: number; logProb: number }[] = [];
  for await (const next of palm.stream({ prompt, maxNewTokens: 40, seed: 3 })) streamed.push(next);
  // The prompt of a batch is read by other products.
  expect(streamed).toEqual(row?.map(({ token, logProb }) => ({ token, logProb: expect.closeTo(logProb, 5) })));
});

describe('what a row draws depends on the seed and its index alone:', () => {
  const SAMPLING = { maxNewTokens: 30, seed: 9, temperature: 1.2, topP: 0.95 };
  const tokensOf = (drawn: Drawn) => responses(drawn).map((row) => row.map(({ token }) => token));

  /** What rows of slots draw, each alone. */
  async function alone(palm: PaLM, prompts: number[][]): Promise<number[][]> {
    const answers: number[][] = [];
    for (const [sample, prompt] of prompts.entries()) {
      using slots = await Slots.create(palm, { slots: 1, capacity: 60 });
      const { maxNewTokens: maxTokens, ...drawing } = SAMPLING;
      const { rows } = await slots.admit(prompt, [{ ...ROW, ...drawing, maxTokens, sample }]);
      answers.push((await slots.advance(rows, 60, maxTokens))[0]?.tokens ?? []);
    }
    return answers;
  }

  it('a batch draws what each of its rows draws alone', async () => {
    using palm = await modelOf(ODD);
    const prompts = promptsOf(6, ODD.numTokens);
    const together = tokensOf(await take(await palm.generate({ ...SAMPLING, prompts })));
    expect(together).toEqual(await alone(palm, prompts));
    const some = tokensOf(await take(await palm.generate({ ...SAMPLING, prompts: prompts.slice(0, 2) })));
    expect(some).toEqual(together.slice(0, 2));
    const stopped = tokensOf(await take(await palm.generate({ ...SAMPLING, prompts, eosToken: 5 })));
    expect(stopped).toEqual(together.map((row) => row.slice(0, row.includes(5) ? row.indexOf(5) + 1 : 30)));
  });

  it('two prompts with four samples draw what eight prompts draw', async () => {
    using palm = await modelOf(ODD);
    const [a, b] = promptsOf(2, ODD.numTokens) as [number[], number[]];
    const two = await take(await palm.generate({ ...SAMPLING, prompts: [a, b], samplesPerPrompt: 4 }));
    const eight = await take(await palm.generate({ ...SAMPLING, prompts: [a, a, a, a, b, b, b, b] }));
    expect(tokensOf(two)).toEqual(tokensOf(eight));
    expect(new Set(tokensOf(two).map(String)).size).toBe(8);
  });

  it('another seed and another index draw something else', async () => {
    using palm = await modelOf(ODD);
    const [prompt] = promptsOf(1, ODD.numTokens) as [number[]];
    const draw = async (seed: number, samplesPerPrompt: number) =>
      tokensOf(await take(await palm.generate({ ...SAMPLING, seed, prompts: [prompt], samplesPerPrompt })));
    const all = [...(await draw(1, 3)), ...(await draw(2, 3)), ...(await draw(3, 3))];
    expect(new Set(all.map(String)).size).toBe(9);
  });
});

describe('decoding uses the current weights after', () => {
  const sampling = { prompts: promptsOf(3, ODD.numTokens), maxNewTokens: 8, seed: 1, scope: 'actor' };

  async function step(palm: PaLM, scope?: string): Promise<void> {
    const parameters = palm.parameters(scope === undefined ? {} : { scope });
    using optimizer = new AdamW(parameters, { lr: 0.05 });
    using loss = await palm.loss(
      promptsOf(1, ODD.numTokens)
        .concat(promptsOf(1, ODD.numTokens))
        .map((row) => [...row, 1, 2]),
      {
        scope: 'actor',
      },
    );
    await loss.backward();
    await optimizer.step();
  }

  async function overwrite(palm: PaLM, write: (value: Tensor, zeros: Tensor) => Promise<void>): Promise<void> {
    for (const parameter of palm.parameters().filter(({ name }) => name.endsWith('output'))) {
      using value = await parameter.value();
      using zeros = Tensor.from(
        Array<number>(parameter.shape[0] as number)
          .fill(0)
          .map(() => Array<number>(parameter.shape[1] as number).fill(0)),
        { device },
      );
      await write(value, zeros);
    }
  }

  it.each<[string, (palm: PaLM) => Promise<void>]>([
    ['an optimizer step', (palm) => step(palm)],
    ['an optimizer step on the scope alone', (palm) => step(palm, 'actor')],
    ['values copied', (palm) => overwrite(palm, (to, from) => addon().tensorCopy(handleOf(to), handleOf(from)))],
    [
      'bytes written',
      (palm) =>
        overwrite(palm, (to, from) =>
          addon().tensorWriteBytes(handleOf(to), 0, new Uint8Array(from.shape.reduce((a, b) => a * b, 4))),
        ),
    ],
  ])('%s', async (_, change) => {
    using palm = await modelOf(ODD);
    const before = await take(await palm.generate(sampling));
    await change(palm);
    const after = await take(await palm.generate(sampling));
    const reference = await withKernels(false, async () => take(await palm.generate(sampling)));
    expect(distance(after.logProbs, before.logProbs)).toBeGreaterThan(1e-3);
    expect(after.tokens).toEqual(reference.tokens);
    expect(distance(after.logProbs, reference.logProbs)).toBeLessThan(1e-5);
  });

  it('merging a scope', async () => {
    using palm = await modelOf(ODD);
    const { scope: _, ...plain } = sampling;
    const trunk = await take(await palm.generate(plain));
    const scoped = await take(await palm.generate(sampling));
    await palm.mergeScope('actor');
    const merged = await take(await palm.generate(plain));
    expect(merged.tokens).toEqual(scoped.tokens);
    expect(distance(merged.logProbs, scoped.logProbs)).toBeLessThan(1e-5);
    expect(distance(merged.logProbs, trunk.logProbs)).toBeGreaterThan(1e-3);
  });
});

describe("rollouts with the sampler's log-probabilities", () => {
  it.each([4, false] as const)('differ from recomputed ones only by rounding, lora %s', async (lora) => {
    using palm = await modelOf({ ...ODD });
    await palm.mergeScope('actor');
    using actorCritic = new ActorCritic(palm, { lora, reference: true });
    const rolling = { prompts: promptsOf(5, ODD.numTokens), maxNewTokens: 12, eosToken: 3, seed: 8, reference: true };
    using recomputed = await actorCritic.rollout(rolling);
    using sampled = await actorCritic.rollout({ ...rolling, recompute: false });
    expect(await sampled.rolloutLogProb.data()).toEqual(await sampled.samplerLogProb.data());
    for (const name of ['sequence', 'responseMask', 'samplerLogProb', 'rolloutValue', 'referenceLogProb'] as const)
      expect(distance(await sampled[name].data(), await recomputed[name].data())).toBeLessThan(1e-6);
    expect(distance(await sampled.rolloutLogProb.data(), await recomputed.rolloutLogProb.data())).toBeLessThan(1e-5);
  });
});

describe('a model with causal: false', () => {
  const noncausal = () => new PaLM({ ...ODD, causal: false, device });
  const error = { code: 'ERR_ARGUMENT', argument: 'causal' };

  it('cannot generate', async () => {
    using palm = noncausal();
    await expect(palm.generate({ prompts: [[1, 2]], maxNewTokens: 2 })).rejects.toMatchObject(error);
    await expect(palm.stream({ prompt: [1, 2], maxNewTokens: 2 }).next()).rejects.toMatchObject(error);
  });

  it.each([4, false] as const)('is refused as a policy and left unchanged, lora %s', async (lora) => {
    using palm = noncausal();
    expect(() => new ActorCritic(palm, { lora })).toThrow(expect.objectContaining({ code: 'ERR_ARGUMENT' }));
    expect(palm.scopes).toEqual([]);
    using loss = await palm.loss([[1, 2, 3]]);
    await loss.backward();
    using grad = await palm.parameters()[0]?.grad();
    expect(grad).not.toBeNull();
  });
});

describe('sampling', () => {
  const prompts = promptsOf(3, ODD.numTokens);
  const draw = async (palm: PaLM, more: object) => take(await palm.generate({ prompts, maxNewTokens: 12, ...more }));

  it.each([1e-40, 1e-38, 1e-9, 0.99e-6])('is greedy at temperature %s', async (temperature) => {
    using palm = await modelOf(ODD);
    for (const kernels of [true, false]) {
      const [cold, greedy] = await withKernels(kernels, async () => [
        await draw(palm, { temperature, seed: 1 }),
        await draw(palm, { temperature: 0 }),
      ]);
      expect(cold).toEqual(greedy);
    }
  });

  it('is finite at the lowest sampling temperature', async () => {
    using palm = await modelOf(ODD);
    for (const kernels of [true, false]) {
      const { logProbs } = await withKernels(kernels, () => draw(palm, { temperature: 1e-6, seed: 1 }));
      expect(logProbs.every(Number.isFinite)).toBe(true);
    }
  });

  it.each([1e-40, 9e-7])('refuses temperature %s for a policy', async (temperature) => {
    using palm = new PaLM({ ...ODD, device });
    using actorCritic = new ActorCritic(palm, { lora: false });
    const error = { code: 'ERR_ARGUMENT', argument: 'temperature' };
    await expect(actorCritic.evaluate([[1, 2]], { temperature })).rejects.toMatchObject(error);
    await expect(actorCritic.rollout({ prompts, maxNewTokens: 2, temperature })).rejects.toMatchObject(error);
  });

  it('depends on all 53 bits of a seed', async () => {
    using palm = await modelOf(ODD);
    const seeds = [7, 7 + 2 ** 32, 7 + 2 ** 33, 7 + 2 ** 52, 2 ** 32, 2 ** 53 - 1, 2 ** 32 - 1];
    const texts = new Set<string>();
    for (const seed of seeds) texts.add(JSON.stringify((await draw(palm, { seed })).tokens));
    expect(texts.size).toBe(seeds.length);
  });

  it('never draws suppressed tokens, and redistributes their probability', async () => {
    using palm = await modelOf(ODD);
    const suppress = [0, 3, 4, 18];
    for (const kernels of [true, false]) {
      for (const more of [{ seed: 2 }, { seed: 2, topK: 6 }, { temperature: 0 }]) {
        const { tokens, mask } = await withKernels(kernels, () => draw(palm, { ...more, suppress, padToken: 1 }));
        expect(tokens.filter((token, i) => mask[i] && suppress.includes(token))).toEqual([]);
      }
    }
    const all = Array.from({ length: ODD.numTokens }, (_, token) => token);
    const { logProbs, tokens, mask } = await draw(palm, { seed: 2, suppress: all.filter((token) => token !== 5) });
    expect(new Set(tokens.filter((_, i) => mask[i]))).toEqual(new Set([5]));
    expect(
      distance(
        logProbs,
        logProbs.map(() => 0),
      ),
    ).toBeLessThan(1e-6);
    const error = { code: 'ERR_ARGUMENT', argument: 'suppress' };
    await expect(draw(palm, { suppress: all })).rejects.toMatchObject(error);
    await expect(draw(palm, { suppress: [ODD.numTokens] })).rejects.toMatchObject(error);
  });

  it('never draws padding in a rollout, unless it is the eos', async () => {
    using palm = new PaLM({ numTokens: 3, dim: 8, depth: 1, heads: 1, dimHead: 8, device });
    using actorCritic = new ActorCritic(palm, { lora: 2 });
    const roll = async (special: object) => {
      const rolling = { prompts: [[0], [1]], maxNewTokens: 30, samplesPerPrompt: 4, seed: 3, ...special };
      using out = await actorCritic.rollout(rolling);
      const mask = await out.responseMask.data();
      return new Set(Array.from(await out.sequence.data(), Number).filter((_, i) => mask[i]));
    };
    expect(await roll({ padToken: 2 })).toEqual(new Set([0, 1]));
    expect(await roll({ padToken: 2, eosToken: 2 })).toEqual(new Set([0, 1, 2]));
    expect(await roll({})).toEqual(new Set([0, 1, 2]));
  });
});

describe('stop sequences', () => {
  const prompts = promptsOf(9, ODD.numTokens);
  const sampling = { prompts, maxNewTokens: 60, samplesPerPrompt: 2, seed: 11 };
  const endOf = (response: number[], stop: number[][], eos?: number) => {
    const ends = response.map((_, t) => {
      const said = response.slice(0, t + 1);
      return (
        said.at(-1) === eos ||
        stop.some((sequence) => sequence.every((token, i) => said.at(i - sequence.length) === token))
      );
    });
    return response.slice(0, ends.includes(true) ? ends.indexOf(true) + 1 : response.length);
  };
  const tokensOf = (drawn: Drawn) => responses(drawn).map((row) => row.map(({ token }) => token));

  it('end a response after their last token in any batch, without changing earlier tokens', async () => {
    using palm = await modelOf(ODD);
    const whole = tokensOf(await take(await palm.generate(sampling)));
    const [a, b, c, d] = (whole[0] as number[]).slice(20) as [number, number, number, number];
    for (const [stop, eosToken] of [[[[a, b], [c], [7, 7]]], [[[b, c, d]]], [[[a, b, c]], 5]] as [
      number[][],
      number?,
    ][]) {
      const expected = whole.map((response) => endOf(response, stop, eosToken));
      expect(expected.some((response) => response.length < 60)).toBe(true);
      for (const kernels of [true, false]) {
        const stopping = { ...sampling, stop, ...(eosToken !== undefined && { eosToken }) };
        const ended = await withKernels(kernels, async () => tokensOf(await take(await palm.generate(stopping))));
        expect(ended).toEqual(expected);
      }
    }
  });

  it('are matched only in the response, and end streams and rollouts too', async () => {
    using palm = await modelOf(ODD);
    const prompt = prompts[1] as number[];
    const whole: number[] = [];
    for await (const { token } of palm.stream({ prompt, maxNewTokens: 40, seed: 3 })) whole.push(token);
    const stop = [[prompt.at(-1) as number, whole[0] as number], whole.slice(4, 6)];
    const expected = endOf(whole, stop);
    const streamed: number[] = [];
    for await (const { token } of palm.stream({ prompt, maxNewTokens: 40, seed: 3, stop })) streamed.push(token);
    expect(streamed).toEqual(expected);
    expect(expected.length).toBeGreaterThan(1);

    using actorCritic = new ActorCritic(await modelOf(ODD), { lora: false });
    using out = await actorCritic.rollout({ prompts: [prompt], maxNewTokens: 40, seed: 3, stop });
    const mask = await out.responseMask.data();
    expect(Array.from(await out.sequence.data(), Number).filter((_, i) => mask[i])).toEqual(expected);
  });

  it.each([[[[]]], [[[ODD.numTokens]]], [[[-1]]], [[1]]])('refuse %j', async (stop) => {
    using palm = new PaLM({ ...ODD, device });
    const generation = palm.generate({ prompts: [[1]], maxNewTokens: 2, stop: stop as number[][] });
    await expect(generation).rejects.toMatchObject({ code: expect.stringMatching(/ERR_(CONFIG|ARGUMENT)/) });
  });
});

if (cpuKernels) {
  describe('int8 weights', () => {
    it.each(['float32', 'bfloat16'] as const)('stay near the distribution of a %s model', async (dtype) => {
      using palm = await modelOf({ ...ODD, dim: 64, dimHead: 16 }, dtype);
      const sampling = { prompts: promptsOf(5, ODD.numTokens), maxNewTokens: 40, seed: 2, scope: 'actor' };
      const exact = await gapToForward(palm, sampling);
      const rounded = await gapToForward(palm, { ...sampling, weights: 'int8' });
      expect(rounded).toBeGreaterThan(exact);
      expect(rounded).toBeLessThan(0.2);
      const again = await take(await palm.generate({ ...sampling, weights: 'int8' }));
      expect(again).toEqual(await take(await palm.generate({ ...sampling, weights: 'int8' })));
    });

    it.each([{ qkRmsnorm: true }, { dtype: 'float64' }] as const)('are refused for %o', async (options) => {
      const shapes = palmShapes({ ...ODD, ...('qkRmsnorm' in options ? options : {}) });
      using palm = await palmOf(drawn(shapes, 1), { ...ODD, ...options });
      const generation = palm.generate({ prompts: [[1]], maxNewTokens: 2, weights: 'int8' });
      await expect(generation).rejects.toMatchObject({ code: 'ERR_ARGUMENT', argument: 'weights' });
    });
  });
}

againWithOtherInstructions('test/decode.test.ts');

afterAll(() => addon().useKernels(true));
