/** DPO: its trainer on pairs, the contract of a trainer, and what its loss refuses; golden/ has recorded numbers. */
import { describe, expect, it } from 'vitest';
import { type DpoConfigInput, dpoConfig } from '../src/config/dpo.ts';
import { parseConfig } from '../src/config/schema.ts';
import { ArgumentError, ShapeError } from '../src/errors.ts';
import { dpoLoss } from '../src/losses/preference.ts';
import { dpoMethod } from '../src/methods/dpo.ts';
import { Policy } from '../src/models/policy.ts';
import { Tensor } from '../src/tensor/tensor.ts';
import { type DpoStep, dpo } from '../src/trainers/dpo.ts';
import { trainerContract } from './contracts/trainer.ts';
import { device } from './device.ts';
import { expectPlanned, model, pairs, QUICK } from './pairs.ts';

function config(options: DpoConfigInput) {
  return parseConfig(dpoConfig, { ...QUICK, ...options }, 'test');
}

trainerContract('dpo', {
  config({ rows, steps, batchSize, accumulate }, settings) {
    const epochs = Math.ceil((steps * batchSize * accumulate) / Math.max(rows, 1));
    return config({ epochs, batchSize, accumulate, nllWeight: 0.2, evaluateEvery: 50, ...settings });
  },
  ingredients: (_, rows) => ({ model: model(), pairs: pairs(rows), validation: pairs(7, 20) }),
  resumes: {
    'with all weights': { lora: false },
    'by IPO': { loss: 'ipo' },
    'by a mixture': { mixture: { bcoWeight: 0.2 } },
  },
});

async function train(options: DpoConfigInput): Promise<{ steps: DpoStep[]; policy: Policy }> {
  const { parts, train } = dpoMethod.assemble(config(options), {
    model: model(),
    pairs: pairs(12),
    validation: pairs(7, 20),
  });
  using _ = parts.optimizer;
  const steps: DpoStep[] = [];
  for await (const step of train()) steps.push(step);
  return { steps, policy: parts.weights };
}

