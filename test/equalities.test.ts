/** The same thing computed in two ways is the same: with and without cache, merged or scoped, in pieces or at once. */
import { describe, expect, it } from 'vitest';
import { ActorCritic } from '../src/models/actor-critic.ts';
import { judge } from '../src/advantages.ts';
import { experienceRows, ppoLoss } from '../src/losses/policy.ts';
import { AdamW } from '../src/optim.ts';
import type { PaLM } from '../src/models/palm.ts';
import type { Parameter, Tensor } from '../src/tensor/tensor.ts';
import { distance, relativeDistance } from './parity/numbers.ts';
import { drawn, ids, palmOf, palmShapes, rewardModelOf, rewardShapes } from './parity/weights.ts';

const SIZE = { numTokens: 23, dim: 20, depth: 3, heads: 3, dimHead: 8, ffMult: 3 };
const FLOAT64 = { ...SIZE, dtype: 'float64' } as const;
const EXACT = 1e-10;

/** Eight sequences, right-padded with 0 to the longest. */
const LENGTHS = [11, 4, 7, 2, 9, 3, 6, 5];
const ALONE = LENGTHS.map((length, row) => ids(length, SIZE.numTokens, 40 + row));
const WIDTH = Math.max(...LENGTHS);
const PADDED = ALONE.map((row) => [...row, ...Array<number>(WIDTH - row.length).fill(0)]);
const REAL = LENGTHS.map((end) => Array.from({ length: WIDTH }, (_, t) => t < end));
/** All real tokens but the first of a row are targets. */
const TARGETS = REAL.map((row) => row.map((real, t) => real && t > 0));

function palm64(seed = 1): Promise<PaLM> {
  return palmOf(drawn(palmShapes(SIZE, { actor: 4 }), seed), FLOAT64);
}

/** The tensor's numbers, whatever their type. */
async function numbers(tensor: Tensor): Promise<number[]> {
  return Array.from(await tensor.data(), Number);
}

/** A [B, T] tensor as rows. */
async function matrix(tensor: Tensor): Promise<number[][]> {
  const flat = await numbers(tensor);
  const width = tensor.shape[1] as number;
  return Array.from({ length: tensor.shape[0] as number }, (_, row) => flat.slice(row * width, (row + 1) * width));
}

/** The gradients of all parameters, one after the other. */
async function gradients(parameters: Parameter[]): Promise<number[]> {
  const all: number[] = [];
  for (const parameter of parameters) {
    using grad = await parameter.grad();
    for (const element of (await grad?.data()) ?? []) all.push(Number(element));
  }
  return all;
}

describe('log-probs of sampled tokens equal those of the forward pass', () => {
  const prompts = [
    [3, 1, 4, 1, 5, 9, 2],
    [6, 5],
    [3, 5, 8, 9],
  ];

  it.each([
    {},
    { temperature: 0.6 },
    { topK: 4 },
    { topP: 0.7 },
    { minP: 0.15 },
    { temperature: 1.4, topK: 9, topP: 0.85, minP: 0.05 },
  ])('%o', async (sampling) => {
    using palm = await palm64();
    const eosToken = 7;
    using out = await palm.generate({
      prompts,
      maxNewTokens: 20,
      eosToken,
      seed: 5,
      scope: 'actor',
      samplesPerPrompt: 4,
      ...sampling,
    });
    using forward = await palm.forward(out.sequences, { scope: 'actor' });
    const sequences = await matrix(out.sequences);
    const mask = await matrix(out.responseMask);
    const logits = await numbers(forward.logits);
    const width = sequences[0]?.length as number;
    const expected = sequences.flatMap((sequence, row) =>
      sequence.map((token, t) => {
        if (!mask[row]?.[t]) return 0;
        const start = (row * width + t - 1) * SIZE.numTokens;
        return Math.log(distribution(logits.slice(start, start + SIZE.numTokens), sampling)[token] as number);
      }),
    );
    expect(distance(await numbers(out.logProbs), expected)).toBeLessThan(EXACT);
  });
});

interface Filters {
  temperature?: number;
  topK?: number;
  topP?: number;
  minP?: number;
}

