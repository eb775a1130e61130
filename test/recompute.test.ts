/** What is computed again in the backward pass is what would have been kept: bit for bit the same, in less memory. */
import { describe, expect, it } from 'vitest';
import { PaLM } from '../src/models/palm.ts';
import { memory, type NumericArray } from '../src/tensor/tensor.ts';
import { emulated } from './device.ts';
import { drawn, ids, palmOf, palmShapes, type Size } from './parity/weights.ts';

const LEVELS = ['none', 'selective', 'full'] as const;
const ODD: Size = { numTokens: 19, dim: 24, depth: 3, heads: 3, dimHead: 6, ffMult: 3 };

/** The loss, and the gradient of every parameter that has one. */
async function readings(palm: PaLM, tokens: number[][], segments: number[][] | undefined, scope: string | undefined) {
  if (scope !== undefined) palm.freeze({ except: scope });
  using loss = await palm.loss(tokens, { scope, segments });
  await loss.backward();
  const gradients: [string, NumericArray][] = [];
  for (const parameter of [...palm.parameters(), ...palm.parameters({ scope: 'actor' })]) {
    using grad = await parameter.grad();
    if (grad !== null) gradients.push([parameter.name, (await grad.data()) as NumericArray]);
  }
  return { loss: await loss.item(), gradients };
}

describe.each(['float32', 'bfloat16'] as const)('in %s', (dtype) => {
  const tokens = [ids(41, ODD.numTokens, 1), ids(41, ODD.numTokens, 2)];
  const segments = tokens.map(() => Array.from({ length: 41 }, (_, t) => Math.floor(t / 15)));
  const cases = [
    { name: 'all weights', scope: undefined, packed: undefined },
    { name: 'adapters over frozen weights', scope: 'actor', packed: undefined },
    { name: 'several sequences in a row', scope: undefined, packed: segments },
  ];

  it.each(cases)('$name gives the same loss and gradients at every level', async ({ scope, packed }) => {
    const weights = drawn(palmShapes(ODD, { actor: 2 }), 5);
    const at = async (recompute: (typeof LEVELS)[number]) => {
      using palm = await palmOf(weights, { ...ODD, dtype, recompute });
      return await readings(palm, tokens, packed, scope);
    };
    const kept = await at('none');
    expect(kept.gradients.length).toBe(scope === undefined ? 11 : 24);
    for (const level of ['selective', 'full'] as const) expect(await at(level)).toEqual(kept);
  });

  it.skipIf(emulated)('each level uses less memory than the one before', async () => {
    const peaks: number[] = [];
    for (const recompute of LEVELS) {
      using palm = new PaLM({ numTokens: 64, dim: 128, depth: 10, heads: 4, dimHead: 32, dtype, recompute });
      // On the CPU, whose allocator knows; deep enough that the scratch of 16 threads does not blur it.
      const rows = Array.from({ length: 8 }, (_, row) => ids(129, 64, row));
      {
        using first = await palm.loss(rows);
        await first.backward(); // makes room for the gradients
        await first.item();
      }
      const { usedBytes } = memory({ resetPeak: true });
      using loss = await palm.loss(rows);
      await loss.backward();
      await loss.item();
      peaks.push(memory().peakBytes - usedBytes);
    }
    const [none, selective, full] = peaks as [number, number, number];
    expect(selective).toBeLessThan(0.85 * none);
    expect(full).toBeLessThan(0.6 * selective);
  });
});
