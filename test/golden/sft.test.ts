/** Supervised fine-tuning on recorded numbers: the loss with its metrics and gradient, and how many rows packing needs. */
import { describe, expect, it } from 'vitest';
import { packSequences } from '../../src/data/packing.ts';
import { type SftMetrics, sftLoss } from '../../src/losses/text.ts';
import { predictionOf } from '../../src/models/prediction.ts';
import { casesOf, expectNumbers, flat, goldenCases, gradientOf, type Numbers } from './cases.ts';

goldenCases('sft', async ({ inputs, options, loss: recorded, metrics, gradient }, made) => {
  const { lossType, denominator } = options as { lossType: 'nll' | 'dft'; denominator?: number };
  const logits = made.parameter(inputs.logits as Numbers);
  using leaf = await logits.leaf();
  using now = await predictionOf(leaf, inputs.target as number[][]);
  using mask = made.mask(inputs.mask as Numbers);
  using loss = await sftLoss(now, mask, { loss: lossType, denominator });
  expectNumbers(await loss.item(), recorded, made.tolerance, 'loss');
  // Recorded metrics are means over this batch; ours add up over the pieces of a step, like the loss.
  const targets = flat(inputs.mask as Numbers).filter(Boolean).length;
  const found = await loss.metrics();
  for (const [name, wanted] of Object.entries(metrics)) {
    const mean = (found[name as keyof SftMetrics] * (denominator ?? targets)) / targets;
    expectNumbers(mean, wanted, 1e-6, name);
  }
  await loss.backward();
  expectNumbers(await gradientOf(logits), flat(gradient.logits as Numbers), made.tolerance, 'gradient');
});

/** Packing without contamination puts whole sequences into a row, which only `bfd` does; it cuts what is longer than a row. */
const OTHER_PACKING = {
  bfd_split: 'continues a sequence in another row, where it does not see its beginning',
  wrapped: 'lets tokens attend to other sequences, and cuts sequences anywhere',
};

describe('packing', () => {
  it.each(casesOf('packing', OTHER_PACKING))('needs as many rows as recorded, and loses nothing: $name', (one) => {
    const length = one.options.length as number;
    const { rows, tokensLost } = one.expected as unknown as { rows: number[][]; tokensLost: number };
    const all = one.inputs.sequences as number[][];
    const cut = all.map((sequence) => sequence.slice(0, length)); // packSequences refuses longer ones
    cut.sort((a, b) => b.length - a.length); // as the trainer gives them
    expect(flat(all).length - flat(cut).length).toBe(tokensLost);
    const packed = packSequences(cut, length);
    expect(packed.shape[0]).toBeLessThanOrEqual(rows.length);
    const kept = packed.tokens.filter((_, i) => packed.mask[i] === 1);
    expect(Array.from(kept).sort((a, b) => a - b)).toEqual(flat(rows).sort((a, b) => a - b));
  });
});
