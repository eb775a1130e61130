/** KTO: its trainer on labelled responses, the contract of a trainer, and what it refuses; golden/ has recorded numbers. */
import { describe, expect, it } from 'vitest';
import { type KtoConfigInput, ktoConfig } from '../src/config/kto.ts';
import { parseConfig } from '../src/config/schema.ts';
import type { Label } from '../src/data/labels.ts';
import { ArgumentError } from '../src/errors.ts';
import { ktoLoss, logRatio } from '../src/losses/kto.ts';
import { ktoMethod } from '../src/methods/kto.ts';
import { Tensor } from '../src/tensor/tensor.ts';
import { kto, mismatch } from '../src/trainers/kto.ts';
import { RunningMean } from '../src/trainers/log-ratios.ts';
import { trainerContract } from './contracts/trainer.ts';
import { device } from './device.ts';
import { model, pairs, QUICK, taken } from './pairs.ts';

function config(options: KtoConfigInput) {
  return parseConfig(ktoConfig, { ...QUICK, ...options }, 'test');
}

/** Responses of pairs, those of every third pair being bad ones. */
function labels(count: number, from = 0): Label[] {
  return pairs(count, from).map(({ prompt, chosen, rejected }, i) => {
    const good = i % 3 !== 2;
    return { prompt, response: good ? chosen : rejected, good };
  });
}

trainerContract('kto', {
  config({ rows, steps, batchSize, accumulate }, settings) {
    const epochs = Math.ceil((steps * batchSize * accumulate) / Math.max(rows, 1));
    // A step of one row has nobody else's response.
    const loss = batchSize * accumulate === 1 ? 'apo-zero-unpaired' : 'kto';
    return config({ epochs, batchSize, accumulate, loss, evaluateEvery: 50, ...settings });
  },
  ingredients: (_, rows) => ({ model: model(), labels: labels(rows), validation: labels(7, 20) }),
  resumes: { 'with all weights': { lora: false }, 'by BCO': { loss: 'bco' } },
});

async function stepsOf(options: KtoConfigInput, rows = labels(12)) {
  const { parts, train } = ktoMethod.assemble(config(options), {
    model: model(),
    labels: rows,
    validation: labels(7, 20),
  });
  using _policy = parts.weights;
  using _optimizer = parts.optimizer;
  return await taken(train());
}

describe('training by KTO', () => {
  it.each(['kto', 'apo-zero-unpaired', 'bco'] as const)('tells good responses from bad ones by %s', async (loss) => {
    const steps = await stepsOf({ loss, epochs: 8, beta: 0.5, lora: false });
    const [first, last] = [steps[0], steps.at(-1)];
    expect(first).toMatchObject({ accuracy: 0.5, desirableReward: 0, undesirableReward: 0, margin: 0 });
    expect(first?.loss).toBeCloseTo(loss === 'bco' ? Math.log(2) : 0.5, 6);
    expect(last).toMatchObject({ accuracy: 1, skipped: undefined });
    expect(last?.validationAccuracy).toBeGreaterThan(0.8);
    expect(last?.margin).toBeGreaterThan(0.5);
    expect([first?.kl, first?.delta]).toEqual([loss === 'kto' ? 0 : undefined, loss === 'bco' ? 0 : undefined]);
  });

  it.each([
    ['kto', 'kl'],
    ['bco', 'delta'],
  ] as const)('by %s measures the rows of the whole step, in 2 batches of 4 as in 1 of 8', async (loss, name) => {
    const options = { loss, epochs: 2, beta: 0.5, lora: false } as const;
    const whole = await stepsOf({ ...options, batchSize: 8 }, labels(8));
    const halves = await stepsOf({ ...options, batchSize: 4, accumulate: 2 }, labels(8));
    expect(Math.abs(whole[1]?.[name] ?? 0)).toBeGreaterThan(1e-4);
    for (const [i, step] of whole.entries()) {
      expect(halves[i]?.loss).toBeCloseTo(step.loss, 5);
      expect(halves[i]?.[name]).toBeCloseTo(step[name] as number, 5);
    }
  });

  it('tells nothing of labels that a step does not have', async () => {
    const [step] = await stepsOf(
      { epochs: 1 },
      labels(12).map((label) => ({ ...label, good: true })),
    );
    expect(step).toMatchObject({ desirable: 4, desirableReward: 0, undesirableReward: undefined, margin: undefined });
  });

  it('refuses steps of one row, an empty response, and BCO without its mean', async () => {
    using of = model();
    const single = config({ batchSize: 1 });
    expect(() => ktoMethod.assemble(single, { model: of, labels: labels(4) })).toThrow(ArgumentError);
    const empty = [...labels(3), { prompt: [1], response: [], good: true }];
    const { train, parts } = ktoMethod.assemble(config({}), { model: of, labels: empty });
    await expect(train().next()).rejects.toMatchObject({ argument: 'labels[3].response' });
    const { weights: policy, optimizer, batches } = parts;
    const bare = kto({ policy, optimizer, batches, labels: labels(4) }, config({ loss: 'bco' }));
    await expect(bare.next()).rejects.toMatchObject({ argument: 'kto parts.rewardMean' });
  });
});

