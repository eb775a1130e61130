/** PPO: the contract of a trainer, and what is its own: rollouts, rewards, a critic, a KL penalty, passes over experience. */
import { describe, expect, it, vi } from 'vitest';
import {
  ActorCritic,
  AdamW,
  AdaptiveKl,
  type Answer,
  ArgumentError,
  Batches,
  PaLM,
  type Loss,
  type PpoParts,
  type PpoStep,
  policyLoss,
  ppo,
  ppoLoss,
  type Reward,
  RewardError,
  RewardModel,
  RLHFTrainer,
  RunningScores,
  Tensor,
} from '../src/index.ts';
import { type PpoConfigInput, ppoConfig } from '../src/config/ppo.ts';
import { parseConfig } from '../src/config/schema.ts';
import { addon } from '../src/native/addon.ts';
import { actorCriticOf } from '../src/methods/ppo.ts';
import { minibatches } from '../src/trainers/rollouts.ts';
import { ROLLOUT_READS, trainerContract } from './contracts/trainer.ts';
import { device } from './device.ts';
import { smallText, sums } from './policies.ts';

const EOS = 1;
const PROMPTS = [[2, 3], [4], [5, 6, 7], [8, 9], [10], [11, 12]];
const SAMPLING = { maxNewTokens: 6, samplesPerPrompt: 2 };
const MODEL = { numTokens: 16, dim: 16, depth: 1, heads: 2, dimHead: 8, device };
/** Likes the token 5. */
const fives: Reward = (answers) => answers.map(({ response }) => response.filter((token) => token === 5).length);

const MANY = { klWeight: 0.1, adaptiveKl: { target: 1, horizon: 100 }, critic: { warmup: 1 }, warmupSteps: 3 };

trainerContract('ppo', {
  config({ rows, steps, batchSize: minibatchSize, accumulate }, settings) {
    const sizes = { steps, rolloutBatch: Math.max(rows, 1), minibatchSize, accumulate };
    const sampling = { maxNewTokens: 6 };
    const free = { critic: { warmup: 0 }, warmupSteps: 0, approxKlStop: false } as const;
    return parseConfig(ppoConfig, { ...sizes, sampling, epochs: 2, lr: 1e-2, lora: 4, ...free, ...settings }, 'test');
  },
  ingredients(config, rows) {
    const prompts = Array.from({ length: rows }, (_, row) => PROMPTS[row % PROMPTS.length] as number[]);
    const text = config.loss.pretraining && smallText;
    return { actorCritic: actorCriticOf(new PaLM(MODEL), config), reward: sums, text, prompts, eosToken: EOS };
  },
  resumes: {
    'with text, an average and bins': {
      optimisation: { ema: 0.9 },
      loss: { pretraining: { batchSize: 4, sequenceLength: 7 } },
      critic: { warmup: 1, histogram: {} },
    },
    'with a critic that learns alone at first': MANY,
    'with all weights': { ...MANY, lora: false },
    'with its only layer and the head': { ...MANY, lora: false, optimisation: { numLayersUnfrozen: 1 } },
  },
  otherReads: ROLLOUT_READS,
  takesSignal: true,
});

function setUp(options: PpoConfigInput = {}, reward: Reward = fives) {
  const config = parseConfig(
    ppoConfig,
    {
      steps: 4,
      rolloutBatch: 4,
      minibatchSize: 4,
      epochs: 2,
      lr: 1e-2,
      critic: { warmup: 0 },
      warmupSteps: 0,
      sampling: SAMPLING,
      ...options,
    },
    'test',
  );
  const palm = new PaLM(MODEL);
  const actorCritic = new ActorCritic(palm, { lora: config.lora, reference: config.klWeight > 0 });
  const optimizer = new AdamW(actorCritic.parameters(), { lr: 1e-2 });
  const batches = new Batches({ size: PROMPTS.length, batchSize: config.rolloutBatch, seed: config.seed });
  const adaptiveKl = config.adaptiveKl && new AdaptiveKl(config.klWeight, config.adaptiveKl);
  const state = { optimizer, batches, adaptiveKl, runningScores: new RunningScores() };
  const parts: PpoParts = { ...state, actorCritic, prompts: PROMPTS, reward, eosToken: EOS };
  const dispose = () => {
    for (const part of [optimizer, actorCritic, palm]) part.dispose();
  };
  return { parts, config, batches, optimizer, actorCritic, [Symbol.dispose]: dispose };
}

