/** What PPO can add: text, an average of the weights, a critic of bins, a critic from the reward, rewards of tokens, no score. */
import { afterAll, describe, expect, it } from 'vitest';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  type ActorCritic,
  type Answer,
  ArgumentError,
  AveragedPolicy,
  PaLM,
  type PpoStep,
  RewardError,
  RewardModel,
  saveTensors,
} from '../src/index.ts';
import { type PpoConfigInput, ppoConfig } from '../src/config/ppo.ts';
import { parseConfig } from '../src/config/schema.ts';
import { actorCriticOf, ppoMethod } from '../src/methods/ppo.ts';
import { histogramValue } from '../src/losses/histogram.ts';
import type { Reward, RewardFunction } from '../src/trainers/rollouts.ts';
import { type Parameter, Tensor } from '../src/tensor/tensor.ts';
import { device } from './device.ts';
import { PROMPTS, smallModel, smallText } from './policies.ts';

const EOS = 1;
const folder = mkdtempSync(join(tmpdir(), 'palm-extras-'));
afterAll(() => rmSync(folder, { recursive: true }));

const fives: RewardFunction = (answers) =>
  answers.map(({ response }) => response.filter((token) => token === 5).length);
const QUICK: PpoConfigInput = {
  ...{ steps: 3, rolloutBatch: 6, minibatchSize: 6, epochs: 2, lr: 1e-2, warmupSteps: 0, lora: 4, klWeight: 0 },
  ...{ critic: { warmup: 0 }, sampling: { maxNewTokens: 6, samplesPerPrompt: 2 }, score: { norm: 'none' } },
};

/** A run with these options; `see` is called with the actor-critic after every step. */
async function run(
  options: PpoConfigInput,
  reward: Reward = fives,
  see: (actorCritic: ActorCritic, parts: Record<string, unknown>) => Promise<void> = async () => {},
  model = smallModel(),
): Promise<PpoStep[]> {
  const config = parseConfig(ppoConfig, { ...QUICK, ...options }, 'test');
  using actorCritic = actorCriticOf(model, config);
  const text = config.loss.pretraining && smallText;
  const { parts, train } = ppoMethod.assemble(config, { actorCritic, reward, text, prompts: PROMPTS, eosToken: EOS });
  using _optimizer = parts.optimizer;
  const steps: PpoStep[] = [];
  for await (const step of train()) {
    steps.push(step);
    await see(actorCritic, parts);
  }
  if (parts.weights instanceof AveragedPolicy) parts.weights.dispose();
  return steps;
}

const dataOf = async (parameters: readonly Parameter[]) => {
  const all = await Promise.all(parameters.map((parameter) => parameter.data()));
  return all.flatMap((values) => Array.from(values, Number));
};

describe('text beside', () => {
  const pretraining = { weight: 2, batchSize: 3, sequenceLength: 7 };

  it('adds its gradient, divided by counts of its own', async () => {
    const moved = async (options: PpoConfigInput, reward: Reward) => {
      const found: number[][] = [];
      await run(
        { steps: 1, epochs: 1, minibatchSize: 12, maxGradNorm: 1e9, ...options },
        reward,
        async (actorCritic) => {
          found.push(await dataOf(actorCritic.model.parameters({ scope: 'actor' })));
        },
      );
      return found[0] as number[];
    };
    // Without a score to learn from, the text alone moves the policy, the more rows at a time or the fewer alike.
    const nothing: Reward = (answers) => answers.map(() => 0);
    const still = await moved({}, nothing);
    const text = await moved({ loss: { pretraining } }, nothing);
    const pieces = await moved({ loss: { pretraining }, minibatchSize: 1, accumulate: 12 }, nothing);
    expect(text).not.toEqual(still);
    for (const [i, value] of pieces.entries()) expect(value).toBeCloseTo(text[i] as number, 4);
  });

  it('is learned by the policy, step by step, and its loss is shown in nats per token', async () => {
    const steps = await run({
      steps: 12,
      decay: 'constant',
      lora: false,
      loss: { pretraining: { ...pretraining, weight: 20 } },
    });
    const losses = steps.map(({ pretrainingLoss }) => pretrainingLoss as number);
    expect(losses[0]).toBeGreaterThan(2);
    expect(losses[0]).toBeLessThan(3.5); // ln 16 is 2.77
    expect(losses.at(-1)).toBeLessThan((losses[0] as number) - 0.3);
  });

  it('leaves the policy alone while only the critic learns', async () => {
    const steps = await run({ critic: { warmup: 2 }, loss: { pretraining } });
    expect(steps.map(({ pretrainingLoss }) => pretrainingLoss !== undefined)).toEqual([false, false, true]);
    expect(steps[1]?.approxKl).toBe(0);
  });

  it('is refused without its settings, and they without it', async () => {
    const config = parseConfig(ppoConfig, { ...QUICK, loss: { pretraining } }, 'test');
    using actorCritic = actorCriticOf(smallModel(), config);
    const ingredients = { actorCritic, reward: fives, prompts: PROMPTS, eosToken: EOS };
    const { parts, train } = ppoMethod.assemble(config, ingredients);
    using _optimizer = parts.optimizer;
    await expect(train().next()).rejects.toThrow(/parts.pretraining: got nothing, expected text/);
  });
});

