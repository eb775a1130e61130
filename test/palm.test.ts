/** What makes PaLM a family of its own: its options, the decoder that they describe, and its names in the Python library. */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { openSafetensors } from '../src/files/safetensors/safetensors.ts';
import { PaLM } from '../src/models/palm.ts';
import { device } from './device.ts';
import { drawn, palmOf, palmShapes } from './parity/weights.ts';
import { pythonParameters } from './parity/python-parameters.ts';

const SIZE = { numTokens: 19, dim: 16, depth: 2, heads: 2, dimHead: 8, ffMult: 3, device };
const folder = mkdtempSync(join(tmpdir(), 'palm-family-'));
afterAll(() => rmSync(folder, { recursive: true }));

describe('the options of PaLM', () => {
  it('have defaults', () => {
    using palm = new PaLM({ numTokens: 5, dim: 4, depth: 1, device });
    expect(palm.config).toMatchObject({
      heads: 8,
      dimHead: 64,
      ffMult: 4,
      causal: true,
      ignoreIndex: -100,
      qkScale: 0.125,
    });
  });

  it('describe a decoder with one key/value head', () => {
    using palm = new PaLM({ ...SIZE, qkRmsnorm: true, qkScale: 8, rotaryXposScaleBase: 64, recompute: 'full' });
    const rope = {
      ...{ inverseFrequency: [1, 0.1, 0.01, expect.closeTo(0.001)], factor: 1, wide: true },
      ...{ xposScaleBase: 64, reach: undefined },
    };
    expect(palm.decoder).toEqual({
      ...{ numTokens: 19, usedTokens: 19, dim: 16, depth: 2, heads: 2, kvHeads: 1, dimHead: 8, ff: 48, causal: true },
      norm: { kind: 'layer', eps: 1e-5, offset: 1, weight: true, bias: false },
      ...{ form: 'pre', parallel: true, sharedNorm: true, residualFromNorm: false, finalNorm: true },
      ...{ qkvBias: false, outputBias: false, ffBias: false, gated: true, activation: 'silu' },
      qkNorm: { over: 'head', norm: { kind: 'l2', eps: 1e-12, offset: 0, weight: true, bias: false } },
      ...{ clipQkv: undefined, alibi: [], alibiRounded: false, softcap: undefined, positions: undefined },
      ...{ ropes: [rope], layers: [{ window: 0, rope: 0, scale: 8 }] },
      ...{ embeddingNorm: false, embeddingScale: 1, residualScale: 1, embeddingDim: 16 },
      ...{ tied: true, headBias: false, logitScale: 1, finalSoftcap: undefined },
      ...{ ignoreIndex: -100, attnDropout: 0, ffDropout: 0, recompute: 'full', dtype: 'float32', device },
    });
  });

  it('disable xPos if tokens attend to later tokens', () => {
    using palm = new PaLM({ ...SIZE, causal: false });
    expect(palm.decoder).toMatchObject({ causal: false, ropes: [{ xposScaleBase: undefined }] });
  });
});

describe('the names of palm-rlhf-pytorch', () => {
  it.each([false, true])('cover our parameters exactly once, qkRmsnorm %s', (qkRmsnorm) => {
    using palm = new PaLM({ ...SIZE, qkRmsnorm });
    palm.addScope('actor', { rank: 2 });
    const python = pythonParameters(palm);
    const shapes = palmShapes({ ...SIZE, qkRmsnorm }, { actor: 2 });
    expect(Object.fromEntries(python.map(({ name, shape }) => [name, shape]))).toEqual(shapes);
    const count = (all: { shape: readonly number[] }[]) =>
      all.reduce((total, { shape }) => total + shape.reduce((product, size) => product * size, 1), 0);
    expect(count(python)).toBe(count([...palm.parameters(), ...palm.parameters({ scope: 'actor' })]));
  });

  it('round-trip: a loaded file is saved with the same values under either naming', async () => {
    const weights = drawn(palmShapes({ ...SIZE, qkRmsnorm: true }, { a: 2, b: 3 }), 5);
    using palm = await palmOf(weights, { dtype: 'float64', heads: 2, dimHead: 8 });
    for (const { name, value } of pythonParameters(palm)) expect(await value(), name).toEqual(weights.get(name)?.data);

    const path = (name: string) => join(folder, `${name}.safetensors`);
    await palm.save(path('python'), { names: 'python' });
    using again = await PaLM.load(path('python'), { device });
    expect(again.config).toEqual(palm.config);
    for (const { name, value } of pythonParameters(again)) expect(await value(), name).toEqual(weights.get(name)?.data);

    await again.save(path('again'), { names: 'python' });
    expect(readFileSync(path('again'))).toEqual(readFileSync(path('python')));
    await palm.save(path('ours'));
    await again.save(path('ours-again'));
    expect(readFileSync(path('ours-again'))).toEqual(readFileSync(path('ours')));
  });

  it("have the library's shapes in files", async () => {
    const path = join(folder, 'shapes.safetensors');
    using palm = new PaLM(SIZE);
    await palm.save(path, { names: 'python' });
    await using file = await openSafetensors(path);
    for (const [name, shape] of Object.entries(palmShapes(SIZE))) expect(file.entry(name).shape, name).toEqual(shape);
    expect(file.entry('layers.1.fn.rotary_emb.inv_freq').shape).toEqual([4]);
  });
});