async function stepsOf(steps: AsyncGenerator<PpoStep>, most = Number.POSITIVE_INFINITY): Promise<PpoStep[]> {
  const all: PpoStep[] = [];
  for await (const step of steps) if (all.push(step) >= most) break;
  return all;
}

describe('a step', () => {
  it('has every metric, finite, and starts from ratios of 1', async () => {
    using run = setUp({ klWeight: 0.1 });
    for (const { timing, microBatch: _, samples: _none, agreement: _alone, ...step } of await stepsOf(
      ppo(run.parts, run.config),
    )) {
      for (const [name, value] of Object.entries(step)) expect(value, name).toSatisfy(Number.isFinite);
      expect(Object.values(timing).every((value) => value > 0)).toBe(true);
      expect(step.firstLogRatio).toBeLessThanOrEqual(1e-6);
      expect(step.samplerGap).toBeLessThan(1e-4);
      expect(step.eosShare).toBeGreaterThanOrEqual(0);
    }
  });

  it("may use the sampler's log-probabilities: the same run up to rounding", async () => {
    using recomputed = setUp({ klWeight: 0.1, steps: 1, epochs: 1 });
    using sampled = setUp({ klWeight: 0.1, steps: 1, epochs: 1, sampling: { ...SAMPLING, logProb: 'sampled' } });
    const [expected] = await stepsOf(ppo(recomputed.parts, recomputed.config));
    const [step] = await stepsOf(ppo(sampled.parts, sampled.config));
    expect(step?.samplerGap).toBe(0);
    expect(step?.firstLogRatio).toBeLessThan(1e-5);
    expect(step?.responseLength).toBe(expected?.responseLength);
    expect(step?.kl).toBeCloseTo(expected?.kl as number, 4);
    expect(step?.policyLoss).toBeCloseTo(expected?.policyLoss as number, 4);
  });

  it('has no KL without a reference', async () => {
    using run = setUp({ lora: false, klWeight: 0, steps: 1 });
    expect((await stepsOf(ppo(run.parts, run.config)))[0]?.kl).toBeUndefined();
  });

  it('stops its epochs early if the policy has moved too far, unless disabled', async () => {
    using free = setUp({ approxKlStop: false, epochs: 5, steps: 2, lr: 0.1 });
    expect((await stepsOf(ppo(free.parts, free.config))).map(({ epochs }) => epochs)).toEqual([5, 5]);
    using run = setUp({ approxKlStop: 1e-9, epochs: 5, steps: 2 });
    const steps = await stepsOf(ppo(run.parts, run.config));
    expect(steps.every(({ epochs }) => epochs < 5)).toBe(true);
  });

  it('subtracts the penalty from responses that did not end', async () => {
    using run = setUp({ steps: 1, score: { missingEosPenalty: 3 }, klWeight: 0 }, (answers) => answers.map(() => 1));
    const [step] = await stepsOf(ppo(run.parts, run.config));
    expect(step?.score).toBe(1);
    expect(step?.reward).toBeCloseTo(-3 * (1 - (step?.eosShare ?? 1)), 5);
  });

  it('gives responses that did not end the score that was set for them', async () => {
    const score = { missingEosScore: -1, norm: 'none' as const };
    using run = setUp({ steps: 1, score, klWeight: 0 }, (answers) => answers.map(() => 1));
    const [step] = await stepsOf(ppo(run.parts, run.config));
    expect(step?.score).toBe(1);
    expect(step?.reward).toBeCloseTo(2 * (step?.eosShare ?? 1) - 1, 5);
  });

  it('takes more from responses the nearer they come to the limit, over the last tokens', async () => {
    const score = { overlongBuffer: 6, norm: 'none' as const };
    using run = setUp({ steps: 1, score, klWeight: 0 }, (answers) => answers.map(() => 1));
    const [step] = await stepsOf(ppo(run.parts, run.config));
    expect(step?.reward).toBeCloseTo(1 - (step?.responseLength ?? 0) / 6, 5);
  });

  it('may look further ahead the longer a response is', async () => {
    const reward = async (critic: object) => {
      using run = setUp({ steps: 2, critic: { warmup: 0, whiten: false, ...critic } });
      return await stepsOf(ppo(run.parts, run.config));
    };
    const [plain, adaptive] = [await reward({ lambda: 1 }), await reward({ lambda: 1, lengthAdaptive: 0.5 })];
    expect(adaptive[0]?.explainedVariance).toBe(plain[0]?.explainedVariance); // the returns are the same
    expect(adaptive[0]?.policyLoss).not.toBe(plain[0]?.policyLoss);
  });

  it('limits the loss of tokens with negative advantages by the dual clip, as policyLoss does', async () => {
    const of = (values: number[]) => Tensor.from(Float64Array.from(values), { shape: [1, 4], device });
    const responseMask = Tensor.from(Uint8Array.of(0, 1, 1, 1), { shape: [1, 4], dtype: 'bool', device });
    const sequence = Tensor.from(BigInt64Array.of(1n, 1n, 1n, 1n), { shape: [1, 4], device });
    const now = { logProb: of([0, -0.5, -1, -2]), entropy: of([0, 1, 1, 1]), value: of([0, 0, 0, 0]) };
    const rolloutLogProb = of([0, -3, -1, -2.2]);
    const then = { samplerLogProb: rolloutLogProb, rolloutLogProb, referenceLogProb: rolloutLogProb };
    const valued = { rolloutValue: of([0, 0, 0, 0]), returns: of([0, 0, 0, 0]), advantage: of([0, -1, 1, -2]) };
    const options = { clip: 0.2, valueClip: 0.2, valueWeight: 0, entropyWeight: 0 };
    const experience = { sequence, responseMask, ...then, ...valued };
    const item = async (loss: Promise<Loss<string>>) => {
      using value = await loss;
      return await value.item();
    };
    const limited = await item(ppoLoss(now, experience, { ...options, dualClip: 3 }));
    expect(limited).toBeCloseTo(await item(policyLoss(now, experience, { dualClip: 3 })), 12);
    expect(limited).toBeLessThan(await item(ppoLoss(now, experience, options)));
  });

  it('treats a stop sequence as an end, like the eos', async () => {
    using run = setUp({ steps: 1, score: { missingEosPenalty: 3 }, klWeight: 0 }, (answers) => answers.map(() => 1));
    const stop = Array.from({ length: run.parts.actorCritic.model.decoder.numTokens }, (_, token) => [token]);
    const [step] = await stepsOf(ppo({ ...run.parts, eosToken: undefined, stop }, run.config));
    expect(step).toMatchObject({ eosShare: 1, responseLength: 1 });
    expect(step?.reward).toBeCloseTo(0, 5);
  });

  it('adapts the KL weight: up above the target, down below', async () => {
    using run = setUp({ steps: 6, klWeight: 0.01, lr: 5e-2, adaptiveKl: { target: 0.05, horizon: 40 } });
    const steps = await stepsOf(ppo(run.parts, run.config));
    for (const [i, { klWeight, kl }] of steps.slice(0, -1).entries()) {
      const error = Math.min(0.2, Math.max(-0.2, (kl as number) / 0.05 - 1));
      expect(steps[i + 1]?.klWeight).toBeCloseTo(klWeight * (1 + (error * 8) / 40), 12);
    }
    expect(steps[1]?.klWeight).toBeLessThan(0.01);
  });

  it('passes texts to reward functions if there is a tokenizer', async () => {
    const seen: unknown[] = [];
    using run = setUp({ steps: 1 }, (answers) => {
      seen.push(...answers);
      return answers.map(() => 0);
    });
    await stepsOf(ppo({ ...run.parts, tokenizer: { decode: (tokens) => [...tokens].join(' ') } }, run.config));
    expect(seen).toHaveLength(8);
    for (const answer of seen as { prompt: number[]; promptText: string; response: number[]; responseText: string }[]) {
      expect(answer.promptText).toBe(answer.prompt.join(' '));
      expect(answer.responseText).toBe(answer.response.join(' '));
      expect(PROMPTS).toContainEqual(answer.prompt);
    }
  });
});

