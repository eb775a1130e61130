/** A language model as a user handles it: seeds, scopes, freezing, dropout, copies and files. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { AdamW } from '../src/optim.ts';
import { PaLM, type PalmConfigInput } from '../src/models/palm.ts';
import type { Parameter } from '../src/tensor/tensor.ts';
import { device } from './device.ts';

const SIZE = { numTokens: 19, dim: 16, depth: 2, heads: 2, dimHead: 8, ffMult: 2, device };
const X = [
  [1, 2, 3, 4, 5, 6],
  [7, 8, 9, 10, 11, 12],
];
const folder = mkdtempSync(join(tmpdir(), 'palm-model-'));
afterAll(() => rmSync(folder, { recursive: true }));

async function values(parameters: Parameter[]): Promise<number[]> {
  const all: number[] = [];
  for (const parameter of parameters) for (const value of await parameter.data()) all.push(Number(value));
  return all;
}

async function lossOf(palm: PaLM, scope?: string): Promise<number> {
  using loss = await palm.loss(X, { scope, grad: false });
  return await loss.item();
}

/** Names of the parameters that a backward pass reaches. */
async function reached(palm: PaLM, scope?: string): Promise<string[]> {
  using loss = await palm.loss(X, { scope });
  await loss.backward();
  const names: string[] = [];
  const scopes = [undefined, ...palm.scopes];
  for (const parameter of scopes.flatMap((name) => palm.parameters({ scope: name }))) {
    using grad = await parameter.grad();
    if (grad !== null) names.push(parameter.name);
  }
  return names;
}

/** One step, so that adapters are no longer zero. */
async function trainOnce(palm: PaLM, parameters: Parameter[], scope?: string): Promise<void> {
  using optimizer = new AdamW(parameters, { lr: 0.01 });
  using loss = await palm.loss(X, { scope });
  await loss.backward();
  await optimizer.step();
  optimizer.zeroGrad();
}

describe('a new model', () => {
  it('depends on the seed, and only on it', async () => {
    using a = new PaLM({ ...SIZE, seed: 3 });
    using b = new PaLM({ ...SIZE, seed: 3 });
    using c = new PaLM({ ...SIZE, seed: 4 });
    const first = await values(a.parameters());
    expect(await values(b.parameters())).toEqual(first);
    expect(await values(c.parameters())).not.toEqual(first);
  });

  it('starts with a loss close to uniform guessing', async () => {
    using palm = new PaLM(SIZE);
    expect(Math.abs((await lossOf(palm)) - Math.log(SIZE.numTokens))).toBeLessThan(0.2);
  });

  it('lists its parameters by name', () => {
    using palm = new PaLM({ ...SIZE, depth: 1, qkRmsnorm: true });
    palm.addScope('actor', { rank: 2 });
    const names = (parameters: Parameter[]) => parameters.map(({ name }) => name).sort();
    expect(names(palm.parameters())).toEqual(
      [
        ...['input', 'key_scale', 'norm', 'output', 'query_scale'].map((name) => `layers.0.${name}`),
        'norm',
        'token_embedding',
      ].sort(),
    );
    expect(names(palm.parameters({ scope: 'actor' }))).toContain('scopes.actor.layers.0.query.a');
    expect(palm.parameters()[0]).toBe(palm.parameters()[0]);
  });
});

describe('the loss', () => {
  it('with a denominator is the sum divided by it', async () => {
    using palm = new PaLM(SIZE);
    using mean = await palm.loss(X);
    using share = await palm.loss(X, { denominator: 20 });
    expect(await share.item()).toBeCloseTo(((await mean.item()) * 10) / 20, 5);
  });

  it('ignores ignoreIndex and masked tokens', async () => {
    using palm = new PaLM({ ...SIZE, ignoreIndex: 6 });
    using plain = await palm.loss(X);
    using masked = await palm.loss(X, { mask: X.map((row) => row.map((token) => token !== 6)) });
    expect(await plain.item()).toBe(await masked.item());
  });
});

describe('backward', () => {
  const spoilt = expect.objectContaining({
    code: 'ERR_ARGUMENT',
    argument: 'backward',
    fix: 'Compute the loss again.',
  });

  it('consumes the graph of a tensor', async () => {
    const palm = new PaLM(SIZE);
    using loss = await palm.loss(X);
    await loss.backward();
    await expect(loss.backward()).rejects.toThrow(spoilt);
  });

  it.each(['float32', 'bfloat16'] as const)('is refused if weights have changed since: %s', async (dtype) => {
    const palm = new PaLM({ ...SIZE, dtype });
    const optimizer = new AdamW(palm.parameters());
    using first = await palm.loss(X);
    using second = await palm.loss(X);
    await first.backward();
    await optimizer.step();
    await expect(second.backward()).rejects.toThrow(spoilt);
  });
});

describe('scopes', () => {
  it('change nothing until they are trained, and then only results computed with them', async () => {
    using palm = new PaLM(SIZE);
    const before = await lossOf(palm);
    palm.addScope('a', { rank: 4 });
    palm.addScope('b', { rank: 2 });
    expect(await lossOf(palm, 'a')).toBeCloseTo(before, 6);
    await trainOnce(palm, palm.parameters({ scope: 'a' }), 'a');
    expect(await lossOf(palm, 'a')).toBeLessThan(before);
    expect(await lossOf(palm, 'b')).toBeCloseTo(before, 6);
    expect(await lossOf(palm)).toBe(before);
  });

  it('differ from each other even with the same seed', async () => {
    using palm = new PaLM(SIZE);
    palm.addScope('a');
    palm.addScope('b');
    expect(await values(palm.parameters({ scope: 'a' }))).not.toEqual(await values(palm.parameters({ scope: 'b' })));
  });

  it('are gone after removal and after merging', async () => {
    using palm = new PaLM(SIZE);
    palm.addScope('a');
    palm.addScope('b');
    palm.removeScope('a');
    await palm.mergeScope('b');
    expect(palm.scopes).toEqual([]);
    expect(() => palm.parameters({ scope: 'a' })).toThrow(/no scopes/);
  });
});

