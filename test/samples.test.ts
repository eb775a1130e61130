/** The answers that a run shows: what they say is what training used, and showing them changes nothing. */
import { describe, expect, it } from 'vitest';
import { pretrainConfig } from '../src/config/pretrain.ts';
import { parseConfig } from '../src/config/schema.ts';
import { Batches, loadTokenizer, PaLM, pretrain, Windows } from '../src/index.ts';
import type { Sample } from '../src/metrics/metrics.ts';
import { fives, policy, PROMPTS, SAMPLING, SIZE } from './small-trainings.ts';
import { AdamW } from '../src/optim.ts';

const tokenizer = await loadTokenizer('byte');

describe('samples of a rollout', () => {
  const settings = { klWeight: 0.1, sampling: { ...SAMPLING, samplesPerPrompt: 1 } };

  async function shown(samples?: number, options: object = settings) {
    const { steps } = policy(options, { samples });
    const all = [];
    for await (const { timing: _, ...step } of steps) all.push(step);
    return all;
  }

  it('have the scores and the KL whose means are the metrics of the step', async () => {
    const steps = await shown(PROMPTS.length);
    for (const { samples = [], score, kl } of steps) {
      expect(samples).toHaveLength(PROMPTS.length);
      expect(mean(samples.map((sample) => sample.score as number))).toBeCloseTo(score, 6);
      expect(mean(samples.map((sample) => sample.kl as number))).toBeCloseTo(kl as number, 5);
      const [{ prompt, response, score: first }] = samples as [Sample];
      expect(fives([{ prompt: [...(prompt as number[])], response: [...(response as number[])] }])).toEqual([first]);
    }
    expect(steps.some(({ kl }) => Math.abs(kl as number) > 1e-4)).toBe(true);
  });

  it('are one a prompt, and leave the steps as they are', async () => {
    const several = { ...settings, sampling: SAMPLING };
    const [plain, two] = [await shown(undefined, several), await shown(2, several)];
    expect(plain.every(({ samples }) => samples === undefined)).toBe(true);
    expect(two[0]?.samples?.[0]?.prompt).not.toEqual(two[0]?.samples?.[1]?.prompt);
    expect(two.map((step) => ({ ...step, samples: undefined }))).toEqual(plain);
  });
});

describe('samples at an evaluation', () => {
  async function steps(prompts: number[][] | undefined) {
    using model = new PaLM({ ...SIZE, numTokens: 258, ffDropout: 0.1 });
    using optimizer = new AdamW(model.parameters(), { lr: 1e-2 });
    const text = new Windows(Int32Array.from(tokenizer.encode('Tiger, tiger, burning bright. '.repeat(9))), 8);
    const options = { steps: 6, batchSize: 2, lr: 1e-2, evaluateEvery: 2 };
    const config = parseConfig(pretrainConfig, options, 'test');
    const batches = new Batches({ size: text.size, batchSize: 2, seed: 1 });
    const samples = prompts && { prompts, maxNewTokens: 5, tokenizer };
    const all = [];
    const parts = { model, optimizer, text, batches, validation: text, samples };
    for await (const { timing: _, ...step } of pretrain(parts, config)) all.push(step);
    return all;
  }

  it('answer the same prompts each time, and leave training as it is', async () => {
    const plain = await steps(undefined);
    const shown = await steps([tokenizer.encode('Tiger'), tokenizer.encode('b')]);
    expect(shown.map(({ samples }) => samples?.map(({ prompt }) => prompt))).toEqual([
      ...[undefined, ['Tiger', 'b'], undefined, ['Tiger', 'b'], undefined, ['Tiger', 'b']],
    ]);
    expect(shown.map((step) => ({ ...step, samples: undefined }))).toEqual(plain);
    expect(shown[1]?.samples?.every(({ response }) => response.length > 0)).toBe(true);
    expect(await steps([])).toMatchObject([{}, { samples: [] }, {}, { samples: [] }, {}, { samples: [] }]);
  });

  it('refuses prompts that are none', async () => {
    await expect(steps('abc' as never)).rejects.toThrow('samples.prompts: got "abc"');
  });
});

function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}
