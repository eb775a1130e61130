/** Rejection sampling: which responses are kept, training on them, and the contract of a trainer. */
import { describe, expect, it } from 'vitest';
import { type RftConfigInput, rftConfig } from '../src/config/rft.ts';
import { parseConfig } from '../src/config/schema.ts';
import { ArgumentError, ConfigError } from '../src/errors.ts';
import { rftMethod } from '../src/methods/rft.ts';
import { planPpo } from '../src/models/memory-plan.ts';
import { PaLM } from '../src/models/palm.ts';
import { Policy } from '../src/models/policy.ts';
import type { RftStep } from '../src/trainers/rft.ts';
import type { Answer, Reward, RewardFunction } from '../src/trainers/rollouts.ts';
import { bestOfN, passAtK, selectResponses } from '../src/trainers/selection.ts';
import { trainerContract } from './contracts/trainer.ts';
import { device } from './device.ts';
import { drain, expectNear, peakOf } from './memory/peak.ts';

const EOS = 1;
const PROMPTS = [[2, 3], [4], [5, 6, 7], [8, 9], [10], [11, 12], [13], [14]];
/** Likes the token 5. */
const fives: RewardFunction = (answers) =>
  answers.map(({ response }) => response.filter((token) => token === 5).length);
/** Likes every second answer, whatever it is. */
const second: RewardFunction = (answers) => answers.map((_, i) => i % 2);

function model() {
  return new PaLM({ numTokens: 16, dim: 16, depth: 1, heads: 2, dimHead: 8, seed: 3, device });
}

function config(options: RftConfigInput) {
  const sampling = { maxNewTokens: 6, samplesPerPrompt: 2 };
  return parseConfig(rftConfig, { epochs: 2, lr: 1e-2, lora: 4, sampling, ...options }, 'test');
}

trainerContract('rft', {
  // Of two responses to each prompt one is kept: these are the rows.
  config({ rows, steps, batchSize: minibatchSize, accumulate }, settings) {
    return config({ steps, rolloutBatch: Math.max(1, rows), minibatchSize, accumulate, ...settings });
  },
  ingredients({ lora, seed }, rows) {
    const prompts = Array.from({ length: rows }, (_, i) => PROMPTS[i % PROMPTS.length] as number[]);
    return { policy: new Policy(model(), { lora, seed }), reward: second, prompts, eosToken: EOS };
  },
  resumes: { 'with all weights': { lora: false } },
  otherReads: 2, // which tokens were drawn, and where responses are
  takesSignal: true,
});

async function train(options: RftConfigInput, reward: Reward = fives): Promise<RftStep[]> {
  const all = config({ steps: 6, rolloutBatch: 8, minibatchSize: 8, ...options });
  const policy = new Policy(model(), { lora: all.lora });
  const { parts, train } = rftMethod.assemble(all, { policy, reward, prompts: PROMPTS, eosToken: EOS });
  using _policy = policy;
  using _optimizer = parts.optimizer;
  const steps: RftStep[] = [];
  for await (const step of train()) steps.push(step);
  return steps;
}