describe('training by DPO', () => {
  it.each([4, false] as const)('makes chosen responses likelier than the reference does, lora %s', async (lora) => {
    const { steps } = await train({ epochs: 4, lora, beta: 0.5 });
    const [first, last] = [steps[0], steps.at(-1)] as [DpoStep, DpoStep];
    expect(first).toMatchObject({ step: 1, margin: 0, chosenReward: 0, rejectedReward: 0, accuracy: 0.5 });
    expect(first.loss).toBeCloseTo(Math.log(2), 6);
    expect(last).toMatchObject({ step: 12, accuracy: 1, validationAccuracy: 1, skipped: undefined });
    expect(last.chosenReward).toBeGreaterThan(last.rejectedReward);
    expect(last.validationLoss).toBeLessThan(first.loss);
    expect(steps.filter((step) => step.validationLoss !== undefined).map(({ step }) => step)).toEqual([4, 8, 12]);
  });

  it('reports margin as the difference of the rewards', async () => {
    const { steps } = await train({ epochs: 2 });
    for (const { margin, chosenReward, rejectedReward } of steps)
      expect(margin).toBeCloseTo(chosenReward - rejectedReward, 5);
  });

  it('mixes losses, with the mean reward of the run as the threshold of BCO', async () => {
    const { steps } = await train({ epochs: 2, mixture: { lossWeight: 0.8, bcoWeight: 0.2 } });
    expect(steps[0]).toMatchObject({ delta: 0, accuracy: 0.5 });
    expect(steps[0]?.loss).toBeCloseTo(1.2 * Math.log(2), 6);
    const rewards = steps.map(({ chosenReward, rejectedReward }) => (chosenReward + rejectedReward) / 2);
    for (const [i, { delta }] of steps.entries())
      expect(delta).toBeCloseTo(
        rewards.slice(0, i + 1).reduce((sum, reward) => sum + reward / (i + 1), 0),
        5,
      );
  });

  it('needs the mean reward for it', async () => {
    const { parts } = dpoMethod.assemble(config({}), { model: model(), pairs: pairs(4) });
    const bare = dpo({ ...parts, policy: parts.weights, pairs: pairs(4) }, config({ mixture: { bcoWeight: 1 } }));
    await expect(bare.next()).rejects.toMatchObject({ argument: 'dpo parts.rewardMean' });
  });

  it('leaves the reference as it was', async () => {
    const { policy } = await train({ epochs: 2, lora: false });
    using trained = await policy.logProb([[1, 2, 3]], { grad: false });
    using reference = await policy.referenceLogProb([[1, 2, 3]]);
    using fresh = await new Policy(model()).logProb([[1, 2, 3]], { grad: false });
    expect(await reference.data()).toEqual(await fresh.logProb.data());
    expect(await trained.logProb.data()).not.toEqual(await reference.data());
  });

  it.each([8, false] as const)('needs the memory that is planned for it, lora %s', async (lora) => {
    await expectPlanned(lora, true, (of, some) =>
      dpoMethod.assemble(config({ lora, batchSize: 3 }), { model: of, pairs: some }),
    );
  });

  it.each([
    [{ loss: 'hinge', labelSmoothing: 0.1 }, 'dpo.labelSmoothing'],
    [{ loss: 'exo' }, 'dpo.labelSmoothing'],
    [{ loss: 'ipo', logRatio: { divergence: 'forward-kl' } }, 'dpo.divergence'],
    [{ logRatio: { divergence: 'forward-kl', lengthNormalised: true } }, 'dpo.divergence'],
    [{ logRatio: { divergence: 'alpha' } }, 'dpo.alpha'],
    [{ logRatio: { divergence: 'alpha', alpha: 1 } }, 'dpo.alpha'],
    [{ logRatio: { alpha: 0.5 } }, 'dpo.alpha'],
    [{ loss: 'ipo', mixture: { bcoWeight: 0.2 } }, 'dpo.bcoWeight'],
    [{ logRatio: { tailWeight: 0.5 }, mixture: { bcoWeight: 0.2 } }, 'dpo.bcoWeight'],
  ] as const)('refuses options that the loss does not use, or lacks: %j', async (options, argument) => {
    using of = model();
    expect(() => dpoMethod.assemble(config(options), { model: of, pairs: pairs(4) })).toThrow(
      expect.objectContaining({ argument }),
    );
    expect(of.scopes).toEqual([]);
  });

  it('refuses an empty response', async () => {
    const empty = [...pairs(3), { prompt: [1], chosen: [2], rejected: [] }];
    const { train } = dpoMethod.assemble(config({}), { model: model(), pairs: empty });
    await expect(train().next()).rejects.toMatchObject({ argument: 'pairs[3].rejected', received: 'no tokens' });
  });

  it('refuses a policy without a reference', async () => {
    const { parts } = dpoMethod.assemble(config({}), { model: model(), pairs: pairs(4) });
    const policy = new Policy(model(), { lora: false });
    const steps = dpo({ ...parts, policy, pairs: pairs(4) }, config({ lora: false }));
    await expect(steps.next()).rejects.toMatchObject({ argument: 'parts.policy', received: /without a reference/ });
  });
});

it('dpoLoss refuses rows that are no pairs, and shapes that differ', async () => {
  using three = Tensor.from(new Float32Array(6), { shape: [3, 2], device });
  using two = Tensor.from(new Float32Array(4), { shape: [2, 2], device });
  const options = { beta: 0.1, nllWeight: 0 };
  const mask = (rows: number) => Array.from({ length: rows }, () => [false, true]);
  await expect(dpoLoss(three, three, mask(3), options)).rejects.toBeInstanceOf(ShapeError);
  await expect(dpoLoss(two, three, mask(2), options)).rejects.toBeInstanceOf(ShapeError);
  await expect(dpoLoss(two, two, mask(2), undefined as never)).rejects.toBeInstanceOf(ArgumentError);
});
