/** The optimizer step of all methods: pieces, denominators, ranks, memory that fails, numbers that are not finite. */
import { describe, expect, it } from 'vitest';
import { padRight } from '../src/data/prompts.ts';
import { alone, type World } from '../src/distributed/world.ts';
import { NumericsError, OutOfMemoryError } from '../src/errors.ts';
import { PaLM } from '../src/models/palm.ts';
import { type RankingMetrics, RewardModel } from '../src/models/reward-model.ts';
import { addon } from '../src/native/addon.ts';
import type { Loss } from '../src/tensor/loss.ts';
import { memory, type Parameter, Tensor } from '../src/tensor/tensor.ts';
import { MicroBatch } from '../src/trainers/out-of-memory.ts';
import { type UpdateOptions, update } from '../src/trainers/update.ts';
import { device } from './device.ts';
import { relativeDistance } from './parity/numbers.ts';
import { Disturbed, poisonGradient } from './poison.ts';

const PADDING = 12;
const SIZE = {
  numTokens: 13,
  dim: 16,
  depth: 1,
  heads: 2,
  dimHead: 8,
  ffMult: 2,
  ignoreIndex: PADDING,
  seed: 3,
  device,
};
/** Five and three rows of different lengths. */
const ROWS = Array.from({ length: 8 }, (_, row) => Array.from({ length: 2 + row }, (_, t) => (row * t + t) % 12));
const BATCHES = [ROWS.slice(0, 5), ROWS.slice(5)];
const targets = (rows: readonly number[][]) => rows.reduce((sum, { length }) => sum + length - 1, 0);
const OPTIONS = { denominator: targets(ROWS), maxGradNorm: 1e9, maxSkipped: 2 };

/** A language model whose gradients are noted when its optimizer is about to step. */
class Training implements Disposable {
  readonly model = new PaLM(SIZE);
  readonly parameters = this.model.parameters();
  readonly optimizer = new Disturbed(this.parameters, { lr: 1e-2 });
  /** The rows of every call of `lossOf`, and the denominators. */
  readonly pieces: (readonly number[][])[] = [];
  readonly denominators: number[] = [];
  gradient: number[] = [];

  constructor() {
    this.optimizer.disturb = async () => {
      this.gradient = await gradientOf(this.parameters);
    };
  }

  readonly lossOf = async (rows: readonly number[][], denominator: number): Promise<Tensor> => {
    this.pieces.push(rows);
    this.denominators.push(denominator);
    const { tokens, shape } = padRight([...rows], PADDING);
    using ids = Tensor.from(tokens, { shape, device });
    return await this.model.loss(ids, { denominator });
  };

  async update({ rows = 8, world = alone, lossOf = this.lossOf, ...options }: Told = {}) {
    const microBatch = new MicroBatch(rows);
    const { optimizer } = this;
    const result = await update({ optimizer, microBatch, world }, BATCHES, { ...OPTIONS, ...options }, lossOf);
    return { ...result, microBatch: microBatch.reduced };
  }

  [Symbol.dispose](): void {
    for (const each of [this.optimizer, this.model]) each.dispose();
  }
}

interface Told extends Partial<UpdateOptions> {
  rows?: number;
  world?: World;
  lossOf?: Training['lossOf'];
}

async function gradientOf(parameters: readonly Parameter[]): Promise<number[]> {
  const all: number[] = [];
  for (const parameter of parameters) {
    using grad = await parameter.grad();
    for (const number of (await grad?.data()) ?? []) all.push(Number(number));
  }
  return all;
}

async function weightsOf({ parameters }: Training): Promise<number[][]> {
  return (await Promise.all(parameters.map((parameter) => parameter.data()))).map((data) => Array.from(data, Number));
}

/** What the first step makes of the gradient that it moves by. */
async function momentsOf({ optimizer }: Training): Promise<number[]> {
  const moments = optimizer.contents().tensors.filter(({ name }) => name.endsWith('exp_avg'));
  const arrays = await Promise.all(moments.map(({ tensor }) => tensor.data()));
  return arrays.flatMap((array) => Array.from(array, Number));
}

/** A `lossOf` that fails with `error` in its `n`-th call. */
function failing(training: Training, n: number, error: Error): Training['lossOf'] {
  let calls = 0;
  return async (rows, denominator) => {
    if (++calls === n) throw error;
    return await training.lossOf(rows, denominator);
  };
}

const noMemory = () => new OutOfMemoryError({ argument: 'memory', requested: 2, available: 1 });

