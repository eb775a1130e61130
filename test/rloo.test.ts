/** RLOO: the contract of a trainer, and what is its own. */
import { describe, expect, it } from 'vitest';
import { ConfigError } from '../src/errors.ts';
import { trainerContract } from './contracts/trainer.ts';
import { configOf, policySubject, scoreOf, stepsOf } from './policies.ts';

trainerContract('rloo', {
  ...policySubject('rloo'),
  resumes: { 'with all weights and a ratio per response': { lora: false, loss: { level: 'sequence-sum' } } },
});

describe('training by RLOO', () => {
  it.each(['token', 'sequence-sum'] as const)('earns more from its reward, level %s', async (level) => {
    const sampling = { maxNewTokens: 6, samplesPerPrompt: 8 };
    const options = { sampling, minibatchSize: 24, steps: 20, lora: false, klWeight: 0, loss: { level } };
    const steps = await stepsOf('rloo', options);
    expect(scoreOf(steps.slice(-3))).toBeGreaterThan(scoreOf(steps.slice(0, 3)) + 0.3);
  });

  it('takes the KL from the reward and its baseline alike', async () => {
    const [, , third] = await stepsOf('rloo', { klWeight: 0.1, score: { norm: 'none' } });
    expect(third?.kl).not.toBe(0);
    expect(third?.reward).toBeCloseTo((third?.score ?? 0) - 0.1 * (third?.kl as number), 4);
  });

  it('divides advantages by their deviation if asked to: a reward of 10 times the size changes nothing', async () => {
    const tenfold = (answers: { response: number[] }[]) =>
      answers.map(({ response }) => 10 * response.filter((token) => token === 5).length);
    const options = { normalise: true, klWeight: 0, score: { norm: 'none' } };
    const [plain] = await stepsOf('rloo', options);
    const [large] = await stepsOf('rloo', options, tenfold);
    expect(large?.gradNorm).toBeCloseTo(plain?.gradNorm as number, 3);
    const [unlike] = await stepsOf('rloo', { ...options, normalise: false }, tenfold);
    expect(unlike?.gradNorm).toBeGreaterThan(2 * (plain?.gradNorm as number));
  });

  it('refuses one response to a prompt', () => {
    expect(() => configOf('rloo', { sampling: { samplesPerPrompt: 1 } })).toThrow(ConfigError);
  });
});