describe('the first iterations', () => {
  it.each([4, false] as const)('train only the critic, lora %s', async (lora) => {
    using run = setUp({
      lora,
      klWeight: 0.1,
      critic: { warmup: 2 },
      steps: 3,
      adaptiveKl: { target: 1, horizon: 100 },
    });
    const { actorCritic } = run;
    const moves = async () => {
      const values = actorCritic
        .parameters()
        .map(async (parameter) => [parameter.name, await parameter.data()] as const);
      return new Map(await Promise.all(values));
    };
    const before = await moves();
    const moved: string[][] = [];
    for await (const step of ppo(run.parts, run.config)) {
      const now = await moves();
      moved.push([...now].filter(([name, values]) => `${values}` !== `${before.get(name)}`).map(([name]) => name));
      if (step.step > 2) break;
      expect(step).toMatchObject({ kl: 0, approxKl: 0, klWeight: 0.1, learningRate: 0.2 / MODEL.dim, epochs: 2 });
    }
    const critic = (name: string) => name.startsWith('value_head') || name.includes('critic');
    expect(moved[1]?.length).toBeGreaterThanOrEqual(2);
    expect(moved[1]?.filter((name) => !critic(name))).toEqual([]);
    expect(moved[2]?.some((name) => !critic(name))).toBe(true);
  });

  it('warm up the learning rate, which then decays to 0 or stays', async () => {
    const rates = async (options: PpoConfigInput) => {
      using run = setUp({ epochs: 1, critic: { warmup: 1 }, warmupSteps: 2, steps: 6, lr: 0.01, ...options });
      return (await stepsOf(ppo(run.parts, run.config))).map(({ learningRate }) => learningRate);
    };
    const close = (values: number[]) => values.map((value) => expect.closeTo(value, 10));
    expect(await rates({ decay: 'linear' })).toEqual(close([0.2 / 16, 0.005, 0.01, 0.01, 0.02 / 3, 0.01 / 3]));
    expect(await rates({ decay: 'constant' })).toEqual(close([0.2 / 16, 0.005, 0.01, 0.01, 0.01, 0.01]));
  });
});