/** The distribution that is sampled from: temperature, top-k, top-p, min-p, each on what the one before left. */
function distribution(
  logits: number[],
  { temperature = 1, topK = logits.length, topP = 1, minP = 0 }: Filters,
): number[] {
  const top = Math.max(...logits);
  const weights = logits.map((logit) => Math.exp((logit - top) / temperature));
  const order = weights.map((_, token) => token).sort((a, b) => (weights[b] as number) - (weights[a] as number));
  let kept = order.slice(0, topK);
  const mass = sum(kept.map((token) => weights[token] as number));
  let before = 0;
  kept = kept.filter((token) => {
    const keep = before < topP * mass;
    before += weights[token] as number;
    return keep;
  });
  kept = kept.filter((token) => (weights[token] as number) >= minP); // the likeliest token weighs 1
  const total = sum(kept.map((token) => weights[token] as number));
  return weights.map((weight, token) => (kept.includes(token) ? weight / total : 0));
}

function sum(values: number[]): number {
  return values.reduce((a, b) => a + b, 0);
}

describe('merging a scope into the weights', () => {
  it('preserves the logits', async () => {
    using palm = await palm64();
    using scoped = await palm.forward(PADDED, { scope: 'actor' });
    await palm.mergeScope('actor');
    using merged = await palm.forward(PADDED);
    expect(distance(await merged.logits.data(), await scoped.logits.data())).toBeLessThan(EXACT);
  });

  it('preserves what is generated', async () => {
    const sampling = { prompts: [[3, 1, 4], [1]], maxNewTokens: 16, seed: 3 };
    using palm = await palm64();
    using scoped = await palm.generate({ ...sampling, scope: 'actor' });
    await palm.mergeScope('actor');
    using merged = await palm.generate(sampling);
    expect(await numbers(merged.sequences)).toEqual(await numbers(scoped.sequences));
  });
});

describe('a row in a padded batch', () => {
  it('has the logits and embeddings that it has alone', async () => {
    using palm = await palm64();
    using batch = await palm.forward(PADDED, { scope: 'actor' });
    for (const name of ['logits', 'embeddings'] as const) {
      const together = await numbers(batch[name]);
      const size = together.length / (PADDED.length * WIDTH);
      for (const [row, tokens] of ALONE.entries()) {
        using alone = await palm.forward([tokens], { scope: 'actor' });
        const start = row * WIDTH * size;
        expect(distance(await alone[name].data(), together.slice(start, start + tokens.length * size))).toBeLessThan(
          EXACT,
        );
      }
    }
  });

  it('has the logits that it has alone, in a bidirectional model with negative ids as padding', async () => {
    using palm = await palmOf(drawn(palmShapes(SIZE), 2), { ...FLOAT64, causal: false });
    const padded = PADDED.map((row, i) => row.map((token, t) => (REAL[i]?.[t] ? token : -1)));
    using batch = await palm.forward(padded);
    const together = await numbers(batch.logits);
    for (const [row, tokens] of ALONE.entries()) {
      using alone = await palm.forward([tokens]);
      const start = row * WIDTH * SIZE.numTokens;
      const expected = together.slice(start, start + tokens.length * SIZE.numTokens);
      expect(distance(await alone.logits.data(), expected)).toBeLessThan(EXACT);
    }
  });

  it('adds the loss that it has alone', async () => {
    using palm = await palm64();
    using batch = await palm.loss(PADDED, { mask: TARGETS });
    const denominator = sum(LENGTHS.map((length) => length - 1));
    let total = 0;
    for (const tokens of ALONE) {
      using alone = await palm.loss([tokens], { denominator });
      total += await alone.item();
    }
    expect(Math.abs((await batch.item()) - total)).toBeLessThan(EXACT);
  });

  it('is continued greedily as it is alone, up to its own end', async () => {
    using palm = await palm64();
    const sampling = { maxNewTokens: 24, temperature: 0, padToken: 0 };
    using free = await palm.generate({ prompts: ALONE, ...sampling });
    // A token that some row meets and another does not, so that ends are ragged.
    const answers = (await matrix(free.sequences)).map((row, i) => row.slice(LENGTHS[i], (LENGTHS[i] as number) + 24));
    const eosToken = answers.flat().find((token) => answers.some((row) => !row.includes(token))) as number;
    using batch = await palm.generate({ prompts: ALONE, ...sampling, eosToken });
    const together = await matrix(batch.sequences);
    const mask = await matrix(batch.responseMask);
    for (const [row, prompt] of ALONE.entries()) {
      using alone = await palm.generate({ prompts: [prompt], ...sampling, eosToken });
      const [expected = []] = await matrix(alone.sequences);
      const padding = Array<number>((together[row] as number[]).length - expected.length).fill(0);
      expect(together[row]).toEqual([...expected, ...padding]);
      expect(mask[row]).toEqual([...expected.map((_, t) => Number(t >= prompt.length)), ...padding]);
    }
  });

  it('has the score that it has alone', async () => {
    using model = await rewardModelOf(drawn(rewardShapes(SIZE, 4), 6), FLOAT64);
    const promptLengths = LENGTHS.map((length) => Math.ceil(length / 3));
    using batch = await model.score(PADDED, { promptLengths, mask: REAL });
    const expected: number[] = [];
    for (const [row, tokens] of ALONE.entries()) {
      using alone = await model.score([tokens], { promptLengths: [promptLengths[row] as number] });
      expected.push(await alone.item());
    }
    expect(distance(await batch.data(), expected)).toBeLessThan(EXACT);
  });
});

