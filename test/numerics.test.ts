/** Numbers that go wrong: what is not finite moves nothing, what is degenerate has a value, what is foreign is named. */
import { afterEach, describe, expect, it } from 'vitest';
import {
  ActorCritic,
  AdamAtan2,
  AdamW,
  AdoptAtan2,
  judge,
  maskedMean,
  NumericsError,
  type Optimizer,
  PaLM,
  type PalmError,
  type Parameter,
  type PpoParts,
  ppo,
  ppoLoss,
  type Reward,
  RewardError,
  RewardModel,
  RLHFTrainer,
  Tensor,
  whiten,
} from '../src/index.ts';
import type { Preference } from '../src/data/preferences.ts';
import { addon } from '../src/native/addon.ts';
import { evaluatePairs } from '../src/trainers/reward.ts';
import { device } from './device.ts';
import { poisonGradient, poisonWeight } from './poison.ts';
import { bits, fives, PAIRS, policy, pretraining, PROMPTS, rewarding, SAMPLING, SIZE } from './small-trainings.ts';

const X = [
  [1, 2, 3, 4, 5],
  [6, 7, 8, 9, 10],
];
const OPTIMIZERS = { AdamW, AdoptAtan2, AdamAtan2 };
const BAD = [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY];

afterEach(() => addon().useKernels(true));

async function failure(run: () => unknown): Promise<PalmError> {
  try {
    await run();
  } catch (error) {
    return error as PalmError;
  }
  throw new Error('nothing was thrown');
}

async function all<T>(steps: AsyncIterable<T>): Promise<T[]> {
  const found: T[] = [];
  for await (const step of steps) found.push(step);
  return found;
}

async function numbers(tensor: Tensor): Promise<number[]> {
  using mine = tensor;
  return Array.from(await mine.data(), Number);
}

async function learn(palm: PaLM, optimizer: Optimizer, disturb = async () => {}) {
  using loss = await palm.loss(X);
  await loss.backward();
  await disturb();
  const result = await optimizer.step({ maxGradNorm: 1 });
  optimizer.zeroGrad();
  return result;
}

const named = (parameters: readonly Parameter[], name: string) =>
  parameters.find((parameter) => parameter.name === name) as Parameter;

