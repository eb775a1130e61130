import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { openCheckpoints } from '../src/checkpoint/checkpoints.ts';
import { type PretrainConfigInput, pretrainConfig } from '../src/config/pretrain.ts';
import { parseConfig } from '../src/config/schema.ts';
import { Batches } from '../src/data/batches.ts';
import { padRight } from '../src/data/prompts.ts';
import { type Sequences, Windows } from '../src/data/text.ts';
import { AdamW } from '../src/optim.ts';
import { PaLM } from '../src/models/palm.ts';
import { memory, type Parameter } from '../src/tensor/tensor.ts';
import { type PretrainStep, pretrain, validationLoss } from '../src/trainers/pretrain.ts';
import { device } from './device.ts';

const folder = mkdtempSync(join(tmpdir(), 'palm-pretrain-'));
afterAll(() => rmSync(folder, { recursive: true }));

const LENGTH = 12;
// Every token tells the next one, but not at once.
const tokens = Int32Array.from({ length: 400 }, (_, i) => (i * i + 3 * i) % 17);
const text = new Windows(tokens.subarray(0, 300), LENGTH);
const validation = new Windows(tokens.subarray(300), LENGTH);

const ragged: Sequences = {
  size: 10,
  rows(numbers) {
    const { tokens, shape } = padRight(
      numbers.map((number) => Array.from({ length: 3 + number }, (_, t) => (number * t) % 17)),
      17,
    );
    return { tokens, shape };
  },
};

function config(options: PretrainConfigInput) {
  return parseConfig(pretrainConfig, { batchSize: 4, warmupSteps: 2, evaluateEvery: 3, lr: 1e-2, ...options }, 'test');
}

/** A run from its beginning; `text` has padding 17, which is no target. */
function parts(options: { dropout?: number; batchSize?: number; text?: Sequences } = {}) {
  const { dropout = 0, batchSize = 4 } = options;
  const size = { numTokens: 18, dim: 16, depth: 2, heads: 2, dimHead: 8, ffMult: 2, ignoreIndex: 17, seed: 3 };
  const model = new PaLM({ ...size, attnDropout: dropout, ffDropout: dropout, device });
  const optimizer = new AdamW(model.parameters(), { lr: 1e-2, weightDecay: 0.1 });
  const rows = options.text ?? text;
  const batches = new Batches({ size: rows.size, batchSize, seed: 5 });
  return { model, optimizer, batches, text: rows, validation };
}

const changing = ({ model, optimizer, batches }: ReturnType<typeof parts>) => ({ model, optimizer, batches });

async function collect(steps: AsyncIterable<PretrainStep>): Promise<Omit<PretrainStep, 'timing'>[]> {
  const all: Omit<PretrainStep, 'timing'>[] = [];
  for await (const { timing: _, ...step } of steps) all.push(step);
  return all;
}

const weights = (parameters: Parameter[]) => Promise.all(parameters.map((parameter) => parameter.data()));

