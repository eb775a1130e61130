/** Advantages without a critic: how they relate, and 0 wherever a group has nothing to say. */
import { describe, expect, it } from 'vitest';
import { type GroupOptions, groupAdvantages, returnAdvantages } from '../src/advantages.ts';
import { ROLLOUT, type Rollout } from '../src/models/policy.ts';
import { type Dtype, Tensor } from '../src/tensor/tensor.ts';
import { device } from './device.ts';
import { distance } from './parity/numbers.ts';

interface Inputs {
  score: number[];
  /** Of each response, to the reference. */
  kl: number[];
}
/** Two prompts with four responses each. */
const inputs: Inputs = {
  score: [1, 0, 0, 1, 1.9497, 0.2694, 0.1974, 0.7968],
  kl: [0.2754, -0.0112, -0.396, 0.8608, 0.9461, 0.8033, 0.0356, -0.6593],
};

const WIDTH = 7;
/** First and last token of a response, row by row. */
const RESPONSES = [
  [1, 6],
  [3, 3],
  [2, 5],
  [1, 4],
  [3, 6],
  [2, 2],
  [1, 3],
  [2, 6],
] as const;

/** `of` of every token in a response, `outside` elsewhere: [B, T] of so many rows. */
function tokens(rows: number, of: (row: number, t: number, length: number) => number, outside: number): number[] {
  return RESPONSES.slice(0, rows).flatMap(([first, last], row) =>
    Array.from({ length: WIDTH }, (_, t) => (t < first || t > last ? outside : of(row, t - first, last - first + 1))),
  );
}

type Built = Rollout & Disposable;

/** A rollout whose responses have these KLs, each spread unevenly over its tokens; nothing outside them is a number. */
function rolloutOf(kl: readonly number[], dtype: 'float32' | 'float64'): Built {
  const Floats = dtype === 'float32' ? Float32Array : Float64Array;
  const make = (numbers: number[], type: Dtype = dtype) => {
    return Tensor.from(Floats.from(numbers), { shape: [kl.length, WIDTH], dtype: type, device });
  };
  const logProb = tokens(kl.length, (row, i) => -1 - 0.1 * row - 0.01 * i, Number.NaN);
  const share = tokens(kl.length, (row, i, length) => ((kl[row] as number) * 2 * (i + 1)) / (length * (length + 1)), 0);
  const rollout: Rollout = {
    sequence: make(Array(kl.length * WIDTH).fill(1), 'int64'),
    responseMask: make(
      tokens(kl.length, () => 1, 0),
      'bool',
    ),
    samplerLogProb: make(logProb.map((value, i) => value + (i % WIDTH) * 1e-3)),
    rolloutLogProb: make(logProb),
    referenceLogProb: make(logProb.map((value, i) => value - (share[i] as number))),
  };
  const dispose = () => {
    for (const name of ROLLOUT) rollout[name].dispose();
  };
  return { ...rollout, [Symbol.dispose]: dispose };
}

/** The advantage of each response: that of all its tokens alike, and 0 of all other tokens. */
async function advantagesOf(
  { score, kl }: Inputs,
  dtype: 'float32' | 'float64',
  options: GroupOptions,
): Promise<number[]> {
  using rollout = rolloutOf(kl, dtype);
  using scores = Tensor.from(Float64Array.from(score), { device });
  using group = await groupAdvantages(rollout, scores, options);
  expect(group.advantage.dtype).toBe(dtype);
  const all = Array.from(await group.advantage.data(), Number);
  const own = RESPONSES.slice(0, kl.length).map(([first], row) => all[row * WIDTH + first] as number);
  expect(all).toEqual(tokens(kl.length, (row) => own[row] as number, 0));
  return own;
}

