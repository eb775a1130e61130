/** Optimizers and those who share their parameters with them: what cannot be trained, and what others write between steps. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { ActorCritic } from '../src/models/actor-critic.ts';
import { loadTensors, saveTensors } from '../src/tensor/tensor-files.ts';
import { AdamAtan2, AdamW, AdoptAtan2, type Optimizer } from '../src/optim.ts';
import { PaLM } from '../src/models/palm.ts';
import { addon } from '../src/native/addon.ts';
import { RewardModel } from '../src/models/reward-model.ts';
import { type Parameter, Tensor } from '../src/tensor/tensor.ts';
import { device } from './device.ts';
import { distance } from './parity/numbers.ts';

const SIZE = { numTokens: 19, dim: 16, depth: 2, heads: 2, dimHead: 8, ffMult: 2, seed: 1, device };
const X = [
  [1, 2, 3, 4, 5, 6],
  [7, 8, 9, 10, 11, 12],
];
const RULES = { AdamW, AdamAtan2, AdoptAtan2 };
type Rule = keyof typeof RULES;
const EVERY_RULE = Object.keys(RULES) as Rule[];
const folder = mkdtempSync(join(tmpdir(), 'palm-optimizer-'));
afterAll(() => rmSync(folder, { recursive: true }));

function make(rule: Rule, parameters: Parameter[], lr: number): Optimizer {
  return new RULES[rule](parameters, { lr, weightDecay: 0 });
}

async function values(parameters: readonly Parameter[]): Promise<number[]> {
  const all: number[] = [];
  for (const parameter of parameters) for (const value of await parameter.data()) all.push(Number(value));
  return all;
}

async function lossOf(palm: PaLM, scope?: string): Promise<number> {
  using loss = await palm.loss(X, { scope, grad: false });
  return await loss.item();
}

async function learn(palm: PaLM, optimizer: Optimizer, scope?: string) {
  using loss = await palm.loss(X, { scope });
  await loss.backward();
  const result = await optimizer.step();
  optimizer.zeroGrad();
  return result;
}

describe.each(EVERY_RULE)('%s', (rule) => {
  it('refuses frozen parameters, at construction and in steps', async () => {
    using palm = new PaLM(SIZE);
    palm.addScope('a');
    palm.addScope('b');
    palm.freeze({ except: 'a' });
    const frozen = expect.objectContaining({ code: 'ERR_ARGUMENT', argument: 'parameters' });
    for (const scope of [undefined, 'b']) expect(() => make(rule, palm.parameters({ scope }), 0.1)).toThrow(frozen);
    const parameters = palm.parameters({ scope: 'a' });
    using optimizer = make(rule, parameters, 0.1);
    await learn(palm, optimizer, 'a');
    const before = await values(parameters);
    using loss = await palm.loss(X, { scope: 'a' });
    palm.freeze({ except: 'b' });
    await loss.backward();
    await expect(optimizer.step()).rejects.toEqual(frozen);
    expect(await values(parameters)).toEqual(before);
    palm.unfreeze();
    await learn(palm, optimizer, 'a');
    expect(await values(parameters)).not.toEqual(before);
  });

  it('refuses parameters that are gone: a removed or merged scope, a head of a disposed model', async () => {
    using palm = new PaLM(SIZE);
    for (const [name, end] of [
      ['removed', () => palm.removeScope('removed')],
      ['merged', () => palm.mergeScope('merged')],
    ] as const) {
      palm.addScope(name);
      using optimizer = make(rule, palm.parameters({ scope: name }), 0.1);
      await learn(palm, optimizer, name);
      await end();
      await expect(optimizer.step(), name).rejects.toMatchObject({ code: 'ERR_DISPOSED' });
    }
    for (const reader of [new RewardModel(palm), new ActorCritic(palm)]) {
      using optimizer = make(rule, reader.parameters(), 0.1);
      reader.dispose();
      await expect(optimizer.step()).rejects.toMatchObject({ code: 'ERR_DISPOSED' });
    }
  });

  it('reports parameters that no backward pass reached, and refuses a step without any', async () => {
    using palm = new PaLM(SIZE);
    palm.addScope('a');
    palm.addScope('b');
    const [a, b] = ['a', 'b'].map((scope) => palm.parameters({ scope })) as [Parameter[], Parameter[]];
    using optimizer = make(rule, [...a, ...b], 0.1);
    const still = await values(b);
    const { unreached, skipped } = await learn(palm, optimizer, 'a');
    expect(unreached).toEqual(b.map(({ name }) => name));
    expect(skipped).toBe(false);
    expect(await values(b)).toEqual(still);
    expect((await learn(palm, optimizer, 'b')).unreached).toEqual(a.map(({ name }) => name));
    using other = make(rule, b, 0.1);
    using loss = await palm.loss(X, { scope: 'a' });
    await loss.backward();
    await expect(other.step()).rejects.toMatchObject({ code: 'ERR_ARGUMENT', received: 'no gradients' });
  });

  it('reads losses and metrics in one synchronisation', async () => {
    using palm = new PaLM(SIZE);
    using optimizer = make(rule, palm.parameters(), 0.1);
    using first = await palm.loss(X);
    using second = await palm.loss(X.slice(1));
    using more = Tensor.from([[0.5, -1]], { device });
    using counts = Tensor.from([3, 4, 5], { dtype: 'int64', device });
    for (const loss of [first, second]) await loss.backward();
    const expected = [await first.item(), await second.item()];
    const reads = addon().reads();
    const { losses, read, skipped } = await optimizer.step({ loss: [first, second], read: [more, counts] });
    expect(addon().reads()).toBe(reads + 1);
    expect({ losses, read, skipped }).toEqual({
      losses: expected,
      read: [
        [0.5, -1],
        [3, 4, 5],
      ],
      skipped: false,
    });
    expect(await optimizer.step({ loss: first })).toMatchObject({ losses: expected.slice(0, 1), read: [] });
    expect(await optimizer.step({ loss: 2 })).toMatchObject({ losses: [2] });
    expect(await optimizer.step()).toMatchObject({ losses: [] });
  });

  it('moves nothing if one of several losses is not finite', async () => {
    using palm = new PaLM(SIZE);
    using optimizer = make(rule, palm.parameters(), 0.1);
    await learn(palm, optimizer);
    const before = await values(palm.parameters());
    using good = await palm.loss(X);
    await good.backward();
    for (const number of [Number.NaN, Number.POSITIVE_INFINITY]) {
      using bad = Tensor.from(number, { device });
      const result = await optimizer.step({ loss: [good, bad] });
      expect(result).toMatchObject({ skipped: true, nonFinite: 'loss', losses: [await good.item(), number] });
    }
    expect(await values(palm.parameters())).toEqual(before);
  });

  it.each(['float32', 'bfloat16'] as const)('continues from a merged scope, %s', async (dtype) => {
    using palm = new PaLM({ ...SIZE, dtype });
    using optimizer = make(rule, palm.parameters(), 1e-6);
    await learn(palm, optimizer);
    const base = await lossOf(palm);
    palm.addScope('a');
    {
      using own = new AdamW(palm.parameters({ scope: 'a' }), { lr: 0.05, weightDecay: 0 });
      for (let step = 0; step < 10; step++) await learn(palm, own, 'a');
    }
    await palm.mergeScope('a');
    const merged = await lossOf(palm);
    expect(merged).toBeLessThan(base - 0.15);
    await learn(palm, optimizer);
    await learn(palm, optimizer);
    expect(Math.abs((await lossOf(palm)) - merged)).toBeLessThan(0.01);
  });

  it('continues from loaded weights', async () => {
    const path = join(folder, `${rule}.safetensors`);
    using other = new PaLM({ ...SIZE, dtype: 'bfloat16', seed: 2 });
    await other.save(path);
    using palm = new PaLM({ ...SIZE, dtype: 'bfloat16' });
    using optimizer = make(rule, palm.parameters(), 1e-9);
    await learn(palm, optimizer);
    await loadTensors(path, palm.contents().tensors);
    await learn(palm, optimizer);
    expect(distance(await values(palm.parameters()), await values(other.parameters()))).toBeLessThan(1e-6);
  });

  it("continues from another optimizer's update of the same bfloat16 weight", async () => {
    using parameter = Tensor.parameter([1, 2, 3], { dtype: 'bfloat16', device });
    using first = make(rule, [parameter], 1e-9);
    using second = make(rule, [parameter], 0.5);
    using grad = Tensor.from([1, 1, 1], { dtype: 'bfloat16', device });
    await parameter.setGrad(grad);
    await first.step();
    for (let step = 0; step < 2; step++) await second.step();
    const now = await values([parameter]);
    expect(now).not.toEqual([1, 2, 3]);
    await first.step();
    expect(await values([parameter])).toEqual(now);
  });

  it('keeps the precision of its masters while another trains weights of the same layer', async () => {
    const end = async (beside: boolean) => {
      using palm = new PaLM({ ...SIZE, dtype: 'bfloat16' });
      const of = (name: string) => palm.parameters().filter((parameter) => parameter.name === name);
      const [matrix, norm] = [of('layers.0.input'), of('layers.0.norm')];
      using first = make(rule, matrix, 1e-5);
      using second = make(rule, norm, 1e-3);
      for (let step = 0; step < 40; step++) {
        for (const [parameter, optimizer] of [
          [matrix[0], first],
          [norm[0], second],
        ] as [Parameter, Optimizer][]) {
          if (optimizer === second && !beside) continue;
          const size = parameter.shape.reduce((a, b) => a * b, 1);
          using grad = Tensor.from(new Float32Array(size).fill(1), { shape: parameter.shape, device });
          await parameter.setGrad(grad);
          await optimizer.step();
        }
      }
      return await values(matrix);
    };
    expect(await end(true)).toEqual(await end(false));
  });

  it('has the state of 0.1.0, and continues from it bit for bit', async () => {
    const path = join(folder, `${rule}-state.safetensors`);
    const weights = join(folder, `${rule}-weights.safetensors`);
    using palm = new PaLM({ ...SIZE, dtype: 'bfloat16' });
    using optimizer = make(rule, palm.parameters(), 0.01);
    for (let step = 0; step < 3; step++) await learn(palm, optimizer);
    const { tensors } = optimizer.contents();
    expect(tensors.slice(0, 4).map(({ name }) => name)).toEqual(['0.step', '0.exp_avg', '0.exp_avg_sq', '0.weight']);
    await saveTensors(path, optimizer.contents());
    await saveTensors(weights, palm.contents());
    await learn(palm, optimizer);

    using again = new PaLM({ ...SIZE, dtype: 'bfloat16', seed: 9 });
    using resumed = make(rule, again.parameters(), 0.01);
    await loadTensors(weights, again.contents().tensors);
    await loadTensors(path, resumed.contents().tensors);
    await learn(again, resumed);
    expect(await values(again.parameters())).toEqual(await values(palm.parameters()));
  });
});

describe('an optimizer', () => {
  it('shares its parameters with another until both are disposed of', () => {
    using palm = new PaLM(SIZE);
    const [parameter] = palm.parameters() as [Parameter];
    const first = new AdamW([parameter]);
    const second = new AdamW([parameter]);
    first.dispose();
    expect(parameter.owned).toBe(true);
    second.dispose();
    second.dispose();
    expect(parameter.owned).toBe(false);
  });
});