describe('a step', () => {
  it('accumulates all batches, in pieces of any size', async () => {
    using whole = new Training();
    using loss = await whole.lossOf(ROWS, targets(ROWS));
    await loss.backward();
    const expected = await gradientOf(whole.parameters);
    expect(expected.some((number) => number !== 0)).toBe(true);
    for (const rows of [8, 3, 1]) {
      using training = new Training();
      const { loss: told, gradNorm } = await training.update({ rows });
      expect(relativeDistance(training.gradient, expected)).toBeLessThan(1e-5);
      expect(told).toBeCloseTo(await loss.item(), 5);
      expect(gradNorm).toBeCloseTo(Math.hypot(...expected), 4);
    }
  });

  it('splits each batch into micro-batches, in order', async () => {
    using training = new Training();
    const { pieces, losses, microBatch } = await training.update({ rows: 2 });
    expect(training.pieces.map(({ length }) => length)).toEqual([2, 2, 1, 2, 1]);
    expect(training.pieces.flat()).toEqual(ROWS);
    expect(pieces).toEqual([2, 2, 1, 2, 1].map((rows) => ({ rows, metrics: {} })));
    expect(losses).toHaveLength(5);
    expect(microBatch).toBeUndefined();
  });

  it('divides by the denominator of all processes: each of two has half the gradient', async () => {
    using one = new Training();
    using two = new Training();
    const asked: number[] = [];
    const sum = async (value: number) => {
      asked.push(value);
      return 2 * value;
    };
    const { gradNorm, loss } = await one.update();
    const half = await two.update({ world: { sum } });
    expect(asked).toEqual([OPTIONS.denominator]);
    expect(one.denominators).toEqual([OPTIONS.denominator, OPTIONS.denominator]);
    expect(two.denominators).toEqual([2 * OPTIONS.denominator, 2 * OPTIONS.denominator]);
    expect(half.gradNorm).toBeCloseTo(gradNorm / 2, 6);
    expect(half.loss).toBeCloseTo(loss / 2, 6);
    expect(
      relativeDistance(
        two.gradient,
        one.gradient.map((number) => number / 2),
      ),
    ).toBeLessThan(1e-6);
  });

  it('clips the gradient to maxGradNorm, and reports the norm before clipping', async () => {
    using free = new Training();
    using clipped = new Training();
    const { gradNorm } = await free.update();
    expect((await clipped.update({ maxGradNorm: gradNorm / 4 })).gradNorm).toBe(gradNorm);
    const [moments, quarter] = [await momentsOf(free), await momentsOf(clipped)];
    const expected = moments.map((moment) => moment / 4);
    expect(relativeDistance(quarter, expected)).toBeLessThan(1e-5);
  });

  it('synchronises once, and releases gradients and losses', async () => {
    using training = new Training();
    training.optimizer.disturb = async () => {};
    const { liveTensors } = memory();
    const reads = addon().reads();
    await training.update({ rows: 2 });
    expect(addon().reads() - reads).toBe(1);
    expect(memory().liveTensors).toBe(liveTensors);
    expect(await gradientOf(training.parameters)).toHaveLength(0);
  });

  it('reports the metrics of every piece, and sums the losses in order', async () => {
    using rewardModel = new RewardModel(new PaLM(SIZE), { lora: false });
    using optimizer = new Disturbed(rewardModel.parameters(), { lr: 1e-2 });
    const pairs = Array.from({ length: 5 }, (_, i) => [
      [i, 2, 3],
      [4, 5, i + 1],
    ]);
    const lossOf = (rows: readonly number[][][], denominator: number): Promise<Loss<keyof RankingMetrics>> => {
      const order = { groups: rows.flatMap((_, i) => [i, i]), ranks: rows.flatMap(() => [0, 1]) };
      return rewardModel.rankingLoss(rows.flat(), { ...order, denominator });
    };
    const expected: { loss: number; metrics: RankingMetrics }[] = [];
    for (const rows of [pairs.slice(0, 2), pairs.slice(2, 4), pairs.slice(4)]) {
      using loss = await lossOf(rows, 5);
      expected.push({ loss: await loss.item(), metrics: await loss.metrics() });
    }
    const { liveTensors } = memory();
    const parts = { optimizer, microBatch: new MicroBatch(2) };
    const { losses, loss, pieces } = await update(parts, [pairs], { ...OPTIONS, denominator: 5 }, lossOf);
    expect(losses).toEqual(expected.map((piece) => piece.loss));
    expect(loss).toBe(expected.reduce((sum, piece) => sum + piece.loss, 0));
    expect(pieces.map(({ rows }) => rows)).toEqual([2, 2, 1]);
    expect(pieces.map(({ metrics }) => metrics)).toEqual(expected.map(({ metrics }) => metrics));
    expect(pieces[0]?.metrics.margin).not.toBe(0);
    expect(memory().liveTensors).toBe(liveTensors);
    rewardModel.model.dispose();
  });
});