const TWO_OF_FOUR = [
  [0, 1, 2, 3],
  [4, 5, 6, 7],
];
const EIGHT_OF_ONE = TWO_OF_FOUR.flat().map((row) => [row]);

/** The elements of `from` at `rows`. */
function pick<T>(from: T[], rows: number[]): T[] {
  return rows.map((row) => from[row] as T);
}

/** The loss and the gradients of a step made of these pieces, each differentiated by itself; then there are none. */
async function accumulated<Piece>(
  pieces: Piece[],
  lossOf: (piece: Piece) => Promise<Tensor>,
  optimizer: AdamW,
  parameters: Parameter[],
): Promise<{ total: number; gradient: number[] }> {
  let total = 0;
  for (const piece of pieces) {
    using loss = await lossOf(piece);
    await loss.backward();
    total += await loss.item();
  }
  const gradient = await gradients(parameters);
  optimizer.zeroGrad();
  return { total, gradient };
}

/** Expects the same step from each way of cutting it, and that there is a step at all. */
async function expectSameStep<Piece>(
  ways: Piece[][],
  lossOf: (piece: Piece) => Promise<Tensor>,
  parameters: Parameter[],
): Promise<void> {
  using optimizer = new AdamW(parameters);
  const [first, ...others] = ways as [Piece[], ...Piece[][]];
  const { total, gradient } = await accumulated(first, lossOf, optimizer, parameters);
  expect(gradient.some((element) => element !== 0)).toBe(true);
  for (const way of others) {
    const other = await accumulated(way, lossOf, optimizer, parameters);
    expect(Math.abs(other.total - total)).toBeLessThan(EXACT);
    expect(relativeDistance(other.gradient, gradient)).toBeLessThan(EXACT);
  }
}

