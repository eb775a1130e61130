/** Implicit process rewards: the model and its files, its trainer, the contract of a trainer, and its rewards in PPO and elsewhere. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { exportCommand } from '../src/cli/export.ts';
import { scoreCommand } from '../src/cli/score.ts';
import { trainingCommand } from '../src/cli/train.ts';
import { type ImplicitPrmConfigInput, implicitPrmConfig } from '../src/config/implicit-prm.ts';
import { parseConfig } from '../src/config/schema.ts';
import type { Label } from '../src/data/labels.ts';
import { ArgumentError, FileError, NumericsError } from '../src/errors.ts';
import { implicitReward, implicitRewardLoss, implicitScore } from '../src/losses/reward.ts';
import { implicitPrmMethod } from '../src/methods/implicit-prm.ts';
import { areaUnderRoc } from '../src/metrics/calibration.ts';
import { ImplicitPRM } from '../src/models/implicit-prm.ts';
import { PaLM } from '../src/models/palm.ts';
import { Policy } from '../src/models/policy.ts';
import { RewardModel } from '../src/models/reward-model.ts';
import { openReward } from '../src/rewards/open.ts';
import { trunksOf } from '../src/rewards/judge.ts';
import { saveTensors } from '../src/tensor/tensor-files.ts';
import { Tensor } from '../src/tensor/tensor.ts';
import { loadTokenizer } from '../src/tokenizer/load.ts';
import { CombinedReward } from '../src/trainers/combined-reward.ts';
import { implicitPrm } from '../src/trainers/implicit-prm.ts';
import { scoresOf } from '../src/trainers/rewards.ts';
import { capturePrinted, palm, printed } from './command-line.ts';
import { trainerContract } from './contracts/trainer.ts';
import { device } from './device.ts';
import { model, pairs, QUICK, taken } from './pairs.ts';
import { policy as ppoOf, SIZE } from './small-trainings.ts';

function config(options: ImplicitPrmConfigInput) {
  return parseConfig(implicitPrmConfig, { ...QUICK, beta: 0.5, ...options }, 'test');
}

/** Responses of pairs, those of every third pair being wrong ones. */
function labels(count: number, from = 0): Label[] {
  return pairs(count, from).map(({ prompt, chosen, rejected }, i) => {
    const good = i % 3 !== 2;
    return { prompt, response: good ? chosen : rejected, good };
  });
}

trainerContract('implicit-prm', {
  config({ rows, steps, batchSize, accumulate }, settings) {
    const epochs = Math.ceil((steps * batchSize * accumulate) / Math.max(rows, 1));
    return config({ epochs, batchSize, accumulate, evaluateEvery: 50, ...settings });
  },
  ingredients: (_, rows) => ({ model: model(), labels: labels(rows), validation: labels(7, 20) }),
  resumes: { 'with all weights': { lora: false } },
});

async function trained(options: ImplicitPrmConfigInput, rows = labels(12), of = model()) {
  const { parts, train } = implicitPrmMethod.assemble(config(options), {
    model: of,
    labels: rows,
    validation: labels(7, 20),
  });
  using _optimizer = parts.optimizer;
  return { steps: await taken(train()), prm: parts.weights };
}

describe('training an implicit process reward model', () => {
  it('tells right answers from wrong ones', async () => {
    const { steps, prm } = await trained({ epochs: 8, lora: false });
    using _ = prm;
    const [first, last] = [steps[0], steps.at(-1)];
    expect(first).toMatchObject({ accuracy: 0.5, desirableReward: 0, undesirableReward: 0, margin: 0 });
    expect(first?.loss).toBeCloseTo(Math.log(2), 6);
    expect(first?.validationAuc).toBeUndefined();
    expect(last).toMatchObject({ accuracy: 1, validationAuc: 1 });
    expect(last?.margin).toBeGreaterThan(1);
  });

  it('measures the labels of the whole step, in 2 batches of 4 as in 1 of 8', async () => {
    const options = { epochs: 2, lora: false } as const;
    const { steps: whole } = await trained({ ...options, batchSize: 8 }, labels(8));
    const { steps: halves } = await trained({ ...options, batchSize: 4, accumulate: 2 }, labels(8));
    for (const [i, { loss, margin, accuracy }] of whole.entries()) {
      expect(halves[i]?.loss).toBeCloseTo(loss, 5);
      expect(halves[i]?.margin).toBeCloseTo(margin as number, 5);
      expect(halves[i]?.accuracy).toBe(accuracy);
    }
  });

  it('refuses another beta than the policy has, a policy of another class, and an empty response', async () => {
    using prm = new ImplicitPRM(model(), { beta: 0.1 });
    const { parts, train } = implicitPrmMethod.assemble(config({}), {
      model: model(),
      labels: [...labels(3), { prompt: [1], response: [], good: true }],
    });
    await expect(train().next()).rejects.toMatchObject({ argument: 'labels[3].response' });
    const rest = { optimizer: parts.optimizer, batches: parts.batches, labels: labels(4) };
    await expect(implicitPrm({ ...rest, policy: prm }, config({})).next()).rejects.toMatchObject({
      argument: 'beta',
      received: '0.5',
    });
    const plain = new Policy(model(), { reference: true }) as ImplicitPRM;
    await expect(implicitPrm({ ...rest, policy: plain }, config({})).next()).rejects.toBeInstanceOf(ArgumentError);
  });
});