describe('a reward', () => {
  it('may be a promise', async () => {
    using run = setUp({ steps: 1 }, async (answers) => answers.map(({ response }) => response.length));
    expect((await stepsOf(ppo(run.parts, run.config)))[0]?.score).toBeGreaterThan(0);
  });

  it.each([
    ['too few', () => [1]],
    ['not numbers', (answers: unknown[]) => answers.map(() => 'good')],
    ['not finite', (answers: unknown[]) => answers.map(() => Number.NaN)],
    ['nothing', () => undefined],
  ])('of %s is refused, and the run can continue', async (_, bad) => {
    using run = setUp({ steps: 1 }, bad as unknown as Reward);
    await expect(stepsOf(ppo(run.parts, run.config))).rejects.toThrow(RewardError);
    expect(await stepsOf(ppo({ ...run.parts, reward: fives }, run.config))).toHaveLength(1);
  });

  it('that throws rejects the step with a RewardError that has its cause', async () => {
    const cause = new RangeError('no opinion');
    using run = setUp({ steps: 1 }, () => {
      throw cause;
    });
    const message = expect.stringContaining('RangeError: no opinion');
    await expect(stepsOf(ppo(run.parts, run.config))).rejects.toMatchObject({ code: 'ERR_REWARD', message, cause });
  });

  it('may be a reward model on the same trunk, whose scores stay unchanged', async () => {
    using palm = new PaLM(MODEL);
    using rewardModel = new RewardModel(palm, { lora: 2 });
    const score = async () => {
      using scores = await rewardModel.score([[2, 3, 5, 1]], { promptLengths: [2] });
      return await scores.item();
    };
    const before = await score();
    using trainer = new RLHFTrainer({
      model: palm,
      rewardModel,
      promptTokenIds: PROMPTS,
      eosToken: EOS,
      config: { sampling: { maxNewTokens: 4 }, rolloutBatch: 4, minibatchSize: 4, lr: 1e-2, warmupSteps: 3 },
    });
    const steps = await trainer.train({ numEpisodes: 9 });
    expect(steps.map(({ step }) => step)).toEqual([1, 2, 3]);
    expect(await trainer.train({ numEpisodes: 8 })).toMatchObject([{ step: 4 }, { step: 5, learningRate: 1e-2 }]);
    expect(await score()).toBe(before);
  });
});

