/** Selecting responses on recorded cases, and how good it is. */
import { describe, expect, it } from 'vitest';
import { bestOfNKl, passAtK, selectResponses } from '../../src/trainers/selection.ts';
import { averageWeights, type HasParameters } from '../../src/models/average-weights.ts';
import { Tensor } from '../../src/tensor/tensor.ts';
import { combineScores } from '../../src/trainers/combined-reward.ts';
import { device } from '../device.ts';
import { casesOf, expectNumbers } from './cases.ts';

/** Responses that are letters, by prompt, each with its score. */
type Lettered = Record<string, [string, number][]>;

const TRLX = "trlX's RFT selection";
const selections = casesOf('ensembles-rft', { [TRLX]: 'its thresholds of one prompt depend on other prompts' });
const estimates = casesOf('ppo-extras').filter(({ expected }) => expected?.['passAtK [n, correct, k, value]']);

describe('selectResponses', () => {
  it.each(selections.filter(({ expected }) => expected.kept !== undefined))(
    'keeps the recorded responses: $name',
    ({ options, inputs, expected }) => {
      const { percentile } = options as { percentile: number };
      for (const [prompt, answers] of Object.entries(inputs.samples as unknown as Lettered)) {
        const responses = answers.map(([letters]) => Array.from(letters, (letter) => letter.codePointAt(0) as number));
        const scores = answers.map(([, score]) => score);
        const places = selectResponses(responses, scores, { samplesPerPrompt: answers.length, percentile });
        const kept = places.map((place) => answers[place]?.[0]);
        // The record is sorted, ours in the order of the answers.
        expect(kept.sort(), prompt).toEqual((expected.kept as unknown as Record<string, string[]>)[prompt]);
      }
    },
  );
});

const [combined, averaged] = [/mean/, /WARM/].map((kind) =>
  casesOf('ensembles-rft').filter(({ name }) => kind.test(name)),
);

describe('several reward models', () => {
  it.each(combined ?? [])('give the recorded scores: $name', ({ options, inputs, expected }) => {
    const rows = inputs.scores as number[][];
    const recorded = { mean: expected.mean, min: expected.worst, conservative: expected.uncertain };
    for (const [how, numbers] of Object.entries(recorded) as ['mean', number[]][])
      for (const [i, number] of numbers.entries()) {
        const column = rows.map((row) => row[i] as number);
        expectNumbers(combineScores(column, how, [], options.lambda as number), number, 1e-9, `${how} of answer ${i}`);
      }
  });

  it.each(averaged ?? [])('give the recorded weights: $name', async ({ inputs, expected }) => {
    const models = (inputs.weights as number[][]).map((weights) => {
      const parameter = Tensor.parameter(Float64Array.from(weights), { dtype: 'float64', device });
      return { parameters: () => [parameter] };
    });
    const [model, ...others] = models;
    await averageWeights(model as HasParameters, others);
    const value = await model?.parameters()[0]?.value();
    expectNumbers(Array.from((await value?.data()) ?? [], Number), expected.weights as number[], 1e-9, 'weights');
  });
});

describe('the estimates of selection', () => {
  it.each(estimates)('have the recorded values: $name', ({ expected }) => {
    for (const [n, correct, k, value] of expected['passAtK [n, correct, k, value]'] as [
      number,
      number,
      number,
      number,
    ][])
      expectNumbers(passAtK(n, correct, k), value, 1e-9, `pass@${k} of ${n}, ${correct} right`);
    for (const [n, kl] of expected.bestOfNKl as [number, number][])
      expectNumbers(bestOfNKl(n), kl, 1e-9, `KL of the best of ${n}`);
  });
});

it('has recorded cases of each kind, unless the folder lacks them', () => {
  if (process.env.PALM_GOLDEN_DIR === undefined) expect([selections.length, estimates.length]).toEqual([3, 1]);
  if (process.env.PALM_GOLDEN_DIR === undefined) expect([combined?.length, averaged?.length]).toEqual([1, 1]);
});
