/** Checkpoints: what is loaded is what was saved, to the bit, and a directory never holds half of one. */
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import {
  latestCheckpoint,
  loadCheckpoint,
  loadTensors,
  saveCheckpoint,
  saveTensors,
} from '../src/checkpoint/checkpoint.ts';
import { FileError } from '../src/errors.ts';
import { AdamAtan2, AdamW, AdoptAtan2, type Optimizer } from '../src/optim.ts';
import { PaLM } from '../src/palm.ts';
import { type Dtype, type Parameter, Tensor } from '../src/tensor.ts';
import { device } from './device.ts';

const SIZE = { numTokens: 19, dim: 16, depth: 2, heads: 2, dimHead: 8, ffMult: 2, device };
let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'palm-checkpoint-'));
});
afterEach(() => rmSync(folder, { recursive: true }));

const metadata = new Map<string, string>();

async function train(palm: PaLM, optimizer: Optimizer, from: number, to: number): Promise<void> {
  for (let step = from; step < to; step++) {
    using loss = await palm.loss([Array.from({ length: 9 }, (_, t) => (3 * t * step + t) % SIZE.numTokens)]);
    await loss.backward();
    await optimizer.step({ maxGradNorm: 1 });
    optimizer.zeroGrad();
  }
}

async function values(parameters: Parameter[]): Promise<number[]> {
  const all: number[] = [];
  for (const parameter of parameters) for (const value of await parameter.data()) all.push(Number(value));
  return all;
}

describe('tensors in a file', () => {
  it.each([
    ['float32', [1.5, -2]],
    ['float64', [1e300, -2]],
    ['bfloat16', [1.5, -2]],
    ['int64', [2 ** 50, -2]],
    ['int32', [7, -2]],
    ['uint8', [7, 255]],
    ['bool', [1, 0]],
  ] as [Dtype, number[]][])('%s', async (dtype, numbers) => {
    const path = join(folder, 'tensors');
    using saved = Tensor.from(numbers, { dtype, device });
    using loaded = Tensor.from([0, 0], { dtype, device });
    await saveTensors(path, { tensors: [{ name: 'x', tensor: saved }], metadata });
    await loadTensors(path, [{ name: 'x', tensor: loaded }]);
    expect(await loaded.data()).toEqual(await saved.data());
  });

  it('larger than the buffer, and of no elements', async () => {
    const path = join(folder, 'large');
    const length = 17 * 2 ** 20;
    using large = Tensor.from(Float32Array.from({ length }, (_, i) => i % 8191));
    using empty = Tensor.from(new Float32Array(0));
    await saveTensors(path, {
      tensors: [
        { name: 'large', tensor: large },
        { name: 'empty', tensor: empty },
      ],
      metadata,
    });
    using again = Tensor.from(new Float32Array(length));
    using nothing = Tensor.from(new Float32Array(0));
    await loadTensors(path, [
      { name: 'large', tensor: again },
      { name: 'empty', tensor: nothing },
    ]);
    expect(Buffer.compare(Buffer.from((await again.data()).buffer), Buffer.from((await large.data()).buffer))).toBe(0);
  });

  it('replace the old file at once or not at all', async () => {
    const path = join(folder, 'tensors');
    using tensor = Tensor.from([1], { device });
    await saveTensors(path, { tensors: [{ name: 'x', tensor }], metadata });
    const before = readFileSync(path);
    const gone = Tensor.from([2], { device });
    const contents = { tensors: [{ name: 'x', tensor: gone }], metadata };
    const saving = saveTensors(path, contents);
    gone.dispose();
    await expect(saving).rejects.toThrow();
    expect(readFileSync(path)).toEqual(before);
    expect(readdirSync(folder)).toEqual(['tensors']);
  });

  it.each([
    ['is missing', ['x', 'y'], [2], /without "y"/],
    ['is unknown', [], [2], /unknown "x"/],
    ['has another shape', ['x'], [3], /"x"/],
  ])('one that %s is named', async (_what, names, shape, message) => {
    const path = join(folder, 'tensors');
    using tensor = Tensor.from([1, 2], { device });
    await saveTensors(path, { tensors: [{ name: 'x', tensor }], metadata });
    using target = Tensor.from(new Float32Array(shape[0] as number), { device });
    const error = await loadTensors(
      path,
      names.map((name) => ({ name, tensor: target })),
    ).catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(FileError);
    expect((error as FileError).message).toMatch(message);
  });
});

