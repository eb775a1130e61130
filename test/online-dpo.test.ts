/** Online DPO: the contract of a trainer, which answers are compared, and that it earns more. */
import { describe, expect, it } from 'vitest';
import { ArgumentError, ConfigError, Policy } from '../src/index.ts';
import { methods } from '../src/methods.ts';
import { bestAndWorst } from '../src/trainers/online-dpo.ts';
import { trainerContract } from './contracts/trainer.ts';
import { configOf, EOS, policySubject, PROMPTS, scoreOf, smallModel, stepsOf, sums } from './policies.ts';

const subject = policySubject('online-dpo', { score: { norm: 'none' } });
trainerContract('online-dpo', subject);

describe('online DPO', () => {
  it('compares the best answer to a prompt with the worst, the first of equal ones, and leaves ties out', () => {
    expect(bestAndWorst([1, 4, 2, 0, 5, 5, 5, 5, 3, 7, 7, 3], 4)).toEqual([
      [1, 3],
      [9, 8],
    ]);
    expect(bestAndWorst([1, 1], 2)).toEqual([]);
  });

  it('earns more from its reward, and learns to tell answers apart', async () => {
    const sampling = { maxNewTokens: 6, samplesPerPrompt: 8 };
    const options = { sampling, minibatchSize: 12, steps: 25, lora: false, beta: 0.5, epochs: 2 };
    const steps = await stepsOf('online-dpo', options);
    expect(scoreOf(steps.slice(-3))).toBeGreaterThan(scoreOf(steps.slice(0, 3)) + 0.3);
    expect(steps.every(({ accuracy }) => accuracy === undefined || Number.isFinite(accuracy))).toBe(true);
  });

  it('learns nothing from scores that are all alike, and says so', async () => {
    const steps = await stepsOf('online-dpo', { steps: 2 }, (answers) => answers.map(() => 1));
    for (const step of steps) expect(step).toMatchObject({ ties: 6, gradNorm: 0, zeroStdShare: 1 });
    expect(steps[1]?.kl).toBe(0);
  });

  it('refuses half pairs, options that the loss does not use, and a policy without a reference', async () => {
    await expect(stepsOf('online-dpo', { minibatchSize: 3 })).rejects.toThrow(ConfigError);
    await expect(stepsOf('online-dpo', { loss: 'hinge', labelSmoothing: 0.1 })).rejects.toThrow(/labelSmoothing/);
    const policy = new Policy(smallModel(), { lora: false });
    const config = configOf('online-dpo', {});
    const { parts, train } = methods['online-dpo'].assemble(config, {
      policy,
      reward: sums,
      prompts: PROMPTS,
      eosToken: EOS,
    });
    using _ = parts.optimizer;
    await expect(train().next()).rejects.toThrow(ArgumentError);
  });
});