describe('a step that runs out of memory', () => {
  it.each([1, 2])(
    'in call %d of lossOf, a step starts anew with half the rows, to the bit as if it had begun so',
    async (call) => {
      using halves = new Training();
      const expected = await halves.update({ rows: 4 });
      using training = new Training();
      const { liveTensors } = memory();
      const began: number[] = [];
      const begin = () => began.push(training.pieces.length);
      const found = await training.update({ lossOf: failing(training, call, noMemory()), begin });
      expect(found).toEqual({ ...expected, microBatch: 4 });
      expect(training.gradient).toEqual(halves.gradient);
      expect(await weightsOf(training)).toEqual(await weightsOf(halves));
      expect(began).toEqual([0, call - 1]);
      expect(training.pieces.slice(call - 1)).toEqual(halves.pieces);
      expect(memory().liveTensors).toBe(liveTensors);
    },
  );

  it('halves as often as necessary, and later steps start with as few rows', async () => {
    using training = new Training();
    const microBatch = new MicroBatch(8);
    const lossOf: Training['lossOf'] = async (rows, denominator) => {
      if (rows.length > 2) throw noMemory();
      return await training.lossOf(rows, denominator);
    };
    for (let step = 0; step < 2; step++) {
      training.pieces.length = 0;
      await update({ optimizer: training.optimizer, microBatch }, BATCHES, OPTIONS, lossOf);
      expect(microBatch.reduced).toBe(2);
      expect(training.pieces.map(({ length }) => length)).toEqual([2, 2, 1, 2, 1]);
    }
  });

  it('gives up at a single row, and leaves nothing behind', async () => {
    using training = new Training();
    const { liveTensors } = memory();
    const error = noMemory();
    const lossOf: Training['lossOf'] = async (rows, denominator) => {
      if (rows.includes(ROWS[1] as number[])) throw error;
      return await training.lossOf(rows, denominator);
    };
    await expect(training.update({ lossOf })).rejects.toBe(error);
    expect(memory().liveTensors).toBe(liveTensors);
    expect(await gradientOf(training.parameters)).toHaveLength(0);
    expect(training.optimizer.results).toEqual([]);
  });
});

describe('a non-finite number', () => {
  it('in a loss or gradient skips the step, which names it and moves nothing', async () => {
    using training = new Training();
    const norm = training.parameters.find(({ name }) => name === 'norm') as Parameter;
    const before = await weightsOf(training);
    using broken = Tensor.from(Number.NaN, { device });
    training.optimizer.disturb = async () => ({ loss: [broken] });
    expect(await training.update()).toMatchObject({ skipped: true, nonFinite: 'loss' });
    training.optimizer.disturb = () => poisonGradient(norm, Number.POSITIVE_INFINITY);
    await expect(training.update({ maxSkipped: 3 })).resolves.toMatchObject({
      skipped: true,
      nonFinite: 'gradient of norm',
    });
    expect(await weightsOf(training)).toEqual(before);
    training.optimizer.disturb = async () => {};
    expect(await training.update()).toMatchObject({ skipped: false, nonFinite: undefined });
    expect(await weightsOf(training)).not.toEqual(before);
  });

  it('causes an error after maxSkipped steps in a row, which leaves nothing behind', async () => {
    using training = new Training();
    training.optimizer.disturb = async () => ({ loss: Number.NaN });
    const { liveTensors } = memory();
    await training.update({ rows: 2 });
    await expect(training.update({ rows: 2 })).rejects.toBeInstanceOf(NumericsError);
    expect(memory().liveTensors).toBe(liveTensors);
    expect(await gradientOf(training.parameters)).toHaveLength(0);
  });
});

describe('any other error', () => {
  it.each([1, 3])('in call %d of lossOf is rethrown unchanged, and leaves nothing behind', async (call) => {
    using training = new Training();
    const { liveTensors } = memory();
    const error = new RangeError('no loss');
    await expect(training.update({ rows: 2, lossOf: failing(training, call, error) })).rejects.toBe(error);
    expect(memory().liveTensors).toBe(liveTensors);
    expect(await gradientOf(training.parameters)).toHaveLength(0);
    expect(training.optimizer.results).toEqual([]);
  });

  it('in differentiation disposes of the loss too', async () => {
    using training = new Training();
    const { liveTensors } = memory();
    const lossOf: Training['lossOf'] = async (rows, denominator) => {
      const loss = await training.lossOf(rows, denominator);
      await loss.backward(); // a second time is refused
      return loss;
    };
    await expect(training.update({ lossOf })).rejects.toMatchObject({ code: 'ERR_ARGUMENT', argument: 'backward' });
    expect(memory().liveTensors).toBe(liveTensors);
  });

  it('while agreeing with other processes is thrown before anything is computed', async () => {
    using training = new Training();
    const error = new Error('a rank is gone');
    await expect(training.update({ world: { sum: () => Promise.reject(error) } })).rejects.toBe(error);
    expect(training.pieces).toEqual([]);
  });
});