describe('a non-finite gradient', () => {
  describe.each(Object.entries(OPTIMIZERS))('%s', (_name, Kind) => {
    describe.each(['float32', 'bfloat16'] as const)('in %s', (dtype) => {
      it.each([true, false])('changes no bit of weights, moments, masters and counts, kernels %s', async (kernels) => {
        await addon().useKernels(kernels);
        using palm = new PaLM({ ...SIZE, dtype });
        using calm = palm.clone();
        using optimizer = new Kind(palm.parameters(), { lr: 1e-2, weightDecay: 0.1 });
        using undisturbed = new Kind(calm.parameters(), { lr: 1e-2, weightDecay: 0.1 });
        for (let step = 0; step < 2; step++) await learn(palm, optimizer);
        const before = await bits(palm.parameters(), optimizer);
        const target = named(palm.parameters(), 'layers.1.output');
        for (const value of BAD) {
          for (const maxGradNorm of [1, undefined]) {
            using loss = await palm.loss(X);
            await loss.backward();
            await poisonGradient(target, value);
            const result = await optimizer.step(maxGradNorm === undefined ? {} : { maxGradNorm });
            expect(result).toMatchObject({ skipped: true, nonFinite: 'gradient of layers.1.output' });
            expect(Number.isFinite(result.gradNorm)).toBe(false);
            expect(await bits(palm.parameters(), optimizer)).toEqual(before);
            optimizer.zeroGrad();
          }
        }
        // As if nothing had been in between.
        await learn(palm, optimizer);
        for (let step = 0; step < 3; step++) await learn(calm, undisturbed);
        expect(await bits(palm.parameters(), optimizer)).toEqual(await bits(calm.parameters(), undisturbed));
      });
    });

    it.each([true, false])(
      'stays where it stood in a bfloat16 weight: no master overwrites it, kernels %s',
      async (kernels) => {
        await addon().useKernels(kernels);
        using palm = new PaLM({ ...SIZE, dtype: 'bfloat16' });
        using optimizer = new Kind(palm.parameters(), { lr: 1e-2 });
        await learn(palm, optimizer);
        const weight = named(palm.parameters(), 'layers.0.norm');
        await poisonWeight(weight);
        const poisoned = await weight.data();
        expect(await learn(palm, optimizer)).toMatchObject({ skipped: true, nonFinite: 'layers.0.norm' });
        expect(await weight.data()).toEqual(poisoned);
      },
    );
  });

  it('leaves every parameter finite if it is infinite, wherever it is', async () => {
    using palm = new PaLM(SIZE);
    using optimizer = new AdamW(palm.parameters(), { lr: 1e-2 });
    for (const parameter of palm.parameters()) {
      const poison = () => poisonGradient(parameter, Number.POSITIVE_INFINITY);
      expect(await learn(palm, optimizer, poison)).toMatchObject({ nonFinite: `gradient of ${parameter.name}` });
    }
    expect(await learn(palm, optimizer)).toMatchObject({ skipped: false, nonFinite: undefined });
    const values = (await Promise.all(palm.parameters().map((parameter) => parameter.data()))).flatMap((some) =>
      Array.from(some, Number),
    );
    expect(values.every(Number.isFinite)).toBe(true);
  });

  it.each([true, false])('moves nothing if only its square is infinite, kernels %s', async (kernels) => {
    await addon().useKernels(kernels);
    using large = Tensor.parameter([1, 2], { device });
    using small = Tensor.parameter([1], { device });
    using optimizer = new AdamW([small, large], { lr: 0.1 });
    const before = await bits([small, large], optimizer);
    await poisonGradient(small, 1);
    await poisonGradient(large, 1e25);
    expect(await optimizer.step()).toMatchObject({ skipped: true, nonFinite: 'gradient of parameter' });
    expect(await bits([small, large], optimizer)).toEqual(before);
  });
});

describe('a non-finite step', () => {
  it('names a weight before a gradient, with its scope', async () => {
    using palm = new PaLM(SIZE);
    palm.addScope('poet');
    palm.freeze({ except: 'poet' });
    const parameters = palm.parameters({ scope: 'poet' });
    using optimizer = new AdamW(parameters, { lr: 1e-2 });
    const step = async () => {
      using loss = await palm.loss(X, { scope: 'poet' });
      await loss.backward();
      await poisonGradient(parameters[0] as Parameter, Number.NaN);
      return await optimizer.step();
    };
    const last = parameters.at(-1) as Parameter;
    expect(await step()).toMatchObject({ nonFinite: `gradient of ${parameters[0]?.name}` });
    await poisonWeight(last);
    expect(await step()).toMatchObject({ nonFinite: last.name });
    expect(last.name).toMatch(/^scopes\.poet\./);
  });

  it.each(BAD)('is skipped even if only the loss is %s', async (loss) => {
    using palm = new PaLM(SIZE);
    using optimizer = new AdamW(palm.parameters(), { lr: 1e-2 });
    using finite = await palm.loss(X);
    await finite.backward();
    const before = await bits(palm.parameters(), optimizer);
    const result = await optimizer.step({ loss });
    expect(result).toMatchObject({ skipped: true, nonFinite: 'loss' });
    expect(result.gradNorm).toBeGreaterThan(0);
    expect(await bits(palm.parameters(), optimizer)).toEqual(before);
    expect(await optimizer.step({ loss: await finite.item() })).toMatchObject({ skipped: false });
  });

  it('throws a NumericsError after maxSkipped consecutive steps', async () => {
    using parameter = Tensor.parameter([1, 2], { device });
    using optimizer = new AdamW([parameter], { lr: 0.1 });
    const step = async (value: number) => {
      await poisonGradient(parameter, value);
      return await optimizer.step({ maxSkipped: 3 });
    };
    for (const value of [Number.NaN, Number.NaN, 1, Number.NaN, Number.NaN]) await step(value);
    const error = await failure(() => step(Number.NaN));
    expect(error).toBeInstanceOf(NumericsError);
    expect(error).toMatchObject({ code: 'ERR_NUMERICS', argument: 'gradient of parameter' });
    expect(error.message).toMatch(/3 consecutive steps.*Lower lr.*anomalies/);
    expect(await failure(() => step(Number.NaN))).toBeInstanceOf(NumericsError);
    expect(await step(1)).toMatchObject({ skipped: false });
  });

  it.each([0, -1, 1.5, Number.NaN])('refuses a maxSkipped of %s', async (maxSkipped) => {
    using parameter = Tensor.parameter([1], { device });
    using optimizer = new AdamW([parameter]);
    expect(await failure(() => optimizer.step({ maxSkipped }))).toMatchObject({ argument: 'maxSkipped' });
  });

  it('is not caused by a gradient of 0', async () => {
    expect(await failure(() => new AdamW([], { eps: 0 }))).toMatchObject({ code: 'ERR_CONFIG', argument: 'AdamW.eps' });
    for (const kernels of [true, false]) {
      await addon().useKernels(kernels);
      using parameter = Tensor.parameter([1, -2], { device });
      using optimizer = new AdamW([parameter], { eps: 1.2e-38, weightDecay: 0 });
      using zeros = Tensor.from([0, 0], { device });
      await parameter.setGrad(zeros);
      expect(await optimizer.step()).toMatchObject({ gradNorm: 0, skipped: false });
      expect(await parameter.data()).toEqual(Float32Array.of(1, -2));
    }
  });
});