describe.each([
  ['float64', 1e-9],
  ['float32', 1e-5],
] as const)('group advantages in %s', (dtype, tolerance) => {
  const GROUPS = { samplesPerPrompt: 4, klWeight: 0.05 };

  it('without scale are 3/4 of those of RLOO, which leaves each response out of its baseline', async () => {
    const found = await advantagesOf(inputs, dtype, { ...GROUPS, estimator: 'group', scale: 'none' });
    const others = await advantagesOf(inputs, dtype, { ...GROUPS, estimator: 'rloo', scale: 'none' });
    const rloo = found.map((advantage) => (advantage * 4) / 3);
    expect(distance(rloo, others)).toBeLessThan(tolerance);
  });

  it.each(['group', 'none'] as const)('are 0 in groups of one, scale %s', async (scale) => {
    const one = { samplesPerPrompt: 1, klWeight: 0.05, estimator: 'group' as const, scale };
    expect(await advantagesOf(inputs, dtype, one)).toEqual(Array(8).fill(0));
  });

  it.each(['group', 'rloo', 'max-rl', 'opo', 'pass-k'] as const)(
    'are exactly 0 if all rewards of a group are equal, estimator %s',
    async (estimator) => {
      const scale = estimator === 'group' ? 'group' : 'none';
      const equal = { score: Array(8).fill(0.1), kl: Array(8).fill(0) };
      for (const samplesPerPrompt of [8, 4, 2]) {
        const found = await advantagesOf(equal, dtype, { samplesPerPrompt, klWeight: 0, estimator, scale });
        expect(found.map(Math.abs)).toEqual(Array(8).fill(0));
      }
    },
  );

  it('of REINFORCE++ are whitened returns: their mean is 0 and their variance 1', async () => {
    using rollout = rolloutOf(inputs.kl, dtype);
    const options = { samplesPerPrompt: 4, klWeight: 0.05, gamma: 1, groupBaseline: true };
    using found = await returnAdvantages(rollout, inputs.score, options);
    const all = Array.from(await found.advantage.data(), Number);
    const own = all.filter((_, i) => Number(tokens(8, () => 1, 0)[i]) === 1);
    const mean = own.reduce((sum, value) => sum + value, 0) / own.length;
    expect(mean).toBeCloseTo(0, 5);
    expect(own.reduce((sum, value) => sum + value ** 2, 0) / own.length).toBeCloseTo(1, 5);
  });
});

const SCALED = { estimator: 'group', scale: 'group' } as const;

describe('group advantages', () => {
  it('report metrics of the rewards they were computed from', async () => {
    using rollout = rolloutOf(inputs.kl, 'float64');
    const score = [1, 1, 1, 1, ...inputs.score.slice(4)];
    using group = await groupAdvantages(rollout, score, { samplesPerPrompt: 2, klWeight: 0, ...SCALED });
    const mean = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;
    const close = (value: number) => expect.closeTo(value, 6);
    const deviations = [0, 2, 4, 6].map((i) => Math.abs((score[i] as number) - (score[i + 1] as number)) / Math.SQRT2);
    expect(await group.metrics()).toEqual({
      kl: close(mean(inputs.kl)),
      score: close(mean(score)),
      reward: close(mean(score)),
      scoreStd: close(mean(deviations)),
      zeroStdShare: close(0.5),
      responseLength: close(mean(RESPONSES.map(([first, last]) => last - first + 1))),
      samplerGap: close(6e-3),
    });
    using penalised = await groupAdvantages(rollout, score, { samplesPerPrompt: 2, klWeight: 0.1, ...SCALED });
    const { reward, zeroStdShare } = await penalised.metrics();
    expect(reward).toBeCloseTo(mean(score) - 0.1 * mean(inputs.kl), 6);
    expect(zeroStdShare).toBe(0);
  });

  it.each([3, 5, 16, 0, -4])('refuse %d samples per prompt for 8 rows', async (samplesPerPrompt) => {
    using rollout = rolloutOf(inputs.kl, 'float32');
    const refused = groupAdvantages(rollout, inputs.score, { samplesPerPrompt, klWeight: 0, ...SCALED });
    await expect(refused).rejects.toMatchObject({ code: 'ERR_ARGUMENT', argument: 'samplesPerPrompt' });
  });
});

it.each([
  [{ estimator: 'rloo', scale: 'none' }, /at least 2/, 1],
  [{ estimator: 'rloo', scale: 'group' }, /batch/, 4],
  [{ estimator: 'opo', scale: 'batch' }, /none/, 4],
  [{ estimator: 'baseline', scale: 'none' }, /baseline/, 4],
  [{ estimator: 'max-rl', scale: 'none' }, /negative/, 4],
] as const)('%j is refused where it cannot be', async (options, message, samplesPerPrompt) => {
  using rollout = rolloutOf(inputs.kl, 'float32');
  const score = inputs.score.map((each) => each - 1);
  const refused = groupAdvantages(rollout, score, { samplesPerPrompt, klWeight: 0, ...options });
  await expect(refused).rejects.toMatchObject({ code: 'ERR_ARGUMENT', message: expect.stringMatching(message) });
});
