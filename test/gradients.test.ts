/** Gradients against central differences, in float64 along a random direction per parameter. */
import { describe, expect, it } from 'vitest';
import type { PaLM } from '../src/models/palm.ts';
import type { RewardModel } from '../src/models/reward-model.ts';
import type { Tensor } from '../src/tensor/tensor.ts';
import type { Recorded, RecordedTensors } from './parity/numbers.ts';
import { pythonParameters } from './parity/python-parameters.ts';
import { drawn, ids, normals, palmOf, palmShapes, rewardModelOf, rewardShapes } from './parity/weights.ts';

const SIZE = { numTokens: 13, dim: 10, depth: 2, heads: 3, dimHead: 6, ffMult: 3 };
const FLOAT64 = { ...SIZE, dtype: 'float64' } as const;
const STEP = 1e-6;
const TOLERANCE = 1e-6;

const X = [ids(9, SIZE.numTokens, 1), ids(9, SIZE.numTokens, 2)];
const MASK = [9, 6].map((end) => Array.from({ length: 9 }, (_, t) => t > 2 && t < end));

/** Compares ∂loss/∂p · d with (loss(p + εd) − loss(p − εd)) / 2ε for each weight p. */
async function expectGradientsOf<Model extends PaLM | RewardModel>(
  weights: RecordedTensors,
  load: (weights: RecordedTensors) => Promise<Model>,
  lossOf: (model: Model) => Promise<Tensor>,
): Promise<void> {
  using model = await load(weights);
  using loss = await lossOf(model);
  expect(loss.dtype).toBe('float64');
  await loss.backward();
  const differences: Record<string, { slope: number; expected: number }> = {};
  const parameters = pythonParameters(model);
  expect(parameters.map(({ name }) => name).sort()).toEqual([...weights.keys()]);
  for (const [k, parameter] of parameters.entries()) {
    const weight = weights.get(parameter.name) as Recorded;
    const normal = normals(100 + k);
    const direction = weight.data.map(() => normal());
    const shifted = async (by: number): Promise<number> => {
      const data = weight.data.map((value, i) => value + by * (direction[i] as number));
      using other = await load(new Map([...weights, [parameter.name, { ...weight, data }]]));
      using value = await lossOf(other);
      return value.item();
    };
    const expected = ((await shifted(STEP)) - (await shifted(-STEP))) / (2 * STEP);
    const slope = ((await parameter.grad()) ?? new Float64Array()).reduce(
      (sum, g, i) => sum + g * (direction[i] as number),
      0,
    );
    if (!(Math.abs(slope - expected) <= TOLERANCE * Math.max(1, Math.abs(expected)))) {
      differences[parameter.name] = { slope, expected };
    }
  }
  expect(differences).toEqual({});
}

describe('gradients of the next-token loss', () => {
  it.each([{ qkRmsnorm: false }, { qkRmsnorm: true }])('under a scope and a mask, $qkRmsnorm', async (variant) => {
    const weights = drawn(palmShapes({ ...SIZE, ...variant }, { actor: 2 }), 3);
    await expectGradientsOf<PaLM>(
      weights,
      (changed) => palmOf(changed, { ...FLOAT64, ...variant }),
      (palm) => palm.loss(X, { scope: 'actor', mask: MASK }),
    );
  });

  it('of a bidirectional model', async () => {
    await expectGradientsOf<PaLM>(
      drawn(palmShapes(SIZE), 4),
      (changed) => palmOf(changed, { ...FLOAT64, causal: false }),
      (palm) => palm.loss(X),
    );
  });
});

describe('gradients of the reward-model losses', () => {
  const promptLengths = [3, 2];
  const mask = [9, 6].map((end) => Array.from({ length: 9 }, (_, t) => t < end));
  const load = (weights: RecordedTensors) => rewardModelOf(weights, FLOAT64);

  it('are right for regression on labels', async () => {
    await expectGradientsOf<RewardModel>(drawn(rewardShapes(SIZE, 0), 5), load, (model) =>
      model.loss(X, { promptLengths, mask, labels: [1, -2] }),
    );
  });

  it('are right for the ranking of two responses', async () => {
    await expectGradientsOf<RewardModel>(drawn(rewardShapes(SIZE, 0), 6), load, (model) =>
      model.rankingLoss(X, { groups: [0, 0], ranks: [1, 0], promptLengths, mask }),
    );
  });
});