describe('a trainer with non-finite numbers', () => {
  it('pretrain: skips a step, reports it, and continues', async () => {
    const { model, optimizer, steps } = pretraining();
    const seen: Buffer[][] = [];
    optimizer.disturb = async (step) => {
      if (step === 3) await poisonGradient(model.parameters()[1] as Parameter, Number.NaN);
    };
    for await (const { step, skipped, loss } of steps) {
      expect(skipped).toBe(step === 3 ? 1 : undefined);
      expect(Number.isFinite(loss)).toBe(true);
      seen.push(await bits(model.parameters(), optimizer));
    }
    expect(seen).toHaveLength(12);
    expect(seen[2]).toEqual(seen[1]);
    expect(seen[3]).not.toEqual(seen[2]);
  });

  it.each([
    ['pretrain', pretraining, ({ model }: ReturnType<typeof pretraining>) => model.parameters()],
    ['reward', rewarding, ({ rewardModel }: ReturnType<typeof rewarding>) => rewardModel.parameters()],
  ] as const)('%s: ends after five steps in a row and names the weight', async (_name, make, parametersOf) => {
    const run = (make as () => ReturnType<typeof pretraining> & ReturnType<typeof rewarding>)();
    const parameters = parametersOf(run);
    const weight = parameters.at(-1) as Parameter;
    run.optimizer.disturb = async (step) => {
      if (step === 3) await poisonWeight(weight);
    };
    const rows: unknown[] = [];
    const error = await failure(async () => {
      for await (const { step, skipped } of run.steps) rows.push([step, skipped]);
    });
    expect(error).toBeInstanceOf(NumericsError);
    expect(error).toMatchObject({ argument: weight.name, received: expect.stringContaining('5 consecutive steps') });
    // The third step does not reach the weight, as its gradient is gone; from then on every loss is NaN.
    expect(rows).toEqual([1, 2, 3, 4, 5, 6, 7].map((step) => [step, step > 3 ? 1 : undefined]));
  });

  it('ppo: counts updates, also across iterations', async () => {
    const { actorCritic, optimizer, steps } = policy({ maxSkippedSteps: 6 });
    const weight = actorCritic.parameters().at(-1) as Parameter;
    optimizer.disturb = async (step) => {
      if (step === 2) await poisonWeight(weight);
    };
    const error = await failure(() => all(steps));
    expect(error).toBeInstanceOf(NumericsError);
    expect(error.argument).toBe(weight.name);
    // Four updates an iteration: two that moved, two and three that were skipped, and the one that threw.
    expect(optimizer.results.map(({ skipped }) => Number(skipped))).toEqual([0, 0, 1, 1, 1, 1, 1]);
  });

  it('ppo: one bad gradient costs one update', async () => {
    const { actorCritic, optimizer, steps } = policy({ steps: 2 });
    optimizer.disturb = async (step) => {
      if (step === 2) await poisonGradient(actorCritic.parameters()[0] as Parameter, Number.POSITIVE_INFINITY);
    };
    const rows = await all(steps);
    expect(rows.map(({ skipped, epochs }) => [skipped, epochs])).toEqual([
      [1, 2],
      [0, 2],
    ]);
    const { timing: _, ...second } = rows[1] as (typeof rows)[number];
    for (const [name, value] of Object.entries(second)) expect(value ?? 0, name).toSatisfy(Number.isFinite);
  });

  it('names the answer to which a reward model gives a non-finite score', async () => {
    const rewardModel = new RewardModel(new PaLM(SIZE), { lora: 4 });
    await poisonWeight(rewardModel.parameters().at(-1) as Parameter);
    const { optimizer, steps } = policy({}, { reward: rewardModel });
    const error = await failure(() => all(steps));
    expect(error).toBeInstanceOf(NumericsError);
    expect(error.argument).toBe('score[0]');
    expect(error.received).toMatch(/^(NaN|-?Infinity) for the answer \[.*\] to \[/);
    expect(optimizer.results).toEqual([]);
  });
});

describe('whitening advantages', () => {
  it.each([1e3, 1, 1e-3, 1e-4])('gives advantages of scale %s a variance of 1', async (scale) => {
    using values = Tensor.from(
      [3, -1, 4, -1.5, 5.25, -9, 2, 6].map((value) => value * scale),
      { device },
    );
    const white = await numbers(await whiten(values));
    const mean = white.reduce((sum, value) => sum + value, 0) / white.length;
    expect(mean).toBeCloseTo(0, 5);
    expect(white.reduce((sum, value) => sum + value ** 2, 0) / white.length).toBeCloseTo(1, 4);
  });

  it('does not amplify values below 1e-4', async () => {
    using values = Tensor.from([1e-6, -1e-6], { device });
    expect(Math.max(...(await numbers(await whiten(values))).map(Math.abs))).toBeCloseTo(0.01, 6);
  });
});

describe('the PPO ratio', () => {
  const row = (values: number[], dtype?: 'bool' | 'int64') =>
    Tensor.from([values], { device, ...(dtype && { dtype }) });
  const OPTIONS = { clip: 0.2, valueClip: 0.2, valueWeight: 1, entropyWeight: 0 };

  function experience(logProb: number[], advantage: number[], mask = logProb.map(() => 1)) {
    const zeros = () => row(logProb.map(() => 0));
    const logProbs = { samplerLogProb: row(logProb), rolloutLogProb: row(logProb), referenceLogProb: row(logProb) };
    const values = { rolloutValue: zeros(), returns: zeros(), advantage: row(advantage) };
    const ids = row(
      logProb.map(() => 1),
      'int64',
    );
    return { sequence: ids, responseMask: row(mask, 'bool'), ...logProbs, ...values };
  }

  it.each([
    ['far above', -3e38, -1e-30],
    ['far below', -1e-30, -3e38],
    ['-Infinity now', Number.NEGATIVE_INFINITY, -1],
  ])('is finite %s, with a finite gradient', async (_name, now, then) => {
    for (const advantage of [1, -1]) {
      const current = { logProb: row([now]), entropy: row([0]), value: row([0]) };
      using loss = await ppoLoss(current, experience([then], [advantage]), OPTIONS);
      expect(await loss.item()).toSatisfy(Number.isFinite);
      expect((await loss.metrics()).approxKl).toSatisfy(Number.isFinite);
    }
  });

  it('of an empty response has a loss of 0', async () => {
    const current = { logProb: row([-1, -2]), entropy: row([1, 1]), value: row([3, 4]) };
    for (const denominator of [undefined, 0]) {
      const options = denominator === undefined ? OPTIONS : { ...OPTIONS, denominator };
      using loss = await ppoLoss(current, experience([-1, -1], [1, 1], [0, 0]), options);
      expect(await loss.item()).toBe(0);
      for (const value of Object.values(await loss.metrics())) expect(value).toBeCloseTo(0, 12);
    }
  });

  it('of an empty response goes with a reward and advantage of 0', async () => {
    const rollout = experience([-1, -2, -1], [0, 0, 0], [0, 0, 0]);
    for (const whiten of [true, false]) {
      using judged = await judge(rollout, [7], { klWeight: 0.1, gamma: 1, lambda: 0.95, whiten });
      for (const tensor of [judged.reward, judged.advantage, judged.returns]) {
        expect(await numbers(tensor)).toEqual([0, 0, 0].map((zero) => expect.closeTo(zero, 12)));
      }
      for (const value of Object.values(await judged.metrics())) expect(value).toSatisfy(Number.isFinite);
    }
  });
});

describe('whitening', () => {
  it.each([
    ['one element', [[3]], undefined],
    ['equal values whose mean is rounded', [Array(7).fill(1000.1)], undefined],
    ['the same in another number', [Array(49).fill(0.1)], undefined],
    ['equal values beside others that do not count', [[0.1, 0.1, 7, 0.1]], [[1, 1, 0, 1]]],
    ['one that counts', [[1, 2, 3]], [[0, 1, 0]]],
    ['none that counts', [[1, 2, 3]], [[0, 0, 0]]],
  ])('%s gives 0', async (_name, values, mask) => {
    using tensor = Tensor.from(values, { device });
    const out = await numbers(await whiten(tensor, mask));
    expect(out.map((value) => value + 0)).toEqual(out.map(() => 0));
  });

  it('keeps non-finite values, and distinguishes different values', async () => {
    using broken = Tensor.from([[1, Number.NaN]], { device });
    expect(await numbers(await whiten(broken))).toEqual([Number.NaN, Number.NaN]);
    using two = Tensor.from([[1, 3]], { device });
    expect(await numbers(await whiten(two))).toEqual([expect.closeTo(-1, 5), expect.closeTo(1, 5)]);
  });
});

describe('nothing to learn from', () => {
  const mask = X.map((row) => row.map(() => false));

  it.each([
    ['a mask that is false', SIZE, { mask }],
    ['a mask that is false, in a step without a target', SIZE, { mask, denominator: 0 }],
    ['labels that are all ignored', { ...SIZE, ignoreIndex: 3 }, {}],
  ])('%s: a loss of 0 without a gradient', async (_name, size, options) => {
    for (const kernels of [true, false]) {
      await addon().useKernels(kernels);
      using palm = new PaLM(size);
      const tokens = 'ignoreIndex' in size ? X.map((row) => row.map((_, t) => (t === 0 ? 5 : 3))) : X;
      using loss = await palm.loss(tokens, options);
      expect(await loss.item()).toBeCloseTo(0, 12);
      await loss.backward();
      for (const parameter of palm.parameters()) {
        using grad = await parameter.grad();
        expect(Array.from((await grad?.data()) ?? [], Number).every((value) => value === 0)).toBe(true);
      }
    }
  });

  it.each([-1, Number.NaN, Number.POSITIVE_INFINITY])('refuses a denominator of %s', async (denominator) => {
    using palm = new PaLM(SIZE);
    using model = new RewardModel(palm);
    for (const loss of [
      () => palm.loss(X, { denominator }),
      () => model.loss(X, { labels: [1, 2], denominator }),
      () => model.rankingLoss(X, { groups: [0, 0], ranks: [0, 1], denominator }),
    ]) {
      expect(await failure(loss)).toMatchObject({ code: 'ERR_ARGUMENT', argument: 'denominator' });
    }
  });

  it('gives a loss of 0 for no pairs to rank', async () => {
    using model = new RewardModel(new PaLM(SIZE));
    for (const order of [
      { groups: [0, 1], ranks: [0, 1] },
      { groups: [0, 0], ranks: [2, 2] },
      { groups: [0, 0], ranks: [2, 2], denominator: 0 },
    ]) {
      using loss = await model.rankingLoss(X, order);
      expect(await loss.item()).toBeCloseTo(0, 12);
      expect(await loss.metrics()).toEqual({ accuracy: 0, margin: 0 });
      await loss.backward();
    }
  });

  it('gives a mean of 0 for rows without a counted token', async () => {
    using values = Tensor.from(
      [
        [1, Number.NaN],
        [1, 2],
      ],
      { device },
    );
    expect(
      await numbers(
        await maskedMean(values, [
          [0, 0],
          [0, 1],
        ]),
      ),
    ).toEqual([0, 2]);
    using model = new RewardModel(new PaLM(SIZE), { pooling: 'response' });
    expect(await numbers(await model.score(X, { promptLengths: [5, 5] }))).toEqual([0, 0]);
  });

  it('pretrain accepts text of only ignored tokens', async () => {
    const { steps } = pretraining(Array(40).fill(3), { ignoreIndex: 3 });
    for await (const { loss, gradNorm, skipped } of steps) {
      expect([loss, gradNorm, skipped]).toEqual([0, 0, undefined]);
    }
  });

  it('reward accepts empty responses, one pair, and no held-out pair', async () => {
    const pairs = [{ prompt: [1, 2], chosen: [], rejected: [] }];
    const { steps } = rewarding({ batchSize: 1, epochs: 3 }, pairs, []);
    for (const { loss, margin, gradNorm, validationLoss, validationAccuracy, skipped } of await all(steps)) {
      expect([margin, gradNorm, skipped, validationLoss, validationAccuracy]).toEqual([0, 0, ...Array(3)]);
      expect(loss).toBeCloseTo(Math.LN2, 6);
    }
    const half = rewarding({ batchSize: 1, epochs: 3 }, [{ prompt: [1, 2], chosen: [3], rejected: [] }]);
    for (const { loss, gradNorm } of await all(half.steps)) {
      expect(loss).toSatisfy(Number.isFinite);
      expect(gradNorm).toSatisfy(Number.isFinite);
    }
    expect(await failure(() => evaluatePairs(half.rewardModel, [], 4))).toMatchObject({ argument: 'pairs' });
    expect(await failure(() => rewarding({}, []))).toMatchObject({ argument: 'size' });
  });

  it.each([
    ['all rewards are equal', {}, { reward: ((answers) => answers.map(() => 3)) as Reward }, SIZE],
    ['no token tells anything: the first is the eos, always', {}, { prompts: [[0]], eosToken: 0 }, { numTokens: 1 }],
    ['one token is the whole response', { sampling: { ...SAMPLING, maxNewTokens: 1 } }, {}, SIZE],
    ['there is one row', { sampling: { maxNewTokens: 1 }, rolloutBatch: 1 }, { prompts: [[2]] }, SIZE],
    ['a score is as large as float32 holds', {}, { reward: ((answers) => answers.map(() => 1e18)) as Reward }, SIZE],
  ] as const)('ppo: %s', async (_name, options, parts, model) => {
    const config = { rolloutBatch: Math.min(4, parts && 'prompts' in parts ? 1 : 4), klWeight: 0.1, steps: 2 };
    const { actorCritic, steps } = policy({ ...config, ...options }, parts as Partial<PpoParts>, { ...SIZE, ...model });
    for (const { timing: _, ...step } of await all(steps)) {
      for (const [name, value] of Object.entries(step)) expect(value ?? 0, name).toSatisfy(Number.isFinite);
      expect(step.skipped).toBe(0);
    }
    for (const parameter of actorCritic.parameters()) {
      expect(Array.from(await parameter.data(), Number).every(Number.isFinite)).toBe(true);
    }
  });
});

describe('a token that the model does not have', () => {
  const palm = new PaLM(SIZE);
  const actorCritic = new ActorCritic(palm, { lora: 2 });
  const model = new RewardModel(palm, { lora: 2 });
  const readers: [string, string, (tokens: number[][] | Tensor) => unknown][] = [
    ['forward', 'tokens', (tokens) => palm.forward(tokens)],
    ['loss', 'tokens', (tokens) => palm.loss(tokens)],
    ['generate', 'prompts', (prompts) => palm.generate({ prompts, maxNewTokens: 2 })],
    ['rollout', 'prompts', (prompts) => actorCritic.rollout({ prompts, maxNewTokens: 2 })],
    ['evaluate', 'sequence', (sequence) => actorCritic.evaluate(sequence)],
    ['score', 'sequence', (sequence) => model.score(sequence)],
  ];

  describe.each(readers)('%s', (_name, argument, read) => {
    it.each([-1, 16, 50256, 2 ** 40, -(2 ** 40)])(
      '%d is refused with its place, as an array and as a tensor',
      async (id) => {
        const rows = [
          [1, 2, 3],
          [4, 5, id],
        ];
        using tensor = Tensor.from(rows, { dtype: 'int64', device });
        for (const tokens of [rows, tensor]) {
          const error = await failure(() => read(tokens));
          expect(error).toMatchObject({ code: 'ERR_ARGUMENT', argument: `${argument}[1][2]`, received: String(id) });
          expect(error.expected).toMatch(/< 16$/);
        }
      },
    );

    it.each([Number.NaN, 1.5, Number.POSITIVE_INFINITY, 2 ** 60, '1', null, undefined, {}])(
      '%s is no id',
      async (id) => {
        const error = await failure(() =>
          read([
            [1, 2],
            [3, id as number],
          ]),
        );
        expect(error).toMatchObject({ code: 'ERR_ARGUMENT', argument: `${argument}[1][1]`, expected: 'an integer' });
      },
    );

    it('refuses floats', async () => {
      using tensor = Tensor.from([[1, Number.NaN]], { device });
      expect(await failure(() => read(tensor))).toMatchObject({ code: 'ERR_DTYPE', argument });
    });
  });

  it('leaves the model usable', async () => {
    using out = await palm.forward(X);
    expect(out.logits.shape).toEqual([2, 5, 16]);
  });

  it.each([
    ['a prompt', { prompts: [[1], [2, 16]] }, 'prompts[1][1]', /one of the model's 16 tokens/],
    ['a prompt with NaN', { prompts: [[Number.NaN]] }, 'prompts[0][0]', /integer/],
    ['an empty prompt', { prompts: [[1], []] }, 'prompts[1]', /at least one/],
    ['an eos', { eosToken: 16 }, 'eosToken', /16 tokens/],
    ['a padding', { padToken: -1 }, 'padToken', /16 tokens/],
  ])('is named by ppo before its first step: %s', async (_name, parts, argument, expected) => {
    const { batches, steps } = policy({}, parts);
    const before = batches.state();
    expect(await failure(() => all(steps))).toMatchObject({ argument, expected: expect.stringMatching(expected) });
    expect(batches.state()).toEqual(before);
  });

  it.each([
    ['prompt', { prompt: [16] }, undefined, 'pairs[6].prompt[0]'],
    ['chosen', { chosen: [1, -1] }, undefined, 'pairs[6].chosen[1]'],
    ['rejected', { rejected: [1, 2, 99] }, undefined, 'pairs[6].rejected[2]'],
    ['nothing', { prompt: [], chosen: [] }, undefined, 'pairs[6]'],
    ['held-out chosen', {}, [{ prompt: [1], chosen: [99], rejected: [2] }], 'validation[0].chosen[0]'],
  ])('is named by reward before its first step, with the row of %s', async (_name, part, validation, argument) => {
    const { batches, steps } = rewarding({}, [...PAIRS, { ...(PAIRS[0] as Preference), ...part }], validation);
    const before = batches.state();
    expect(await failure(() => all(steps))).toMatchObject({ code: 'ERR_ARGUMENT', argument });
    expect(batches.state()).toEqual(before);
  });
});

describe('a reward function', () => {
  const texts = { tokenizer: { decode: (tokens: readonly number[]) => `\u001b[2J${[...tokens].join(' ')}` } };
  const but = (score: unknown) =>
    ((answers: unknown[]) => answers.map((_, i) => (i === 5 ? score : 1))) as unknown as Reward;
  const boom = new RangeError('no\u001b opinion');

  it.each([
    [
      'throws',
      () => {
        throw boom;
      },
      'reward',
      /"RangeError: no.u001b opinion"/,
    ],
    [
      'rejects',
      async () => {
        throw boom;
      },
      'reward',
      /RangeError/,
    ],
    ['rejects with no error', () => Promise.reject('why'), 'reward', /"why"/],
    ['gives too few', () => [1], 'reward', /1 scores/],
    ['gives none', () => [], 'reward', /0 scores/],
    ['gives nothing', () => undefined, 'reward', /undefined/],
    ['gives a number', () => 1, 'reward', /got 1/],
    ['gives a typed array', () => new Float32Array(8), 'reward', /Float32Array\(8\)/],
    ['gives NaN', but(Number.NaN), 'reward[5]', /NaN for the answer ".u001b\[2J/],
    ['gives Infinity', but(Number.POSITIVE_INFINITY), 'reward[5]', /Infinity/],
    ['gives what float32 cannot hold', but(1e300), 'reward[5]', /1e\+300/],
    ['gives a string', but('good'), 'reward[5]', /"good"/],
    ['gives a promise in an array', but(Promise.resolve(1)), 'reward[5]', /a Promise/],
    [
      'leaves one out',
      (answers: unknown[]) => Object.assign(Array(answers.length), { 0: 1 }),
      'reward[1]',
      /undefined/,
    ],
    ['never answers', () => new Promise(() => {}), 'reward', /nothing within 0.05 s/],
  ])('that %s causes a RewardError and leaves weights unchanged', async (name, bad, argument, message) => {
    const { actorCritic, optimizer, parts, config } = policy(
      { score: { timeout: name === 'never answers' ? 0.05 : 600 }, steps: 1 },
      { ...texts, reward: bad as unknown as Reward },
    );
    const before = await bits(actorCritic.parameters(), optimizer);
    const error = await failure(() => all(ppo(parts, config)));
    expect(error).toBeInstanceOf(RewardError);
    expect(error).toMatchObject({ code: 'ERR_REWARD', argument });
    expect(error.message).toMatch(message);
    expect(error.message).not.toContain('\u001b');
    if (/throws|rejects$/.test(name)) expect(error.cause).toBe(boom);
    expect(await bits(actorCritic.parameters(), optimizer)).toEqual(before);
    expect(await all(ppo({ ...parts, reward: fives }, config))).toHaveLength(1);
  });

  it.each([
    ['never answers', () => new Promise<number[]>(() => {})],
    ['answers after the stop', (late: Promise<void>) => late.then(() => [1, 2, 3, 4, 5, 6, 7, 8])],
    ['fails after the stop', (late: Promise<void>) => late.then(() => Promise.reject(new Error('late')))],
    [
      'fails because of the stop',
      (_: Promise<void>, signal: AbortSignal) =>
        new Promise<number[]>((_, reject) => signal.addEventListener('abort', () => reject(new Error('stopped')))),
    ],
  ])('that %s does not delay a stop', async (_name, answer) => {
    const controller = new AbortController();
    const { signal } = controller;
    const reason = new Error('enough');
    let goOn = () => {};
    const late = new Promise<void>((resolve) => {
      goOn = resolve;
    });
    const asked: Reward = () => {
      setTimeout(() => controller.abort(reason), 5);
      return answer(late, signal);
    };
    const { actorCritic, optimizer, steps } = policy({}, { reward: asked, signal });
    const before = await bits(actorCritic.parameters(), optimizer);
    expect(await failure(() => all(steps))).toBe(reason);
    goOn();
    await new Promise((resolve) => setTimeout(resolve, 10));
    expect(await bits(actorCritic.parameters(), optimizer)).toEqual(before);
  });

  it('may sort its answers in place', async () => {
    const sorts: Reward = (answers) => answers.sort((a, b) => a.response.length - b.response.length).map(() => 1);
    const { steps } = policy({ steps: 1 }, { reward: sorts });
    const [step] = await all(steps);
    expect(step?.score).toBe(1);
  });

  it('has its timeout in best-of-n sampling too', async () => {
    using trainer = new RLHFTrainer({
      model: new PaLM(SIZE),
      rewardModel: () => new Promise(() => {}),
      promptTokenIds: PROMPTS,
      config: { score: { timeout: 0.02 } },
    });
    expect(await failure(() => trainer.generate(6, { prompt: [2] }))).toBeInstanceOf(RewardError);
  });
});
