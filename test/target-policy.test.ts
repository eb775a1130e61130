/** Target policy optimisation: the contract of a trainer, and what is its own: groups stay together. */
import { describe, expect, it } from 'vitest';
import { ConfigError, OutOfMemoryError } from '../src/errors.ts';
import type { Optimizer } from '../src/optim.ts';
import { MicroBatch } from '../src/trainers/out-of-memory.ts';
import { minibatches } from '../src/trainers/rollouts.ts';
import { trainerContract } from './contracts/trainer.ts';
import { policySubject, scoreOf, stepsOf } from './policies.ts';

trainerContract('target-policy', {
  ...policySubject('target-policy'),
  resumes: { 'with all weights and a sharper target': { lora: false, eta: 0.5 } },
});

describe('training by target policy optimisation', () => {
  it('earns more from its reward', async () => {
    const sampling = { maxNewTokens: 6, samplesPerPrompt: 8 };
    const steps = await stepsOf('target-policy', { sampling, minibatchSize: 24, steps: 20, lora: false });
    expect(scoreOf(steps.slice(-3))).toBeGreaterThan(scoreOf(steps.slice(0, 3)) + 0.3);
    for (const { targetEntropy } of steps) {
      expect(targetEntropy).toBeGreaterThan(0);
      expect(targetEntropy).toBeLessThan(Math.log(8));
    }
  });

  it('has a target that is the policy itself where all scores are alike', async () => {
    const steps = await stepsOf('target-policy', { steps: 1, epochs: 1 }, (answers) => answers.map(() => 0.1));
    for (const { gradNorm } of steps) expect(gradNorm).toBeLessThan(1e-5);
  });

  it('keeps the answers to a prompt in one minibatch', async () => {
    for (const piece of minibatches(12, 6, { seed: 1 }, 0, 0, 3))
      for (let i = 0; i < piece.length; i += 3) {
        const first = piece[i] as number;
        expect(first % 3).toBe(0);
        expect(piece.slice(i, i + 3)).toEqual([first, first + 1, first + 2]);
      }
    const config = { sampling: { samplesPerPrompt: 5 }, minibatchSize: 12 };
    await expect(stepsOf('target-policy', config)).rejects.toThrow(ConfigError);
  });
});

it('rows that stay together are never divided when memory fails', async () => {
  const micro = new MicroBatch(12, 4);
  const asked: number[] = [];
  const failing = micro.fit({ zeroGrad: () => {} } as unknown as Optimizer, async (rows) => {
    asked.push(rows);
    throw new OutOfMemoryError({ argument: 'memory', requested: 2, available: 1 });
  });
  await expect(failing).rejects.toThrow(OutOfMemoryError);
  expect(asked).toEqual([12, 8, 4]);
});