describe('pretraining', () => {
  it('learns, and tells how far it has come', async () => {
    const run = parts();
    const before = await validationLoss(run.model, validation, { batchSize: 4, evaluateBatches: 9 });
    const steps = await collect(pretrain(run, config({ steps: 40 })));
    expect(steps.map(({ step }) => step)).toEqual(Array.from({ length: 40 }, (_, i) => i + 1));
    expect(steps[0]).toMatchObject({ learningRate: 5e-3, validationLoss: undefined, skipped: undefined });
    expect(steps[1]).toMatchObject({ learningRate: 1e-2 });
    const evaluated = steps.filter((step) => step.validationLoss !== undefined).map(({ step }) => step);
    expect(evaluated).toEqual([...Array.from({ length: 13 }, (_, i) => 3 * i + 3), 40]);
    expect(before).toBeGreaterThan(2.5);
    expect(steps.at(-1)?.validationLoss).toBeLessThan(1.5);
    expect(steps.at(-1)?.loss).toBeLessThan(1.5);
  });

  it.each([
    ['windows', text],
    ['rows of different lengths', ragged],
  ])('does the same with 2 batches of 4 as with 1 of 8, for %s', async (_name, rows) => {
    const whole = parts({ batchSize: 8, text: rows });
    const halves = parts({ batchSize: 4, text: rows });
    const one = await collect(pretrain(whole, config({ steps: 4, batchSize: 8 })));
    const two = await collect(pretrain(halves, config({ steps: 4, accumulate: 2 })));
    for (const [i, step] of one.entries()) {
      expect(two[i]?.loss).toBeCloseTo(step.loss, 5);
      expect(two[i]?.gradNorm).toBeCloseTo(step.gradNorm, 4);
    }
    const [a, b] = [await weights(whole.model.parameters()), await weights(halves.model.parameters())];
    for (const [i, values] of a.entries()) {
      values.forEach((value, j) => {
        expect(Number(b[i]?.[j])).toBeCloseTo(Number(value), 3);
      });
    }
  });

  it.each([0, 0.3])('goes on from a checkpoint bit for bit, with dropout %d', async (dropout) => {
    const settings = config({ steps: 7 });
    const straight = parts({ dropout });
    const steps = await collect(pretrain(straight, settings));

    const killed = parts({ dropout });
    const directory = join(folder, `${dropout}`);
    {
      await using checkpoints = await openCheckpoints({ directory, parts: changing(killed), every: 4 });
      for await (const { step } of checkpoints.during((start) => pretrain(killed, settings, start))) {
        if (step === 5) break;
      }
    }
    const resumed = parts({ dropout });
    await using checkpoints = await openCheckpoints({ directory, parts: changing(resumed), every: 4 });
    expect(await checkpoints.restore()).toBe(4);
    const rest = await collect(checkpoints.during((start) => pretrain(resumed, settings, start)));
    expect(rest).toEqual(steps.slice(4));
    expect(await weights(resumed.model.parameters())).toEqual(await weights(straight.model.parameters()));
  });

  it('has a validation loss of 0 where nothing is held out', async () => {
    using model = parts().model;
    const nothing: Sequences = { size: 0, rows: () => ({ tokens: new Int32Array(0), shape: [0, 2] }) };
    expect(await validationLoss(model, nothing, { batchSize: 4, evaluateBatches: 64 })).toBe(0);
  });

  it('uses dropout while it learns, and only then', async () => {
    const run = parts({ dropout: 0.5 });
    for await (const { validationLoss: told } of pretrain(run, config({ steps: 3 }))) {
      expect(run.model.training).toBe(false);
      if (told === undefined) continue;
      expect(await validationLoss(run.model, validation, { batchSize: 4, evaluateBatches: 64 })).toBe(told);
    }
    const plain = await collect(pretrain(parts(), config({ steps: 1 })));
    const dropped = await collect(pretrain(parts({ dropout: 0.5 }), config({ steps: 1 })));
    expect(dropped[0]?.loss).not.toBe(plain[0]?.loss);
  });

  it('tells of a step without a finite gradient, in which nothing moves', async () => {
    const run = parts();
    const steps = pretrain(run, config({ steps: 3, lr: 1e37, decay: 'constant', warmupSteps: 0 }));
    expect((await steps.next()).value).toMatchObject({ skipped: undefined });
    const before = await weights(run.model.parameters());
    expect((await steps.next()).value).toMatchObject({ step: 2, skipped: 1 });
    expect(await weights(run.model.parameters())).toEqual(before);
  });

  it('holds no tensor while the caller looks', async () => {
    const run = parts();
    const live: number[] = [];
    for await (const _ of pretrain(run, config({ steps: 4 }))) live.push(memory().liveTensors);
    expect(new Set(live).size).toBe(1);
  });
});

describe('the validation loss', () => {
  it('is the mean over all held-out tokens, or over windows that are spread evenly', async () => {
    const { model } = parts();
    const all = validation.rows(Array.from({ length: validation.size }, (_, i) => i));
    const nested = Array.from({ length: all.shape[0] }, (_, row) => [
      ...all.tokens.subarray(row * all.shape[1], (row + 1) * all.shape[1]),
    ]);
    using whole = await model.loss(nested);
    const losses = { batchSize: 3, evaluateBatches: 100 };
    expect(await validationLoss(model, validation, losses)).toBeCloseTo(await whole.item(), 5);
    expect(validation.size).toBe(8);
    using spread = await model.loss([nested[0], nested[2], nested[4], nested[6]] as number[][]);
    const some = await validationLoss(model, validation, { batchSize: 2, evaluateBatches: 2 });
    expect(some).toBeCloseTo(await spread.item(), 5);
  });
});

describe('windows of a text', () => {
  it('make every token but the first a target once', () => {
    const windows = new Windows(Int32Array.from([10, 11, 12, 13, 14, 15, 16, 17]), 3);
    expect(windows.size).toBe(2);
    expect(windows.rows([1, 0])).toEqual({ tokens: Int32Array.from([13, 14, 15, 16, 10, 11, 12, 13]), shape: [2, 4] });
  });

  it('need a text that is long enough', () => {
    expect(() => new Windows(new Int32Array(3), 3, 'poem.txt')).toThrow(
      'poem.txt: got 3 tokens, expected at least 4, one more than sequenceLength.',
    );
    expect(new Windows(new Int32Array(4), 3).size).toBe(1);
  });
});