describe('a reward model', () => {
  it.each([true, false])('scores answers in a batch as alone, causal %s', async (causal) => {
    using trunk = new PaLM({ ...MODEL, causal });
    using rewardModel = new RewardModel(trunk, { lora: 2 });
    const answers: Answer[] = [];
    using asked = setUp({ steps: 1 }, (all) => {
      answers.push(...all);
      return all.map(() => 1);
    });
    await stepsOf(ppo(asked.parts, asked.config));
    let sum = 0;
    for (const { prompt, response } of answers) {
      using score = await rewardModel.score([[...prompt, ...response]], { promptLengths: [prompt.length] });
      sum += await score.item();
    }
    using run = setUp({ steps: 1 }, rewardModel);
    const [step] = await stepsOf(ppo(run.parts, run.config));
    expect(new Set(answers.map(({ prompt, response }) => prompt.length + response.length)).size).toBeGreaterThan(1);
    expect(step?.score).toBeCloseTo(sum / answers.length, 5);
  });

  it('scores responses in place, without uploading a token', async () => {
    using trunk = new PaLM(MODEL);
    using rewardModel = new RewardModel(trunk, { lora: 2 });
    const uploaded = async (reward: Reward) => {
      using run = setUp({ steps: 1 }, reward);
      const write = vi.spyOn(addon(), 'tensorWrite');
      await stepsOf(ppo(run.parts, run.config));
      const count = write.mock.calls.reduce((total, [, { length }]) => total + length, 0);
      write.mockRestore();
      return count;
    };
    const rows = 4 * 2; // of each a length of the prompt and one of the whole
    expect(await uploaded(rewardModel)).toBe((await uploaded(fives)) + 2 * rows);
  });
});

describe('RLHFTrainer', () => {
  it('maximises the reward, and returns the best of its samples', async () => {
    using palm = new PaLM(MODEL);
    using trainer = new RLHFTrainer({
      model: palm,
      rewardModel: fives,
      promptTokenIds: PROMPTS,
      config: {
        lora: false,
        klWeight: 0,
        lr: 3e-3,
        sampling: { maxNewTokens: 6, samplesPerPrompt: 8 },
        minibatchSize: 48,
      },
    });
    const steps = await trainer.train({ numEpisodes: 48 * 15 });
    expect(steps.at(-1)?.score).toBeGreaterThan((steps[0]?.score ?? 0) + 1);
    const best = await trainer.generate(8, { prompt: [2, 3], numSamples: 10, seed: 3 });
    expect(best.slice(0, 2)).toEqual([2, 3]);
    expect(best).toHaveLength(8);
    expect(best.slice(2).filter((token) => token === 5).length).toBeGreaterThanOrEqual(3);
  });

  it('refuses invalid arguments', async () => {
    using palm = new PaLM(MODEL);
    const options = { model: palm, rewardModel: fives, promptTokenIds: PROMPTS };
    expect(() => new RLHFTrainer({ ...options, promptTokenIds: [] })).toThrow(ArgumentError);
    expect(() => new RLHFTrainer({ ...options, config: { epoch: 3 } as object })).toThrow(/epochs/);
    using trainer = new RLHFTrainer(options);
    await expect(trainer.train({ numEpisodes: 0 })).rejects.toThrow(ArgumentError);
    await expect(trainer.generate(2, { prompt: [2, 3] })).rejects.toThrow(/length/);
  });
});

describe('minibatches', () => {
  it('contain every row once, in an order determined by step and epoch', () => {
    const config = { seed: 5 };
    const rows = (step: number, epoch: number) => minibatches(10, 4, config, step, epoch);
    expect(rows(1, 2).map((piece) => piece.length)).toEqual([4, 4, 2]);
    expect(
      rows(1, 2)
        .flat()
        .sort((a, b) => a - b),
    ).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    expect(rows(1, 2)).toEqual(rows(1, 2));
    expect(rows(1, 2)).not.toEqual(rows(1, 3));
    expect(rows(1, 2)).not.toEqual(rows(2, 2));
  });
});