const SEQUENCE = [
  [3, 1, 4, 1, 5],
  [2, 7, 1, 0, 0],
];
const MASK = [
  [0, 0, 1, 1, 1],
  [0, 1, 1, 0, 0],
];
const ANSWERS = [
  { prompt: [3, 1], response: [4, 1, 5] },
  { prompt: [2], response: [7, 1] },
];
const folder = mkdtempSync(join(tmpdir(), 'palm-implicit-'));
afterAll(() => rmSync(folder, { recursive: true }));

async function numbers(tensor: Promise<Tensor>): Promise<number[]> {
  using found = await tensor;
  return Array.from(await found.data(), Number);
}

/** `log π − log π_ref` of SEQUENCE from the language models themselves. */
async function logRatios(policy: ImplicitPRM, start: PaLM): Promise<number[]> {
  using now = await policy.logProb(SEQUENCE, { grad: false });
  using before = new Policy(start, { lora: false });
  using then = await before.logProb(SEQUENCE, { grad: false });
  const [own, other] = [await now.logProb.data(), await then.logProb.data()].map((data) => Array.from(data, Number));
  return (own as number[]).map((value, i) => value - ((other as number[])[i] as number));
}

describe.each([4, false] as const)('an ImplicitPRM with lora: %s', (lora) => {
  it('rewards response tokens by the log-ratio to where it started, and scores their sum', async () => {
    const { prm } = await trained({ epochs: 4, lora });
    using _ = prm;
    using start = model();
    const rewards = await numbers(prm.tokenRewards(SEQUENCE, MASK));
    const ratios = await logRatios(prm, start);
    for (const [i, reward] of rewards.entries())
      expect(reward).toBeCloseTo(MASK.flat()[i] === 1 ? 0.5 * (ratios[i] as number) : 0, 5);
    expect(Math.max(...rewards.map(Math.abs))).toBeGreaterThan(0.01);
    const sums = [rewards.slice(0, 5), rewards.slice(5)].map((row) => row.reduce((sum, value) => sum + value, 0));
    const scores = await numbers(prm.score(SEQUENCE, MASK));
    for (const [row, score] of scores.entries()) expect(score).toBeCloseTo(sums[row] as number, 5);
  });

  it('is the same after saving and loading, whatever the seed of the process', async () => {
    const path = join(folder, `${lora}.safetensors`);
    const { prm } = await trained({ epochs: 4, lora });
    using _ = prm;
    await saveTensors(path, prm.contents());
    using loaded = await ImplicitPRM.load(path, { device });
    expect(loaded).toMatchObject({ beta: 0.5, lora });
    expect(await numbers(loaded.tokenRewards(SEQUENCE, MASK))).toEqual(await numbers(prm.tokenRewards(SEQUENCE, MASK)));
    using language = await PaLM.load(path, { device });
    expect(language.scopes).toEqual(lora === false ? [] : ['actor']);
    const reward = await openReward(path, { timeout: 1 });
    expect(trunksOf(reward.models)).toHaveLength(lora === false ? 2 : 1);
    using judge = (await reward.load(device)) as ImplicitPRM;
    expect(judge).toBeInstanceOf(ImplicitPRM);
  });
});

it('a model with merged adapters is no reward, and says so', async () => {
  const path = join(folder, 'merged.safetensors');
  using merged = model();
  await merged.save(path);
  await expect(openReward(path, { timeout: 1 })).rejects.toMatchObject({
    received: 'a PaLM',
    fix: expect.stringContaining('One whose adapters are merged has no reference'),
  });
  await expect(ImplicitPRM.load(path)).rejects.toBeInstanceOf(FileError);
});