describe('mismatch', () => {
  it('gives every prompt the response to the next other prompt', () => {
    const rows = [
      { prompt: [1], response: [10], good: true },
      { prompt: [1], response: [11], good: false },
      { prompt: [2], response: [12, 13], good: true },
    ];
    expect(mismatch(rows)).toEqual([
      { prompt: [1], response: [12, 13] },
      { prompt: [1], response: [12, 13] },
      { prompt: [2], response: [10] },
    ]);
    expect(mismatch(rows.slice(0, 2))).toEqual([]);
  });
});

describe('RunningMean', () => {
  it('is the mean of all values, in whatever portions, and goes on from its state', () => {
    const mean = new RunningMean();
    mean.restore(mean.including([1, 2, 6]));
    const resumed = new RunningMean();
    resumed.restore(mean.state());
    expect(resumed.including([7]).mean).toBeCloseTo(4, 12);
    expect(mean.mean).toBeCloseTo(3, 12);
  });
});

describe('ktoLoss', () => {
  const mask = [[0, 1]];
  const good = [1];

  it('refuses options that a loss does not use, or lacks', async () => {
    using one = Tensor.from([[0, -1]], { device });
    using ratios = await logRatio(one, one, mask);
    const refused = async (options: Parameters<typeof ktoLoss>[4], argument: string) =>
      await expect(ktoLoss(one, one, mask, good, options)).rejects.toMatchObject({ argument });
    await refused({ beta: 1 }, 'ktoLoss options.mismatched');
    await refused({ beta: 1, loss: 'bco' }, 'ktoLoss options.delta');
    await refused({ beta: 1, loss: 'bco', delta: 0, mismatched: [ratios] }, 'ktoLoss options.mismatched');
    await refused({ beta: 1, mismatched: [], delta: 0 }, 'ktoLoss options.delta');
    await refused({ beta: 1, loss: 'apo-zero-unpaired', mismatched: [] }, 'ktoLoss options.mismatched');
    await refused({ beta: 1, mismatched: [one] }, 'mismatched');
  });

  it('does not count an empty response', async () => {
    using now = Tensor.from(
      [
        [0, -1],
        [0, Number.NaN],
      ],
      { device },
    );
    using then = Tensor.from(
      [
        [0, -3],
        [0, -1],
      ],
      { device },
    );
    using both = await ktoLoss(
      now,
      then,
      [
        [0, 1],
        [0, 0],
      ],
      [1, 0],
      { beta: 0.5, loss: 'apo-zero-unpaired' },
    );
    expect(await both.item()).toBeCloseTo(1 - 1 / (1 + Math.exp(-1)), 6);
  });
});
