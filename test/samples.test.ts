/** The answers that a run shows: what they say is what training used, and showing them changes nothing. */
import { describe, expect, it } from 'vitest';
import { pretrainConfig } from '../src/config/pretrain.ts';
import { parseConfig } from '../src/config/schema.ts';
import { Batches, loadTokenizer, PaLM, pretrain, Windows } from '../src/index.ts';
import type { Sample, SampleToken } from '../src/metrics/metrics.ts';
import type { Rollout } from '../src/models/policy.ts';
import { fives, policy, PROMPTS, SAMPLING, SIZE } from './small-trainings.ts';
import { AdamW } from '../src/optim.ts';
import { rolloutSamples } from '../src/trainers/samples.ts';

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

  it('tell of each token what was learned from it', async () => {
    const decoded = { samples: PROMPTS.length, tokenizer: { decode: (ids: Iterable<number>) => letters([...ids]) } };
    const { steps } = policy(settings, decoded);
    let moved = 0;
    for await (const { samples = [], reward } of steps) {
      const tokens = samples.map((sample) => sample.tokens as SampleToken[]);
      for (const [i, { response, kl }] of samples.entries()) {
        const own = tokens[i] as SampleToken[];
        expect(own.map(({ text }) => text).join('')).toBe(response);
        expect(own.map(({ id }) => letters([id])).join('')).toBe(response);
        expect(sum(own.map(({ logRatio }) => logRatio as number))).toBeCloseTo(kl as number, 3);
        moved = Math.max(moved, ...own.map(({ logRatio }) => Math.abs(logRatio as number)));
      }
      expect(mean(tokens.map((own) => sum(own.map((token) => token.reward as number))))).toBeCloseTo(reward, 2);
      // One answer to each prompt: advantages are whitened over just these tokens.
      const advantages = tokens.flat().map(({ advantage }) => advantage as number);
      expect(mean(advantages)).toBeCloseTo(0, 2);
      expect(mean(advantages.map((value) => value ** 2))).toBeCloseTo(1, 1);
    }
    expect(moved).toBeGreaterThan(1e-3);
  });

  it('tell of at most 256 tokens, and of half a character nothing until it is whole', async () => {
    const [first] = await rolled([...'a€'.repeat(100)].flatMap((sign) => [...Buffer.from(sign)]));
    expect(first?.tokens).toHaveLength(256);
    expect(first?.tokens?.slice(0, 5).map(({ text }) => text)).toEqual(['a', '', '', '€', 'a']);
    const [half] = await rolled([97, 0xe2, 0x82]);
    expect(half?.tokens?.map(({ text }) => text)).toEqual(['a', '', '\ufffd']);
    expect(half?.tokens?.[0]).toEqual({ id: 97, text: 'a' });
  });

  it('are of the prompts that come first in the data, each once', async () => {
    const answer = (prompt: number) => ({ prompt: [prompt], response: [7] });
    const scored = { answers: [9, 9, 4, 4, 5, 5, 4, 4].map(answer), scores: [1, 2, 3, 4, 5, 6, 7, 8] };
    const prompts = [9, 9, 4, 4, 5, 5, 4, 4];
    const options = { samplesPerPrompt: 2, reference: false };
    const of = (count: number) => rolloutSamples({ ...scored, prompts, rollout: NONE }, { ...options, count });
    expect((await of(2))?.map(({ prompt, score }) => [prompt, score])).toEqual([
      [[4], 3],
      [[5], 5],
    ]);
    expect(await of(9)).toHaveLength(3);
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

const NONE = {} as Rollout;

/** The samples of one answer of these bytes. */
async function rolled(response: number[]) {
  const answers = [{ prompt: [1], response, promptText: 'x', responseText: tokenizer.decode(response) }];
  const scored = { answers, scores: [0], prompts: [0], rollout: NONE };
  return (await rolloutSamples(scored, { count: 1, samplesPerPrompt: 1, reference: false, tokenizer })) ?? [];
}

/** Tokens as letters, and the eos as nothing. */
function letters(tokens: readonly number[]): string {
  return tokens.map((token) => (token === 1 ? '' : String.fromCharCode(97 + token))).join('');
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}

function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}
