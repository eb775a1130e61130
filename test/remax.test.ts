/** ReMax: the contract of a trainer, and the greedy answer that each sample is compared with. */
import { describe, expect, it } from 'vitest';
import { Policy } from '../src/models/policy.ts';
import { greedyAnswers, type Reward } from '../src/trainers/rollouts.ts';
import { ROLLOUT_READS, trainerContract } from './contracts/trainer.ts';
import { EOS, PROMPTS, policySubject, scoreOf, smallModel, stepsOf } from './policies.ts';

trainerContract('remax', {
  ...policySubject('remax'),
  resumes: { 'with all weights': { lora: false } },
  // The greedy answers are read too: tokens, and where they are.
  otherReads: ROLLOUT_READS + 2,
});

describe('training by ReMax', () => {
  it('earns more from its reward', async () => {
    const sampling = { maxNewTokens: 6, samplesPerPrompt: 8 };
    const options = { sampling, minibatchSize: 24, steps: 20, lora: false, klWeight: 0 };
    const steps = await stepsOf('remax', options);
    expect(scoreOf(steps.slice(-3))).toBeGreaterThan(scoreOf(steps.slice(0, 3)) + 0.3);
  });

  it('scores every prompt once more, greedily, and learns nothing from samples that score alike', async () => {
    const asked: number[] = [];
    const constant: Reward = (answers) => {
      asked.push(answers.length);
      return answers.map(() => 3);
    };
    const steps = await stepsOf('remax', { steps: 2, klWeight: 0 }, constant);
    expect(asked).toEqual([12, 6, 12, 6]);
    for (const { gradNorm } of steps) expect(gradNorm).toBe(0);
  });

  it('answers greedily as the model itself does, with its adapters', async () => {
    using policy = new Policy(smallModel());
    const answers = await greedyAnswers(policy, PROMPTS, { eosToken: EOS }, { maxNewTokens: 6 });
    for (const [row, { prompt, response }] of answers.entries()) {
      expect(prompt).toEqual(PROMPTS[row]);
      using alone = await policy.model.generate({
        ...{ prompts: [prompt], maxNewTokens: 6, temperature: 0, eosToken: EOS, scope: 'actor' },
      });
      const all = Array.from(await alone.sequences.data(), Number);
      expect(all.slice(prompt.length, prompt.length + response.length)).toEqual(response);
    }
    policy.model.dispose();
  });
});