describe('a run', () => {
  const optimizers: [string, (parameters: Parameter[]) => Optimizer][] = [
    ['AdamW', (parameters) => new AdamW(parameters, { lr: 0.01 })],
    ['AdoptAtan2', (parameters) => new AdoptAtan2(parameters, { lr: 0.01 })],
    ['AdamAtan2', (parameters) => new AdamAtan2(parameters, { lr: 0.01 })],
  ];

  it.each(optimizers)('resumed with %s is the run uninterrupted, to the bit', async (_name, create) => {
    for (const dtype of ['float32', 'bfloat16'] as const) {
      using straight = new PaLM({ ...SIZE, dtype });
      using optimizer = create(straight.parameters());
      await train(straight, optimizer, 0, 3);
      const path = await saveCheckpoint(folder, { step: 3, weights: straight, optimizer, state: { position: 7 } }, 2);
      await train(straight, optimizer, 3, 6);

      using resumed = new PaLM({ ...SIZE, dtype, seed: 1 });
      using other = create(resumed.parameters());
      expect(await loadCheckpoint(path, { weights: resumed, optimizer: other })).toEqual({
        step: 3,
        state: { position: 7 },
      });
      await train(resumed, other, 3, 6);
      expect(await values(resumed.parameters())).toEqual(await values(straight.parameters()));
    }
  });

  it('keeps the newest checkpoints, finds the last, and clears what a killed process left', async () => {
    const run = join(folder, 'run');
    expect(await latestCheckpoint(run)).toBeUndefined();
    using palm = new PaLM(SIZE);
    using optimizer = new AdamW(palm.parameters());
    for (const step of [1, 2, 10]) {
      await saveCheckpoint(run, { step, weights: palm, optimizer, state: null }, 2);
      mkdirSync(join(run, '.tmp-1-dead-step-000099'));
    }
    expect(await latestCheckpoint(run)).toBe(join(run, 'step-000010'));
    await saveCheckpoint(run, { step: 10, weights: palm, optimizer, state: 'again' }, 2);
    expect(readdirSync(run).sort()).toEqual(['step-000002', 'step-000010']);
    expect((await loadCheckpoint(join(run, 'step-000010'), { weights: palm, optimizer })).state).toBe('again');
  });

  it('that cannot be saved leaves nothing behind', async () => {
    using palm = new PaLM(SIZE);
    using optimizer = new AdamW(palm.parameters());
    const saving = saveCheckpoint(folder, { step: 1, weights: palm, optimizer, state: { bad: 1n } }, 2);
    await expect(saving).rejects.toBeInstanceOf(FileError);
    expect(readdirSync(folder)).toEqual([]);
    const file = join(folder, 'file');
    writeFileSync(file, '');
    const inFile = saveCheckpoint(file, { step: 1, weights: palm, optimizer, state: null }, 2);
    await expect(inFile).rejects.toBeInstanceOf(FileError);
  });

  it.each(['state.json', 'weights.safetensors', 'optimizer.safetensors'])(
    'with a damaged %s is refused',
    async (name) => {
      using palm = new PaLM(SIZE);
      using optimizer = new AdamW(palm.parameters());
      const path = await saveCheckpoint(folder, { step: 1, weights: palm, optimizer, state: null }, 2);
      writeFileSync(join(path, name), '{');
      const error = await loadCheckpoint(path, { weights: palm, optimizer }).catch((thrown: unknown) => thrown);
      expect(error).toBeInstanceOf(FileError);
      expect((error as FileError).argument).toContain(name);
      expect(existsSync(path)).toBe(true);
    },
  );

  it('is refused by the optimizer of another model', async () => {
    using palm = new PaLM(SIZE);
    using optimizer = new AdamW(palm.parameters());
    const path = await saveCheckpoint(folder, { step: 1, weights: palm, optimizer, state: null }, 2);
    using fewer = new AdamW(palm.parameters().slice(1));
    await expect(loadCheckpoint(path, { weights: palm, optimizer: fewer })).rejects.toBeInstanceOf(FileError);
  });
});