describe('training by rejection sampling', () => {
  it('earns more from its reward', async () => {
    const sampling = { maxNewTokens: 6, samplesPerPrompt: 8 };
    const steps = await train({ sampling, steps: 8, lora: false });
    expect(steps.at(-1)?.scoreAll).toBeGreaterThan((steps[0]?.scoreAll ?? 0) + 0.5);
    for (const { scoreAll, scoreKept, kept, keptShare } of steps) {
      expect(scoreKept).toBeGreaterThan(scoreAll);
      expect(keptShare).toBe(kept / 64);
    }
  });

  it('learns the tokens of kept responses alone, each the same', async () => {
    const heard: Answer[] = [];
    const [first] = await train({ steps: 1, epochs: 1, lora: false }, (answers) => {
      heard.push(...answers);
      return second(answers);
    });
    using fresh = model();
    using policy = new Policy(fresh, { lora: false });
    let [sum, tokens] = [0, 0];
    for (const { prompt, response } of heard.filter((_, i) => i % 2 === 1)) {
      using read = await policy.logProb([[...prompt, ...response]], { grad: false });
      const logProb = Array.from(await read.logProb.data(), Number).slice(prompt.length);
      sum -= logProb.reduce((total, value) => total + value, 0);
      tokens += response.length;
    }
    expect(first?.kept).toBe(8);
    expect(first?.loss).toBeCloseTo(sum / tokens, 5);
  });

  it('learns nothing where all scores are equal, and says so', async () => {
    const steps = await train({ steps: 2 }, (answers) => answers.map(() => 0.1));
    for (const step of steps)
      expect(step).toMatchObject({ kept: 0, keptShare: 0, promptsWithout: 8, loss: undefined, gradNorm: undefined });
    expect(steps).toHaveLength(2);
  });

  it('needs the memory that is planned for it', async () => {
    const sizes = { numTokens: 260, dim: 256, depth: 3, heads: 4, dimHead: 32, ffMult: 3, device };
    using planned = new PaLM(sizes);
    const prompts = Array.from({ length: 8 }, (_, i) => Array<number>(32).fill(i));
    const shape = { rolloutBatch: 8, minibatchSize: 8, lora: 8 };
    const sampling = { samplesPerPrompt: 2, maxNewTokens: 96 };
    const measured = await peakOf(async () => {
      using policy = new Policy(new PaLM(sizes));
      const all = config({ ...shape, sampling, steps: 1, epochs: 1 });
      const { parts, train } = rftMethod.assemble(all, { policy, reward: second, prompts });
      using _optimizer = parts.optimizer;
      await drain(train());
      policy.model.dispose();
    });
    const run = { ...shape, ...sampling, promptLength: 32, reference: false, critic: false };
    expectNear(planPpo(planned.decoder, run), measured);
  });

  it('refuses one response to a prompt, which is the best and the worst', () => {
    expect(() => config({ sampling: { maxNewTokens: 4, samplesPerPrompt: 1 } })).toThrow(ConfigError);
  });
});

describe('selectResponses', () => {
  const select = (scores: number[], percentile: number, responses = scores.map((_, i) => [i])) =>
    selectResponses(responses, scores, { samplesPerPrompt: scores.length, percentile });

  it.each([
    { scores: [1, 2, 3, 4, 5], percentile: 0.5, kept: [2, 3, 4] },
    { scores: [5, 1, 4, 2], percentile: 0.9, kept: [0] },
    { scores: [3, 1, 2], percentile: 0, kept: [0, 2] }, // all but the worst
    { scores: [0, 0, 0, 0, 1], percentile: 0.5, kept: [4] }, // at the quantile, but the worst
    { scores: [2, 2, 2], percentile: 0.8, kept: [] },
  ])('keeps $kept of $scores at $percentile', ({ scores, percentile, kept }) => {
    expect(select(scores, percentile)).toEqual(kept);
  });

  it('keeps what is at the quantile itself, whatever the rounding', () => {
    const scores = Array.from({ length: 101 }, (_, i) => Math.log(i + 1));
    expect(0.55 * 100).toBeGreaterThan(55);
    expect(select(scores, 0.55)[0]).toBe(55);
  });

  it('keeps equal responses to a prompt once, the first of them, and to each prompt its own', () => {
    const responses = [[7], [8], [8], [8], [7], [9]];
    const scores = [0, 1, 2, 1, 0, 2];
    expect(selectResponses(responses, scores, { samplesPerPrompt: 3, percentile: 0 })).toEqual([1, 3, 5]);
  });

  it('refuses scores that do not belong to the responses', () => {
    const options = { samplesPerPrompt: 2, percentile: 0.5 };
    expect(() => selectResponses([[1], [2]], [1], options)).toThrow(ArgumentError);
    expect(() => selectResponses([[1], [2], [3]], [1, 2, 3], options)).toThrow(ArgumentError);
  });
});

it('bestOfN names the best of each prompt, the first of equal ones', () => {
  expect(bestOfN([1, 3, 3, 5, 4, 2], 3)).toEqual([1, 3]);
  expect(() => bestOfN([1, 2, 3], 2)).toThrow(ArgumentError);
});

it('passAtK is the share of all choices of k that hold a right one', () => {
  for (const [n, correct, k] of [
    [6, 2, 3],
    [7, 1, 2],
  ] as const) {
    const choices = Array.from({ length: 2 ** n }, (_, bits) => bits).filter(
      (bits) => bits.toString(2).split('1').length === k + 1,
    );
    const right = choices.filter((bits) => (bits & (2 ** correct - 1)) !== 0);
    expect(passAtK(n, correct, k)).toBeCloseTo(right.length / choices.length, 12);
  }
  expect(() => passAtK(3, 4, 1)).toThrow(ArgumentError);
});