describe('gradients of two pieces of four rows equal those of eight of one, and of the whole batch,', () => {
  const ways = [[TWO_OF_FOUR.flat()], TWO_OF_FOUR, EIGHT_OF_ONE];

  it('in the next-token loss', async () => {
    using palm = await palm64();
    const denominator = sum(LENGTHS.map((length) => length - 1));
    const lossOf = (piece: number[]) =>
      palm.loss(pick(PADDED, piece), { mask: pick(TARGETS, piece), denominator, scope: 'actor' });
    await expectSameStep(ways, lossOf, [...palm.parameters(), ...palm.parameters({ scope: 'actor' })]);
  });

  it('in reward-model regression', async () => {
    using model = await rewardModelOf(drawn(rewardShapes(SIZE, 0), 7), FLOAT64);
    const labels = [0.5, -1, 2, 1, 0, -2, 3, 0.25];
    const lossOf = (piece: number[]) =>
      model.loss(pick(PADDED, piece), { mask: pick(REAL, piece), labels: pick(labels, piece), denominator: 8 });
    await expectSameStep(ways, lossOf, model.parameters());
  });

  it('in the ranking loss with two, three and three answers per prompt', async () => {
    using model = await rewardModelOf(drawn(rewardShapes(SIZE, 0), 8), FLOAT64);
    const groups = [0, 0, 1, 1, 1, 2, 2, 2];
    const ranks = [1, 0, 1, 0, 2, 0, 0, 1];
    const lossOf = (piece: number[]) =>
      model.rankingLoss(pick(PADDED, piece), {
        mask: pick(REAL, piece),
        groups: pick(groups, piece),
        ranks: pick(ranks, piece),
        denominator: 3,
      });
    const byPrompt = [0, 1, 2].map((prompt) => TWO_OF_FOUR.flat().filter((row) => groups[row] === prompt));
    await expectSameStep([[TWO_OF_FOUR.flat()], byPrompt], lossOf, model.parameters());
  });

  it.each([{ lora: 4 }, { lora: false }] as const)('in the PPO loss, lora $lora', async ({ lora }) => {
    using palm = await palmOf(drawn(palmShapes(SIZE), 9), FLOAT64);
    using actorCritic = new ActorCritic(palm, { lora });
    using rollout = await actorCritic.rollout({ prompts: ALONE, maxNewTokens: 12, eosToken: 7, seed: 1 });
    using judgement = await judge(rollout, [1, -1, 0, 2, 0.5, -2, 1, 0], {
      klWeight: 0,
      gamma: 0.99,
      lambda: 0.95,
      whiten: true,
    });
    const experience = { ...rollout, ...judgement };
    const options = { clip: 0.05, valueClip: 0.1, valueWeight: 0.5, entropyWeight: 0.01 };
    const lengths = (await matrix(rollout.responseMask)).map(sum);
    expect(new Set(lengths).size).toBeGreaterThan(1);
    const denominator = sum(lengths);
    const lossOf = async (rows: number[]) => {
      using piece = await experienceRows(experience, rows);
      using now = await actorCritic.evaluate(piece.sequence);
      return ppoLoss(now, piece, { ...options, denominator });
    };
    {
      // One step away from the rollout, so that the value head is not 0, ratios are not 1 and some are clipped.
      using optimizer = new AdamW(actorCritic.parameters(), { lr: 0.02 });
      using loss = await lossOf(TWO_OF_FOUR.flat());
      await loss.backward();
      await optimizer.step();
      optimizer.zeroGrad();
    }
    using loss = await lossOf(TWO_OF_FOUR.flat());
    expect((await loss.metrics()).clipFraction).toBeGreaterThan(0);
    await expectSameStep(ways, lossOf, actorCritic.parameters());
  });
});

describe('generation', () => {
  it('gives the same tokens streamed and at once, from the same seed', async () => {
    using palm = await palm64();
    const sampling = { maxNewTokens: 40, temperature: 0.9, topK: 12, seed: 11, eosToken: 7 };
    const prompt = [3, 1, 4];
    const tokens: number[] = [];
    const logProbs: number[] = [];
    for await (const { token, logProb } of palm.stream({ prompt, ...sampling })) {
      tokens.push(token);
      logProbs.push(logProb);
    }
    using out = await palm.generate({ prompts: [prompt], ...sampling });
    expect([...prompt, ...tokens]).toEqual(await numbers(out.sequences));
    expect(distance(logProbs, (await numbers(out.logProbs)).slice(prompt.length))).toBeLessThan(EXACT);
  });

  it('groups the samples by prompt, in the order of the prompts', async () => {
    using palm = await palm64();
    const prompts = [[3, 1, 4], [1, 5], [9]];
    using out = await palm.generate({ prompts, maxNewTokens: 12, samplesPerPrompt: 3, seed: 2 });
    const sequences = await matrix(out.sequences);
    expect(sequences).toHaveLength(9);
    for (const [row, sequence] of sequences.entries()) {
      const prompt = prompts[Math.floor(row / 3)] as number[];
      expect(sequence.slice(0, prompt.length)).toEqual(prompt);
    }
    for (const first of [0, 3, 6]) {
      const samples = new Set(sequences.slice(first, first + 3).map(String));
      expect(samples.size).toBe(3);
    }
  });

  it('depends on the seed, and only on it', async () => {
    using palm = await palm64();
    const draw = async (seed: number) => {
      using out = await palm.generate({ prompts: [[3, 1, 4]], maxNewTokens: 24, seed });
      return numbers(out.sequences);
    };
    const first = await draw(1);
    expect(await draw(1)).toEqual(first);
    expect(await draw(2)).not.toEqual(first);
  });
});