describe('as a reward', () => {
  const scoring = { size: 2, timeout: 1 };
  const found = async () => (await trained({ epochs: 4, lora: false })).prm;

  it('gives tokens their rewards where they count, and else their sum', async () => {
    using prm = await found();
    const { scores, tokens } = await scoresOf(prm, ANSWERS, { ...scoring, anyScore: true });
    const rewards = await numbers(prm.tokenRewards(SEQUENCE, MASK));
    expect(tokens).toEqual([rewards.slice(2, 5), rewards.slice(6, 8)]);
    const whole = await scoresOf(prm, ANSWERS, { ...scoring, size: 1 });
    expect(whole.tokens).toBeUndefined();
    for (const [row, score] of scores.entries()) expect(whole.scores[row]).toBeCloseTo(score, 5);
    const combined = new CombinedReward([
      { name: 'tokens', reward: prm },
      { name: 'ones', reward: (answers) => answers.map(() => 1), weight: 2 },
    ]);
    const both = await scoresOf(combined, ANSWERS, { ...scoring, anyScore: true });
    for (const [row, score] of both.scores.entries()) expect(score).toBeCloseTo((whole.scores[row] as number) + 2, 6);
  });

  it('gives PPO a reward for every token, which add up to the score', async () => {
    const wide = new PaLM({ ...SIZE, seed: 3 });
    const { prm } = await trained({ epochs: 4, lora: false }, labels(12), wide);
    using _ = prm;
    const dense: number[] = [];
    const { tokenRewards } = prm;
    prm.tokenRewards = async (...args) => {
      const rewards = await tokenRewards.apply(prm, args);
      dense.push(...Array.from(await rewards.data(), Number));
      return rewards;
    };
    const settings = { steps: 1, klWeight: 0, score: { norm: 'none', missingEosPenalty: 0 } } as const;
    const [step] = await taken(ppoOf(settings, { reward: prm }).steps);
    expect(dense.filter((reward) => Math.abs(reward) > 1e-3).length).toBeGreaterThan(8); // more than one for each answer
    expect(step?.score).toBeCloseTo(dense.reduce((sum, reward) => sum + reward, 0) / 8, 5);
    expect(step?.reward).toBeCloseTo(step?.score as number, 5);
  });

  it('with weights that are not finite is refused', async () => {
    using prm = new ImplicitPRM(model(), { lora: false });
    prm.tokenRewards = async () => Tensor.from(new Float32Array(10).fill(Number.NaN), { shape: [2, 5] });
    await expect(scoresOf(prm, ANSWERS, { ...scoring, anyScore: true })).rejects.toBeInstanceOf(NumericsError);
  });
});

describe('a run of palm implicit-prm', () => {
  capturePrinted();
  const at = (...names: string[]) => join(folder, ...names);
  const rows = (name: string, all: object[]) => {
    writeFileSync(at(name), all.map((row) => JSON.stringify(row)).join('\n'));
    return ['--data', at(name)];
  };
  const scored = async (...args: string[]) => {
    printed.stdout = '';
    await palm(
      scoreCommand(),
      ...args,
      ...rows('answers.jsonl', [{ prompt: 'a', response: 'bc' }]),
      '--device',
      device,
    );
    return JSON.parse(printed.stdout);
  };

  it('scores answers and their tokens, is a reward for PPO, and stays one in files unless it is merged', async () => {
    using base = new PaLM({ ...SIZE, numTokens: 258 });
    await base.save(at('base.safetensors'), { tokenizer: await loadTokenizer('byte') });
    const labels = Array.from({ length: 8 }, (_, i) => ({
      prompt: 'a',
      completion: i % 2 ? 'bc' : 'x',
      label: i % 2 === 1,
    }));
    const learning = '--epochs 2 --batchSize 4 --lr 0.01 --warmupSteps 0 --beta 0.5'.split(' ');
    const files = ['--model', at('base.safetensors'), '--device', device];
    const own = [...files, ...rows('labels.jsonl', labels), '--out', at('prm')];
    await palm(trainingCommand('implicit-prm'), ...own, ...learning);

    const { score, tokens } = await scored(at('prm'), '--tokens');
    expect(tokens.map(({ text }: { text: string }) => text)).toEqual(['b', 'c', '']);
    expect(tokens.reduce((sum: number, { reward }: { reward: number }) => sum + reward, 0)).toBeCloseTo(score, 5);
    expect(score).toBeGreaterThan(0.01);

    const short = '--steps 1 --rolloutBatch 2 --critic.warmup 0 --sampling.maxNewTokens 4'.split(' ');
    const policy = [...files, '--reward', at('prm'), ...rows('prompts.jsonl', [{ prompt: 'a' }, { prompt: 'b' }])];
    await palm(trainingCommand('ppo'), ...policy, ...short, '--out', at('ppo'));
    const { inputs } = JSON.parse(readFileSync(at('ppo', 'run.json'), 'utf8'));
    expect(inputs.reward.path).toBe(at('prm', 'model.safetensors'));

    await palm(exportCommand(), at('prm'), '--out', at('same.safetensors'));
    expect((await scored(at('same.safetensors'))).score).toBe(score);
    await palm(exportCommand(), at('prm'), '--merge', '--out', at('policy.safetensors'));
    await expect(scored(at('policy.safetensors'))).rejects.toThrow('has no reference to judge by');
    using judge = new RewardModel(base);
    await judge.save(at('whole.safetensors'), { tokenizer: await loadTokenizer('byte') });
    await expect(scored(at('whole.safetensors'), '--tokens')).rejects.toThrow('--tokens: got a RewardModel');
  });
});