describe('the average of the weights', () => {
  it.each([4, false] as const)('moves by a share with every update, lora %s', async (lora) => {
    const ema = 0.7;
    let expected: number[] | undefined;
    await run(
      { steps: 4, epochs: 1, minibatchSize: 12, lora, optimisation: { ema } },
      fives,
      async (actorCritic, parts) => {
        const now = await dataOf(actorCritic.model.parameters(lora === false ? {} : { scope: 'actor' }));
        const average = await dataOf((parts.weights as AveragedPolicy).parameters());
        if (expected) {
          expected = expected.map((value, i) => ema * value + (1 - ema) * (now[i] as number));
          for (const [i, value] of average.entries()) expect(value).toBeCloseTo(expected[i] as number, 5);
          expect(average).not.toEqual(now);
        }
        expected = average;
      },
    );
  });

  it('is a file that answers prompts, by other weights than the last ones', async () => {
    let compared = 0;
    await run({ lora: false, optimisation: { ema: 0.5 } }, fives, async ({ model }, parts) => {
      const path = join(folder, 'average.safetensors');
      await saveTensors(path, (parts.weights as AveragedPolicy).contents());
      using loaded = await PaLM.load(path, { device });
      const average = await dataOf((parts.weights as AveragedPolicy).parameters());
      expect(await dataOf(loaded.parameters())).toEqual(average);
      expect(await dataOf(model.parameters())).not.toEqual(average);
      compared++;
    });
    expect(compared).toBe(3);
  });

  it('of bfloat16 weights keeps small changes', async () => {
    using model = new PaLM({ numTokens: 16, dim: 16, depth: 1, heads: 2, dimHead: 8, dtype: 'bfloat16', device });
    await run(
      { lora: false, optimisation: { ema: 0.999 }, steps: 1 },
      fives,
      async (_, parts) => {
        const average = (parts.weights as AveragedPolicy).parameters();
        expect(average.every(({ dtype }) => dtype === 'float32')).toBe(true);
        const values = await dataOf(average);
        const rounded = new Float32Array(values);
        expect(values.some((_value, i) => (new Uint32Array(rounded.buffer)[i] as number) & 0xffff)).toBe(true);
      },
      model,
    );
  });
});

describe('a critic of bins', () => {
  const histogram = { bins: 11, min: -2, max: 6, sigma: 0.75 };

  it.each([4, false] as const)(
    'gives the mean of its bins as the value, and starts in the middle, lora %s',
    async (lora) => {
      await run({ steps: 1, lora, critic: { warmup: 0, histogram } }, fives, async (actorCritic) => {
        const sequence = [[2, 3, 5, 5, 1]];
        using read = await actorCritic.evaluate(sequence, { grad: false });
        const logits = Array.from((await (read.valueLogits as Tensor).data()) as Float32Array);
        using wide = Tensor.from(Float64Array.from(logits), { shape: [5, 11], device });
        using mean = await histogramValue(wide, histogram);
        const [expected, found] = [await mean.data(), await read.value.data()];
        for (let t = 1; t < 5; t++) expect(found[t]).toBeCloseTo(Number(expected[t]), 5);
      });
      using actorCritic = actorCriticOf(smallModel(), parseConfig(ppoConfig, { lora, critic: { histogram } }, 'test'));
      using read = await actorCritic.evaluate([[2, 3, 5]], { grad: false });
      for (const value of Array.from(await read.value.data(), Number).slice(1)) expect(value).toBeCloseTo(2, 5);
    },
  );

  it('learns what answers are worth, and says how many returns lie beyond its bins', async () => {
    const options = { steps: 25, critic: { warmup: 24, histogram }, minibatchSize: 12, epochs: 8 };
    const steps = await run({ ...options, sampling: { maxNewTokens: 4, samplesPerPrompt: 4 } });
    const means = (some: PpoStep[]) => some.reduce((sum, { valueLoss }) => sum + valueLoss / some.length, 0);
    expect(means(steps.slice(-5))).toBeLessThan(means(steps.slice(0, 2)) - 0.2);
    expect(steps.every(({ valueBeyondShare }) => valueBeyondShare === 0)).toBe(true);
    expect(steps[0]?.valueClipFraction).toBeUndefined();
    const narrow = { ...histogram, min: 10, max: 12 };
    const [far] = await run({ steps: 1, critic: { warmup: 0, histogram: narrow } });
    expect(far?.valueBeyondShare).toBe(1);
  });

  it('is refused where its bins do not go up', () => {
    const settings = { critic: { histogram: { min: 3, max: 3 } } };
    expect(() => parseConfig(ppoConfig, settings, 'test')).toThrow(
      /critic.histogram.max: got 3, expected a number above min/,
    );
  });
});

