/** REINFORCE++: the contract of a trainer, and what is its own. */
import { describe, expect, it } from 'vitest';
import { ConfigError } from '../src/errors.ts';
import { trainerContract } from './contracts/trainer.ts';
import { policySubject, scoreOf, stepsOf } from './policies.ts';

trainerContract('reinforce', {
  ...policySubject('reinforce'),
  resumes: { 'with all weights and a group baseline': { lora: false, baseline: 'group' } },
});

describe('training by REINFORCE++', () => {
  it.each(['none', 'group'] as const)('earns more from its reward, baseline %s', async (baseline) => {
    const sampling = { maxNewTokens: 6, samplesPerPrompt: 8 };
    const options = { sampling, minibatchSize: 24, steps: 20, lora: false, klWeight: 0, baseline };
    const steps = await stepsOf('reinforce', options);
    expect(scoreOf(steps.slice(-3))).toBeGreaterThan(scoreOf(steps.slice(0, 3)) + 0.3);
  });

  it('answers a prompt once if asked to, except with a group baseline', async () => {
    const sampling = { maxNewTokens: 6, samplesPerPrompt: 1 };
    expect(await stepsOf('reinforce', { sampling, steps: 2 })).toHaveLength(2);
    await expect(stepsOf('reinforce', { sampling, baseline: 'group' })).rejects.toThrow(ConfigError);
  });

  it('takes the KL from the reward of every token', async () => {
    const [, , third] = await stepsOf('reinforce', { klWeight: 0.1, score: { norm: 'none' } });
    expect(third?.kl).not.toBe(0);
    expect(third?.reward).toBeCloseTo((third?.score ?? 0) - 0.1 * (third?.kl as number), 4);
  });
});