describe('implicit rewards of log-probabilities', () => {
  const tensor = (rows: number[][]) => Tensor.from(rows, { dtype: 'float32', device });
  const responseMask = [
    [0, 1, 1],
    [0, 1, 0],
    [0, 0, 0],
  ];

  it('are those of response tokens, and answers without any do not count', async () => {
    using logProb = tensor([
      [9, -1, -2],
      [9, -3, 9],
      [9, 9, 9],
    ]);
    using referenceLogProb = tensor([
      [0, -2, -4],
      [0, -1, 0],
      [0, 0, 0],
    ]);
    const ratio = { logProb, referenceLogProb, responseMask };
    expect(await numbers(implicitReward(ratio, { beta: 0.5 }))).toEqual([0, 0.5, 1, 0, -1, 0, 0, 0, 0]);
    expect(await numbers(implicitScore(ratio, { beta: 0.5 }))).toEqual([1.5, -1, 0]);
    using loss = await implicitRewardLoss(ratio, [1, 1, 1], { beta: 0.5 });
    const expected = (Math.log1p(Math.exp(-1.5)) + Math.log1p(Math.exp(1))) / 2;
    expect(await loss.item()).toBeCloseTo(expected, 5);
    expect(await loss.metrics()).toMatchObject({ accuracy: 0.5, desirableReward: 0.25, undesirableReward: 0 });
  });

  it('raise the log-probability of right answers, and lower that of wrong ones', async () => {
    const logProb = Tensor.parameter(new Float32Array([0, -1, -2, 0, -1, -2]), { shape: [2, 3], device });
    using leaf = await logProb.leaf();
    using referenceLogProb = tensor([
      [0, -1, -2],
      [0, -1, -2],
    ]);
    const ratio = { logProb: leaf, referenceLogProb, responseMask: [responseMask[0], responseMask[0]] as number[][] };
    using loss = await implicitRewardLoss(ratio, [1, 0], { beta: 0.05 });
    expect(await loss.item()).toBeCloseTo(Math.log(2), 6);
    await loss.backward();
    using gradient = await logProb.grad();
    const [, right = 0, , , wrong = 0] = Array.from((await gradient?.data()) ?? [], Number);
    expect(right).toBeLessThan(0); // descending raises it
    expect(wrong).toBeGreaterThan(0);
  });
});

it('the area under the ROC curve is the share of pairs in the right order, ties counting half', () => {
  expect(areaUnderRoc([1, 2, 3, 4], [false, false, true, true])).toBe(1);
  expect(areaUnderRoc([4, 3, 2, 1], [false, false, true, true])).toBe(0);
  expect(areaUnderRoc([1, 1, 2, 0], [true, false, true, false])).toBe(0.875);
  expect(areaUnderRoc([1, 2], [true, true])).toBeUndefined();
  expect(areaUnderRoc([], [])).toBeUndefined();
});

it('a reward model is no ImplicitPRM', async () => {
  const path = join(folder, 'judge.safetensors');
  using judge = new RewardModel(model());
  await judge.save(path);
  await expect(ImplicitPRM.load(path)).rejects.toMatchObject({ fix: 'Load it with RewardModel.load.' });
});