describe('a critic from the reward model', () => {
  /** A trunk, and a reward model on it whose adapters and head have values. */
  async function judged(options: object = {}) {
    const model = smallModel();
    const reward = new RewardModel(model, { lora: 4, ...options });
    for (const [i, parameter] of reward.parameters().entries()) {
      if (parameter.name.endsWith('embedding')) continue;
      using value = await parameter.value();
      const { shape } = parameter;
      const size = shape.reduce((product, each) => product * each, 1);
      using given = Tensor.from(
        Float32Array.from({ length: size }, (_, k) => Math.sin(k + i) / 3),
        { shape: [...shape], device },
      );
      const { addon } = await import('../src/native/addon.ts');
      const { handleOf } = await import('../src/native/resource.ts');
      await addon().tensorCopy(handleOf(value), handleOf(given));
    }
    return { model, reward };
  }
  const START = { critic: { start: 'reward', warmup: 0 }, steps: 1, epochs: 1, lr: 1e-12 } as const;

  it('values a text of one position as the reward model scores it, in normalised scores', async () => {
    const { model, reward } = await judged();
    reward.statistics = { mean: 0.3, deviation: 0.5 };
    using score = await reward.score([[7]], { promptLengths: [1] });
    const expected = ((await score.item()) - 0.3) / 0.5;
    await run(
      { ...START, score: { norm: 'reference' } },
      reward,
      async (actorCritic) => {
        using read = await actorCritic.evaluate([[7, 3]], { grad: false });
        expect((await read.value.data())[1]).toBeCloseTo(expected, 4);
      },
      model,
    );
  });

  it.each([
    ['another reward', {}, {}, fives],
    ['lora: false', { lora: false as const }, {}, new RewardModel(smallModel(), { lora: 4 })],
    ['score.norm running', { score: { norm: 'running' as const } }, {}, undefined],
    ['critic.histogram', { critic: { start: 'reward' as const, histogram: {} } }, {}, undefined],
    ['other adapters', {}, { lora: 2 }, undefined],
  ])('is refused with %s', async (received, options, judge, other) => {
    const { model, reward } = await judged(judge);
    const refused = run({ ...START, ...options }, other ?? reward, async () => {}, other ? smallModel() : model);
    await expect(refused).rejects.toThrow(`critic.start: got reward with ${received}`);
  });

  it('is refused from a reward model of other weights', async () => {
    const { reward } = await judged();
    const other = new PaLM({ numTokens: 16, dim: 16, depth: 1, heads: 2, dimHead: 8, seed: 9, device });
    await expect(run(START, reward, async () => {}, other)).rejects.toThrow(/a reward model of other weights/);
  });
});

