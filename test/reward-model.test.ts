/** A reward model as a user handles it: heads, labels and ratings, LoRA and full copies, files. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { ArgumentError, ShapeError } from '../src/errors.ts';
import { AdamW } from '../src/optim.ts';
import { PaLM } from '../src/models/palm.ts';
import { RewardModel, type RewardModelOptions } from '../src/models/reward-model.ts';
import type { Tensor } from '../src/tensor/tensor.ts';
import { device } from './device.ts';

const SIZE = { numTokens: 19, dim: 16, depth: 2, heads: 2, dimHead: 8, ffMult: 2, device };
const X = [
  [1, 2, 3, 4, 5, 6],
  [7, 8, 9, 10, 0, 0],
];
const POSITIONS = { promptLengths: [2, 3], mask: X.map((row) => row.map((token) => token > 0)) };
const folder = mkdtempSync(join(tmpdir(), 'palm-reward-'));
afterAll(() => rmSync(folder, { recursive: true }));

async function scores(model: RewardModel): Promise<number[]> {
  using score = await model.score(X, POSITIONS);
  expect(score.shape).toEqual([2]);
  return Array.from(await score.data(), Number);
}

async function learn(model: RewardModel, steps: number): Promise<number[]> {
  using optimizer = new AdamW(model.parameters(), { lr: 0.01 });
  const losses: number[] = [];
  for (let step = 0; step < steps; step++) {
    using loss = await model.rankingLoss(X, { ...POSITIONS, groups: [0, 0], ranks: [1, 0] });
    await loss.backward();
    await optimizer.step();
    optimizer.zeroGrad();
    losses.push(await loss.item());
  }
  return losses;
}

const VARIANTS: [string, RewardModelOptions][] = [
  ['LoRA, a number', {}],
  ['LoRA, bins', { numBins: 5, lora: 4 }],
  ['all weights, a number', { lora: false }],
  ['all weights, bins', { lora: false, numBins: 5 }],
];

describe.each(VARIANTS)('%s', (_name, options) => {
  it('learns which of two responses is better', async () => {
    using palm = new PaLM(SIZE);
    using model = new RewardModel(palm, options);
    const losses = await learn(model, 12);
    expect(losses.at(-1)).toBeLessThan(losses[0] as number);
    using loss = await model.rankingLoss(X, { ...POSITIONS, groups: [0, 0], ranks: [1, 0], grad: false });
    const [first, second] = (await scores(model)) as [number, number];
    const { accuracy, margin } = await loss.metrics();
    expect(accuracy).toBe(second > first ? 1 : 0);
    expect(margin).toBeCloseTo(second - first, 4);
  });

  it('is restored from its file', async () => {
    const path = join(folder, `${JSON.stringify(options)}.safetensors`);
    using palm = new PaLM(SIZE);
    using model = new RewardModel(palm, options);
    await learn(model, 2);
    await model.save(path);
    using again = await RewardModel.load(path, { device });
    expect(again.numBins).toBe(options.numBins);
    expect(again.parameters().map(({ name }) => name)).toEqual(model.parameters().map(({ name }) => name));
    expect(await scores(again)).toEqual(await scores(model));
  });

  it('reports its shapes correctly', async () => {
    using palm = new PaLM(SIZE);
    using model = new RewardModel(palm, options);
    using head = await model.forward(X, POSITIONS);
    expect(head.shape).toEqual(options.numBins === undefined ? [2] : [2, options.numBins]);
  });
});

describe('ratings', () => {
  it('map 1 ... N to the labels 0 ... N − 1', async () => {
    using palm = new PaLM(SIZE);
    using model = new RewardModel(palm, { numBins: 5 });
    using labelled = await model.loss(X, { ...POSITIONS, labels: [0, 4] });
    using rated = await model.loss(X, { ...POSITIONS, ratings: [1, 5] });
    expect(await rated.item()).toBe(await labelled.item());
  });
});

describe('training', () => {
  it('with LoRA changes the scope, the embeddings and the head, but not the trunk', async () => {
    using palm = new PaLM(SIZE);
    using model = new RewardModel(palm);
    expect(model.model).toBe(palm);
    const names = model.parameters().map(({ name }) => name);
    expect(names).toEqual(expect.arrayContaining(['prompt_embedding', 'response_embedding', 'head.weight']));
    expect(names.filter((name) => /embedding|head/.test(name))).toHaveLength(3);
    expect(names.every((name) => /embedding|head|^scopes\.reward\./.test(name))).toBe(true);
    using loss = await model.loss(X, { ...POSITIONS, labels: [1, 2] });
    await loss.backward();
    using untouched = await palm.parameters()[0]?.grad();
    expect(untouched).toBeNull();
    for (const parameter of model.parameters()) {
      using grad = await parameter.grad();
      expect(grad, parameter.name).not.toBeNull();
    }
  });

  it("has the Python library's names only in its file", async () => {
    using palm = new PaLM(SIZE);
    using model = new RewardModel(palm);
    using contents = await model.pythonContents();
    expect(contents.tensors.map(({ name }) => name)).toEqual(
      expect.arrayContaining([
        ...['prompt_embed', 'response_embed', 'to_pred.0.weight', 'palm.token_emb.weight'],
        'palm.finetune_modules.reward.0.0.A',
      ]),
    );
    expect(() => palm.parameters({ names: 'python' } as never)).toThrow(ArgumentError);
  });
});

describe('lengths of rows', () => {
  const lengths = [6, 4];
  const { promptLengths } = POSITIONS;
  const padded = (token: number) =>
    X.map((row, i) => row.map((real, t) => (t < (lengths[i] as number) ? real : token)));
  const dataOf = async (tensor: Promise<Tensor>) => {
    using read = await tensor;
    return await read.data();
  };

  it.each(VARIANTS)('are equivalent to their mask, bit for bit: %s', async (_name, options) => {
    using palm = new PaLM(SIZE);
    using model = new RewardModel(palm, { ...options, pooling: 'response' });
    expect(await dataOf(model.score(X, { promptLengths, lengths }))).toEqual(await dataOf(model.score(X, POSITIONS)));
    expect(await dataOf(model.forward(X, { lengths }))).toEqual(
      await dataOf(model.forward(X, { mask: POSITIONS.mask })),
    );
    const ranking = { groups: [0, 0], ranks: [1, 0] };
    expect(await dataOf(model.rankingLoss(X, { promptLengths, lengths, ...ranking }))).toEqual(
      await dataOf(model.rankingLoss(X, { ...POSITIONS, ...ranking })),
    );
    const labels = [1, 2];
    expect(await dataOf(model.loss(X, { promptLengths, lengths, labels }))).toEqual(
      await dataOf(model.loss(X, { ...POSITIONS, labels })),
    );
  });

  it.each([false, 4] as const)('turn any token into padding for a bidirectional trunk, lora %s', async (lora) => {
    using palm = new PaLM({ ...SIZE, causal: false });
    using model = new RewardModel(palm, { lora });
    const expected = await dataOf(model.score(padded(-1), POSITIONS));
    for (const token of [0, 5, -1]) {
      expect(await dataOf(model.score(padded(token), { promptLengths, lengths }))).toEqual(expected);
    }
    expect(await dataOf(model.score(padded(5), POSITIONS))).not.toEqual(expected);
    using alone = await model.score([(X[1] as number[]).slice(0, 4)], { promptLengths: [3] });
    expect(await alone.item()).toBeCloseTo(Number(expected[1]), 5);
  });

  it('allow any token after the end of a row, even an unknown one', async () => {
    const unknown = 1000;
    using palm = new PaLM(SIZE);
    using model = new RewardModel(palm);
    const expected = await dataOf(model.score(X, { lengths }));
    expect(await dataOf(model.score(padded(unknown), { lengths }))).toEqual(expected);
    await expect(model.score(padded(unknown))).rejects.toThrow(/1000/);
  });

  it('are refused together with a mask, or if they do not match the rows', async () => {
    using palm = new PaLM(SIZE);
    using model = new RewardModel(palm);
    const score = (positions: object) => model.score(X, positions);
    await expect(score({ lengths, mask: POSITIONS.mask })).rejects.toThrow(ArgumentError);
    await expect(score({ lengths: [6, 7] })).rejects.toThrow(ArgumentError);
    await expect(score({ lengths: [6, -1] })).rejects.toThrow(ArgumentError);
    await expect(score({ lengths: [6] })).rejects.toThrow(ShapeError);
  });
});

describe('dropout', () => {
  it('is on in training mode only, and leaves the shared trunk alone', async () => {
    using palm = new PaLM(SIZE);
    using model = new RewardModel(palm, { dropout: 0.3 });
    const still = await scores(model);
    model.train({ seed: 1 });
    const first = await scores(model);
    expect(first).not.toEqual(still);
    expect(palm.training).toBe(false);
    model.train({ seed: 1 });
    expect(await scores(model)).toEqual(first);
    model.eval();
    expect(await scores(model)).toEqual(still);
  });
});

describe('files', () => {
  it('are refused if they have another number of bins', async () => {
    const path = join(folder, 'bins.safetensors');
    using palm = new PaLM(SIZE);
    using model = new RewardModel(palm, { numBins: 3 });
    await model.save(path);
    const load = RewardModel.load(path, { options: { numBins: 5 }, device });
    await expect(load).rejects.toMatchObject({ code: 'ERR_FILE', received: 'a head with 3 bins' });
  });

  it('contain only the reward scope', async () => {
    const path = join(folder, 'scopes.safetensors');
    using palm = new PaLM(SIZE);
    palm.addScope('actor');
    using model = new RewardModel(palm);
    await model.save(path);
    using again = await RewardModel.load(path, { device });
    expect(again.model.scopes).toEqual(['reward']);
  });
});

describe('pooling over the response', () => {
  it('equals pooling over all tokens with the prompt masked out', async () => {
    using palm = new PaLM({ numTokens: 16, dim: 16, depth: 1, heads: 2, dimHead: 8, device });
    using whole = new RewardModel(palm, { lora: false, seed: 2 });
    using response = new RewardModel(palm, { lora: false, seed: 2, pooling: 'response' });
    const rows = [
      [1, 2, 3, 4, 5],
      [6, 7, 8, 9, 0],
    ];
    const promptLengths = [2, 3];
    const real = [
      [1, 1, 1, 1, 1],
      [1, 1, 1, 1, 0],
    ];
    const answer = [
      [0, 0, 1, 1, 1],
      [0, 0, 0, 1, 0],
    ];
    const data = async (score: Promise<Tensor>) => {
      using tensor = await score;
      return Array.from(await tensor.data(), Number);
    };
    const expected = await data(whole.score(rows, { promptLengths, mask: answer }));
    expect(await data(response.score(rows, { promptLengths, mask: real }))).toEqual(expected);
    expect(await data(whole.score(rows, { promptLengths, mask: real }))).not.toEqual(expected);
    expect(await data(response.score(rows, { mask: real }))).toEqual(await data(whole.score(rows, { mask: real })));
  });

  it('is recorded in files', async () => {
    using palm = new PaLM({ numTokens: 16, dim: 16, depth: 1, heads: 2, dimHead: 8, device });
    using model = new RewardModel(palm, { pooling: 'response' });
    const path = join(folder, 'pooling.safetensors');
    await model.save(path);
    using again = await RewardModel.load(path, { device });
    const options = { promptLengths: [3] };
    using before = await model.score([[1, 2, 3, 4]], options);
    using after = await again.score([[1, 2, 3, 4]], options);
    expect(await after.item()).toBe(await before.item());
    expect(() => new RewardModel(palm, { pooling: 'mean' as 'all' })).toThrow(/"all", "response" or "last"/);
  });
});

describe('a reward model in bfloat16', () => {
  const LONG = Array.from({ length: 40 }, (_, row) => Array.from({ length: 9 }, (_, t) => (row * 5 + t * t) % 19));
  const positions = { promptLengths: LONG.map(() => 3) };
  const groups = LONG.map((_, row) => row >> 1);
  const ranks = LONG.map((_, row) => row % 2);

  it.each([undefined, 5])('computes scores and losses in float32, bins %s', async (numBins) => {
    using palm = new PaLM({ ...SIZE, dtype: 'bfloat16' });
    using model = new RewardModel(palm, { numBins, lora: 4, seed: 2 });
    using score = await model.score(LONG, positions);
    using forward = await model.forward(LONG, positions);
    expect([score.dtype, forward.dtype]).toEqual(['float32', 'float32']);
    const scores = Array.from(await score.data(), Number);
    expect(scores.filter((value) => value !== bfloat16(value)).length).toBeGreaterThan(30);

    using loss = await model.rankingLoss(LONG, { ...positions, groups, ranks });
    const margins = scores.flatMap((value, row) => (row % 2 === 0 ? [value - (scores[row + 1] as number)] : []));
    const expected = margins.reduce((sum, margin) => sum + Math.log1p(Math.exp(-margin)), 0) / margins.length;
    expect(loss.dtype).toBe('float32');
    expect(await loss.item()).toBeCloseTo(expected, 5);
    const { accuracy, margin } = await loss.metrics();
    expect(accuracy).toBeCloseTo(margins.filter((value) => value > 0).length / margins.length, 6);
    expect(margin).toBeCloseTo(margins.reduce((sum, value) => sum + value, 0) / margins.length, 6);
  });

  it('does not round labels', async () => {
    using palm = new PaLM({ ...SIZE, dtype: 'bfloat16' });
    using model = new RewardModel(palm, { lora: 4, seed: 2 });
    using score = await model.score(X, POSITIONS);
    const [first, second] = Array.from(await score.data(), Number) as [number, number];
    const labels = [3.013, 2.991];
    using loss = await model.loss(X, { ...POSITIONS, labels });
    const expected = ((first - 3.013) ** 2 + (second - 2.991) ** 2) / 2;
    expect(loss.dtype).toBe('float32');
    expect(await loss.item()).toBeCloseTo(expected, 5);
  });
});

/** The nearest number of 8 significant bits. */
function bfloat16(value: number): number {
  const bits = new Uint32Array(Float32Array.of(value).buffer);
  bits[0] = ((bits[0] as number) + 0x7fff + (((bits[0] as number) >>> 16) & 1)) & 0xffff0000;
  return new Float32Array(bits.buffer)[0] as number;
}
