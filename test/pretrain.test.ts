/** Pretraining: the contract of a trainer, and that a model learns the text that it is given. */
import { describe, expect, it } from 'vitest';
import { type PretrainConfigInput, pretrainConfig } from '../src/config/pretrain.ts';
import { parseConfig } from '../src/config/schema.ts';
import { Batches } from '../src/data/batches.ts';
import { padRight } from '../src/data/prompts.ts';
import { type Sequences, Windows } from '../src/data/text.ts';
import { AdamW } from '../src/optim.ts';
import { PaLM } from '../src/models/palm.ts';
import { type PretrainStep, pretrain, validationLoss } from '../src/trainers/pretrain.ts';
import { trainerContract } from './contracts/trainer.ts';
import { device } from './device.ts';

const LENGTH = 12;
// Every token tells the next one, but not at once.
const tokens = Int32Array.from({ length: 400 }, (_, i) => (i * i + 3 * i) % 17);
const text = new Windows(tokens.subarray(0, 300), LENGTH);
const validation = new Windows(tokens.subarray(300), LENGTH);

/** So many rows of different lengths, filled up with 17. */
function ragged(size: number): Sequences {
  return {
    size,
    rows(numbers) {
      const rows = numbers.map((number) => Array.from({ length: 3 + number }, (_, t) => (number * t) % 17));
      const { tokens, shape } = padRight(rows, 17);
      return { tokens, shape };
    },
  };
}

const SIZE = { dim: 16, depth: 2, heads: 2, dimHead: 8, ffMult: 2 };
const VOCABULARY = { numTokens: 18, ignoreIndex: 17, seed: 3, device };

trainerContract('pretrain', {
  config: ({ steps, batchSize, accumulate }, settings) => {
    return config({ steps, batchSize, accumulate, model: SIZE, evaluateEvery: 50, ...settings });
  },
  ingredients: ({ model }, rows) => ({ model: new PaLM({ ...model, ...VOCABULARY }), text: ragged(rows), validation }),
  resumes: { 'with dropout': { model: { ...SIZE, attnDropout: 0.3, ffDropout: 0.3 } } },
});

function config(options: PretrainConfigInput) {
  return parseConfig(pretrainConfig, { batchSize: 4, warmupSteps: 2, evaluateEvery: 3, lr: 1e-2, ...options }, 'test');
}

/** A run from its beginning; nothing in `text` is padding. */
function parts({ dropout = 0 } = {}) {
  const model = new PaLM({ ...SIZE, ...VOCABULARY, attnDropout: dropout, ffDropout: dropout });
  const optimizer = new AdamW(model.parameters(), { lr: 1e-2, weightDecay: 0.1 });
  const batches = new Batches({ size: text.size, batchSize: 4, seed: 5 });
  return { model, optimizer, batches, text, validation };
}

async function collect(steps: AsyncIterable<PretrainStep>): Promise<Omit<PretrainStep, 'timing'>[]> {
  const all: Omit<PretrainStep, 'timing'>[] = [];
  for await (const { timing: _, ...step } of steps) all.push(step);
  return all;
}

describe('pretraining', () => {
  it('reduces the loss, and reports its progress', async () => {
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

  it('has a validation loss of 0 if nothing is held out', async () => {
    using model = parts().model;
    const nothing: Sequences = { size: 0, rows: () => ({ tokens: new Int32Array(0), shape: [0, 2] }) };
    expect(await validationLoss(model, nothing, { batchSize: 4, evaluateBatches: 64 })).toBe(0);
  });

  it('uses dropout only in training', async () => {
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
});

describe('the validation loss', () => {
  it('is the mean over all held-out tokens, or over evenly spaced windows', async () => {
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

  it('require a long enough text', () => {
    expect(() => new Windows(new Int32Array(3), 3, 'poem.txt')).toThrow(
      'poem.txt: got 3 tokens, expected at least 4, one more than sequenceLength.',
    );
    expect(new Windows(new Int32Array(4), 3).size).toBe(1);
  });
});
