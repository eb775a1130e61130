/** A critic's distribution over bins, on recorded numbers. */
import { histogramValue } from '../../src/losses/histogram.ts';
import { ppoLoss } from '../../src/losses/policy.ts';
import { Tensor } from '../../src/tensor/tensor.ts';
import { device } from '../device.ts';
import { expectNumbers, flat, goldenCases, gradientOf, type Numbers } from './cases.ts';

goldenCases('hl-gauss', async ({ inputs, options, loss, metrics, gradient }, made) => {
  const { bins, min, max, sigma } = options as Record<'bins' | 'min' | 'max' | 'sigma', number>;
  const histogram = { bins, min, max, sigma: (sigma * (bins - 1)) / (max - min) };
  const rows = (inputs.target as number[]).map((target) => [target]); // a token in each row
  const logits = made.parameter((inputs.logits as Numbers[]).map((row) => [row]));
  using valueLogits = await logits.leaf();
  const nothing = () => made.tensor(rows.map(() => [0]));
  const rollout = { samplerLogProb: nothing(), rolloutLogProb: nothing(), referenceLogProb: nothing() };
  const experience = {
    sequence: Tensor.from(new BigInt64Array(rows.length), { shape: [rows.length, 1], device }),
    responseMask: made.mask(rows.map(() => [1])),
    ...{ ...rollout, rolloutValue: nothing(), advantage: nothing(), returns: made.tensor(rows) },
  };
  const now = { logProb: nothing(), entropy: nothing(), value: nothing(), valueLogits };
  const weights = { clip: 0.2, valueClip: 0.2, valueWeight: 1, entropyWeight: 0 };
  using found = await ppoLoss(now, experience, { ...weights, histogram });
  expectNumbers(await found.item(), loss, made.tolerance, 'loss');
  await found.backward();
  const slopes = await gradientOf(logits);
  expectNumbers(slopes, flat(gradient.logits as Numbers), made.tolerance, 'gradient');
  const { targetProb, value } = metrics as unknown as Record<'targetProb' | 'value', Numbers | undefined>;
  if (targetProb !== undefined) {
    // The gradient of a cross entropy is the difference of both distributions, divided by the rows.
    const said = (inputs.logits as number[][]).flatMap(softmax);
    const targets = said.map((share, i) => share - rows.length * (slopes[i] as number));
    expectNumbers(targets, flat(targetProb), made.tolerance, 'targetProb');
  }
  if (value !== undefined) {
    using expected = await histogramValue(made.tensor(inputs.logits as Numbers), histogram);
    expectNumbers(Array.from(await expected.data(), Number), value, made.tolerance, 'value');
  }
});

function softmax(logits: number[]): number[] {
  const powers = logits.map((logit) => Math.exp(logit));
  return powers.map((power) => power / powers.reduce((sum, each) => sum + each, 0));
}
