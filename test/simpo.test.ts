/** SimPO: the contract of a trainer, and what its trainer tells of pairs; golden/ has recorded numbers of its loss. */
import { describe, expect, it } from 'vitest';
import { type SimpoConfigInput, simpoConfig } from '../src/config/simpo.ts';
import { parseConfig } from '../src/config/schema.ts';
import { simpoMethod } from '../src/methods/simpo.ts';
import { trainerContract } from './contracts/trainer.ts';
import { expectPlanned, model, pairs, QUICK, taken } from './pairs.ts';

function config(options: SimpoConfigInput) {
  return parseConfig(simpoConfig, { ...QUICK, ...options }, 'test');
}

trainerContract('simpo', {
  config({ rows, steps, batchSize, accumulate }, settings) {
    const epochs = Math.ceil((steps * batchSize * accumulate) / Math.max(rows, 1));
    return config({ epochs, batchSize, accumulate, evaluateEvery: 50, ...settings });
  },
  ingredients: (_, rows) => ({ model: model(), pairs: pairs(rows), validation: pairs(7, 20) }),
});

describe('training by SimPO', () => {
  it('makes chosen responses likelier than rejected ones', async () => {
    const { parts, train } = simpoMethod.assemble(config({ epochs: 6, lora: false }), {
      model: model(),
      pairs: pairs(12),
      validation: pairs(7, 20),
    });
    using _policy = parts.weights;
    using _optimizer = parts.optimizer;
    expect(parts.weights.hasReference).toBe(false);
    const steps = await taken(train());
    const [first, last] = [steps[0], steps.at(-1)];
    expect(steps).toHaveLength(18);
    expect(last).toMatchObject({ accuracy: 1, validationAccuracy: 1, skipped: undefined });
    expect(last?.margin).toBeGreaterThan(first?.margin ?? 0);
    expect(last?.loss).toBeLessThan(first?.loss ?? 0);
  });

  it.each([8, false] as const)('needs the memory that is planned for it, lora %s', async (lora) => {
    await expectPlanned(lora, false, (of, some) =>
      simpoMethod.assemble(config({ lora, batchSize: 3 }), { model: of, pairs: some }),
    );
  });
});