describe('rewards of tokens', () => {
  /** A point for every token 5, where it is. */
  const each = (answers: Answer[]) => answers.map(({ response }) => response.map((token) => Number(token === 5)));
  const plain = { critic: { warmup: 0, whiten: false, lambda: 1 }, steps: 1 };

  it('count where they are given, and their sum is the score', async () => {
    const [dense] = await run(plain, each);
    const [whole] = await run(plain, fives);
    expect(dense?.score).toBeCloseTo(whole?.score as number, 6);
    expect(dense?.reward).toBeCloseTo(whole?.reward as number, 5);
    expect(dense?.policyLoss).not.toBeCloseTo(whole?.policyLoss as number, 5);
  });

  it('at the last token alone are the same as a score', async () => {
    const last: RewardFunction = (answers) =>
      answers.map(({ response }) => response.map((_, t) => (t + 1 === response.length ? response.length : 0)));
    const lengths: RewardFunction = (answers) => answers.map(({ response }) => response.length);
    for (const norm of ['none', 'running', 'running-scale', 'reference-scale'] as const) {
      const [dense, whole] = [await run({ score: { norm } }, last), await run({ score: { norm } }, lengths)];
      for (const [i, { policyLoss, valueLoss, reward }] of dense.entries()) {
        expect(policyLoss).toBeCloseTo(whole[i]?.policyLoss as number, 4);
        expect(valueLoss).toBeCloseTo(whole[i]?.valueLoss as number, 4);
        expect(reward).toBeCloseTo(whole[i]?.reward as number, 4);
      }
    }
  });

  it('are refused where there are not as many as tokens', async () => {
    await expect(run({}, (answers) => answers.map(() => [1, 2, 3, 4, 5, 6, 7]))).rejects.toThrow(/one for each token/);
  });
});

describe('no score', () => {
  it('takes an answer out of everything: nothing else depends on what it was', async () => {
    const odd = (answers: Answer[]) =>
      answers.map(({ response }, row) => (row % 3 === 0 ? null : response.filter((token) => token === 5).length));
    const [step] = await run({ steps: 1, klWeight: 0.1 }, odd);
    expect(step?.unscored).toBe(4);
    const scores: number[] = [];
    const lengths: number[] = [];
    await run({ steps: 1, klWeight: 0.1 }, (answers) => {
      for (const [row, { response }] of answers.entries()) {
        if (row % 3 === 0) continue;
        scores.push(response.filter((token) => token === 5).length);
        lengths.push(response.length);
      }
      return odd(answers);
    });
    const mean = (values: number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;
    expect(step?.score).toBeCloseTo(mean(scores), 6);
    expect(step?.responseLength).toBeCloseTo(mean(lengths), 5);
  });

  it('of all answers is an error, and so is one of a method that compares answers', async () => {
    await expect(run({}, (answers) => answers.map(() => null))).rejects.toThrow(RewardError);
  });
});

describe('scores', () => {
  it.each(['running-scale', 'reference-scale'] as const)(
    'keep their mean with %s, and any unit is the same',
    async (norm) => {
      const tenfold: RewardFunction = (answers) => (fives(answers) as number[]).map((score) => 10 * score);
      const [plain, large] = [await run({ score: { norm } }), await run({ score: { norm } }, tenfold)];
      for (const [i, { reward, policyLoss }] of plain.entries()) {
        expect(reward).toBeGreaterThan(0);
        expect(large[i]?.reward).toBeCloseTo(reward, 4);
        expect(large[i]?.policyLoss).toBeCloseTo(policyLoss, 4);
      }
    },
  );

  it('that are all alike stay as they are where they are only scaled', async () => {
    const [step] = await run({ steps: 1, score: { norm: 'running-scale' } }, (answers) => answers.map(() => 3));
    expect(step?.reward).toBeCloseTo(3, 5);
  });

  it('are limited before anything else', async () => {
    const [step] = await run({ steps: 1, score: { norm: 'none', clip: 2 } }, (answers) => answers.map(() => -7));
    expect(step).toMatchObject({ score: -7 });
    expect(step?.reward).toBeCloseTo(-2, 5);
  });

  it('fall by what a response repeats', async () => {
    const seen: number[][] = [];
    const score = { norm: 'none', repetition: { ngram: 1, penalty: 2 } } as const;
    const [step] = await run({ steps: 1, score }, (answers) => {
      seen.push(...answers.map(({ response }) => response));
      return answers.map(() => 1);
    });
    const shares = seen.map((response) => 1 - new Set(response).size / response.length);
    const mean = shares.reduce((sum, share) => sum + share / shares.length, 0);
    expect(mean).toBeGreaterThan(0);
    expect(step?.reward).toBeCloseTo(1 - 2 * mean, 5);
  });
});

it('an average needs its setting', async () => {
  expect(() => new AveragedPolicy({} as never)).toThrow(ArgumentError);
});