describe('freezing', () => {
  it('gives gradients to everything, then only to a scope, then to everything again', async () => {
    using palm = new PaLM(SIZE);
    palm.addScope('a');
    palm.addScope('b');
    expect(await reached(palm)).toContain('token_embedding');
    for (const scope of [undefined, 'a', 'b']) {
      for (const parameter of palm.parameters({ scope })) expect(parameter.disposed).toBe(false);
    }
    palm.freeze({ except: 'a' });
    const only = await reached(palm, 'a');
    expect(only.length).toBe(palm.parameters({ scope: 'a' }).length);
    expect(only.every((name) => name.startsWith('scopes.a.'))).toBe(true);
    palm.unfreeze();
    expect(await reached(palm, 'b')).toContain('token_embedding');
  });

  it('leaves nothing to differentiate if everything is frozen', async () => {
    using palm = new PaLM(SIZE);
    palm.freeze();
    using loss = await palm.loss(X);
    await expect(loss.backward()).rejects.toMatchObject({ code: 'ERR_ARGUMENT' });
  });
});

describe('dropout', () => {
  const options = { ...SIZE, attnDropout: 0.2, ffDropout: 0.2 };

  it('is off at first, on after train, off after eval', async () => {
    using palm = new PaLM(options);
    const still = await lossOf(palm);
    expect(await lossOf(palm)).toBe(still);
    palm.train();
    expect(palm.training).toBe(true);
    expect(await lossOf(palm)).not.toBe(await lossOf(palm));
    palm.eval();
    expect(await lossOf(palm)).toBe(still);
  });

  it('depends on the seed, and continues from a saved state', async () => {
    using palm = new PaLM(options);
    palm.train({ seed: 5 });
    const first = await lossOf(palm);
    using state = await palm.generatorState();
    const second = await lossOf(palm);
    palm.train({ seed: 5 });
    expect(await lossOf(palm)).toBe(first);
    expect(await lossOf(palm)).toBe(second);
    await palm.setGeneratorState(state);
    expect(await lossOf(palm)).toBe(second);
  });
});

describe('a clone', () => {
  it('has the same weights and scopes, and is independent', async () => {
    using palm = new PaLM(SIZE);
    palm.addScope('a');
    await trainOnce(palm, palm.parameters({ scope: 'a' }), 'a');
    using copy = palm.clone();
    expect(copy.scopes).toEqual(['a']);
    const before = await lossOf(palm, 'a');
    expect(await lossOf(copy, 'a')).toBe(before);
    await trainOnce(copy, copy.parameters());
    expect(await lossOf(palm, 'a')).toBe(before);
    expect(await lossOf(copy, 'a')).not.toBe(before);
  });
});

describe('files', () => {
  it.each(['float32', 'bfloat16', 'float64'] as const)('%s comes back bit for bit', async (dtype) => {
    const path = join(folder, `${dtype}.safetensors`);
    using palm = new PaLM({ ...SIZE, dtype, qkRmsnorm: true, rotaryXposScaleBase: 64, ignoreIndex: 3 });
    palm.addScope('a', { rank: 3 });
    await trainOnce(palm, palm.parameters({ scope: 'a' }), 'a');
    await palm.save(path);
    using again = await PaLM.load(path, { device });
    expect(again.config).toEqual(palm.config);
    expect(again.scopes).toEqual(['a']);
    for (const scope of [undefined, 'a']) {
      expect(await values(again.parameters({ scope }))).toEqual(await values(palm.parameters({ scope })));
    }
    expect(await lossOf(again, 'a')).toBe(await lossOf(palm, 'a'));
  });

  it('options override settings that the weights do not determine', async () => {
    const path = join(folder, 'options.safetensors');
    using palm = new PaLM(SIZE);
    await palm.save(path);
    using again = await PaLM.load(path, { options: { dtype: 'float64', attnDropout: 0.1 }, device });
    expect(again.config).toMatchObject({ dtype: 'float64', attnDropout: 0.1, numTokens: SIZE.numTokens });
    expect(await lossOf(again)).toBeCloseTo(await lossOf(palm), 5);
  });

  it('refuse options that do not exist', async () => {
    const path = join(folder, 'unknown.safetensors');
    using palm = new PaLM(SIZE);
    await palm.save(path);
    const options = { dpeth: 2 } as Partial<PalmConfigInput>;
    await expect(PaLM.load(path, { options })).rejects.toMatchObject({ code: 'ERR_CONFIG', argument: 'PaLM.dpeth' });
  });
});

describe('bfloat16', () => {
  it('creates float32 master weights even while initialisation is still queued', async () => {
    using palm = new PaLM({ ...SIZE, dtype: 'bfloat16' });
    using optimizer = new AdamW(palm.parameters(), { lr: 1e-3 });
    const before = await lossOf(palm);
    for (let step = 0; step < 5; step++) {
      using loss = await palm.loss(X);
      await loss.backward();
      await optimizer.step();
      optimizer.zeroGrad();
    }
    const after = await lossOf(palm);
    expect(before).toBeLessThan(3.2);
    expect(after).toBeLessThan(before);
  });
});
