/** Rated responses: files of them, and what a reward model learns from them, as a number or as one of some bins. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { type RewardConfigInput, rewardConfig } from '../src/config/reward.ts';
import { parseConfig } from '../src/config/schema.ts';
import type { RatedResponse } from '../src/data/ratings.ts';
import { ArgumentError, ConfigError, DataError } from '../src/errors.ts';
import { loadComparisons } from '../src/methods/rankings.ts';
import { type RewardIngredients, rewardMethod } from '../src/methods/reward.ts';
import { PaLM } from '../src/models/palm.ts';
import { loadTokenizer } from '../src/tokenizer/load.ts';
import { train } from '../src/train/train.ts';
import type { RewardStep } from '../src/trainers/reward.ts';
import { scoresOfModel } from '../src/trainers/rewards.ts';
import { trainingCommand } from '../src/cli/train.ts';
import { capturePrinted, palm } from './command-line.ts';
import { device } from './device.ts';

capturePrinted();

const SIZE = { numTokens: 12, dim: 16, depth: 2, heads: 2, dimHead: 8, ffMult: 2, seed: 3, device };
const TRAINING = { batchSize: 12, epochs: 40, warmupSteps: 1, lr: 1e-2, evaluateEvery: 1000, lora: false } as const;

/** The rating of a response is that of its first token, 101 … 104; the second does not count. */
function rated(i: number): RatedResponse {
  return { prompt: [i % 5], response: [i % 12, (i * 7) % 12], rating: 101 + Math.floor((i % 12) / 3) };
}
const ratings = Array.from({ length: 36 }, (_, i) => rated(i));
const validation = Array.from({ length: 12 }, (_, i) => ({ ...rated(i + 37), prompt: [11] }));
const stars = (rows: readonly RatedResponse[]) => rows.map((row) => ({ ...row, rating: row.rating - 101 }));

function configOf(options: RewardConfigInput) {
  return parseConfig(rewardConfig, { ...TRAINING, ...options }, 'test');
}

async function learned(options: RewardConfigInput, ingredients: Partial<RewardIngredients> = {}) {
  using model = new PaLM(SIZE);
  const given = { model, pairs: ratings, validation, ...ingredients };
  const { parts, train: run } = rewardMethod.assemble(configOf(options), given);
  using _ = parts.optimizer;
  const steps: RewardStep[] = [];
  for await (const step of run()) steps.push(step);
  return { rewardModel: parts.weights, steps, last: steps.at(-1) as RewardStep };
}

describe('a reward model of ratings', () => {
  it('scores in their unit, as numbers', async () => {
    const { rewardModel, last, steps } = await learned({});
    const spread = Math.sqrt(1.25); // of four equally frequent ratings
    expect(steps[0]?.loss).toBeLessThan(3 * spread ** 2); // and not 102.5²: their middle is known
    expect(last.validationError).toBeLessThan(0.5 * spread);
    expect(last.validationKendallTau).toBeGreaterThan(0.6);
    expect(last).toMatchObject({ accuracy: undefined, margin: undefined, validationAccuracy: undefined });
    const scores = await scoresOfModel(rewardModel, validation, { size: 5 });
    const off = scores.map((score, i) => Math.abs(score - (validation[i] as RatedResponse).rating));
    expect(off.reduce((sum, each) => sum + each, 0) / off.length).toBeCloseTo(last.validationError as number, 4);
    expect(rewardModel.statistics?.mean).toBeCloseTo(last.validationScoreMean as number, 4);
    rewardModel.dispose();
  });

  it('scores in their unit with bins, which may begin at 0', async () => {
    const rows = { pairs: stars(ratings), validation: stars(validation) };
    const { rewardModel, last } = await learned({ rating: { bins: 4, lowest: 0 } }, rows);
    expect(rewardModel.numBins).toBe(4);
    expect(rewardModel.shift).toBe(0);
    expect(last.validationLoss).toBeLessThan(Math.log(4));
    expect(last.validationError).toBeLessThan(0.5);
    expect(last.validationKendallTau).toBeGreaterThan(0.6);
    rewardModel.dispose();
    const from101 = await learned({ rating: { bins: 4, lowest: 101 } });
    expect(from101.last.validationLoss).toBeCloseTo(last.validationLoss as number, 6);
    expect(from101.last.validationScoreMean).toBeCloseTo((last.validationScoreMean as number) + 101, 4);
    from101.rewardModel.dispose();
  });

  it('learns the same in small batches as in large ones', async () => {
    const whole = await learned({ epochs: 2, batchSize: 6, rating: { bins: 4, lowest: 101 } });
    const split = await learned({ epochs: 2, batchSize: 3, accumulate: 2, rating: { bins: 4, lowest: 101 } });
    expect(split.last.loss).toBeCloseTo(whole.last.loss, 4);
    expect(split.last.validationLoss).toBeCloseTo(whole.last.validationLoss as number, 4);
    for (const { rewardModel } of [whole, split]) rewardModel.dispose();
  });

  it('has the loss that its scores say', async () => {
    const { rewardModel, last } = await learned({ epochs: 1 });
    const scores = await scoresOfModel(rewardModel, validation, { size: 12 });
    const squares = scores.map((score, i) => (score - (validation[i] as RatedResponse).rating) ** 2);
    expect(last.validationLoss).toBeCloseTo(squares.reduce((sum, each) => sum + each, 0) / squares.length, 3);
    rewardModel.dispose();
  });

  it('scores references 0 on average, if there are any', async () => {
    const references = ratings.slice(0, 6).map(({ prompt, response }) => ({ prompt, response }));
    const { rewardModel } = await learned({ epochs: 1 }, { references });
    const scores = await scoresOfModel(rewardModel, references, { size: 6 });
    expect(scores.reduce((sum, score) => sum + score, 0)).toBeCloseTo(0, 4);
    rewardModel.dispose();
  });

  it.each<[string, RewardConfigInput, RatedResponse, string]>([
    ['NaN', {}, { ...rated(0), rating: Number.NaN }, 'pairs[0].rating: got NaN, expected a finite number'],
    ['more than float32 holds', {}, { ...rated(0), rating: 1e39 }, 'expected a finite number'],
    ['a half with bins', { rating: { bins: 5 } }, { ...rated(0), rating: 2.5 }, 'expected a whole number from 1 to 5'],
    ['0 with bins', { rating: { bins: 5 } }, { ...rated(0), rating: 0 }, 'expected a whole number from 1 to 5'],
    ['6 of 5', { rating: { bins: 5 } }, { ...rated(0), rating: 6 }, 'expected a whole number from 1 to 5'],
    ['an unknown token', {}, { ...rated(0), response: [12] }, 'pairs[0].response[0]'],
    ['no tokens', {}, { prompt: [], response: [], rating: 1 }, 'pairs[0]: got no tokens'],
  ])('refuses %s', async (_, options, row, message) => {
    const wrong = await learned(options, { pairs: [row], validation: undefined }).catch((error) => error);
    expect(wrong).toBeInstanceOf(ArgumentError);
    expect(wrong.message).toContain(message);
  });

  it('is not evaluated on pairs', async () => {
    const pairs = [{ prompt: [1], chosen: [2], rejected: [3] }];
    await expect(learned({}, { validation: pairs })).rejects.toThrow('expected rated responses');
    await expect(learned({}, { pairs })).rejects.toThrow('expected pairs or rankings');
  });
});

describe('files of ratings', () => {
  const folder = mkdtempSync(join(tmpdir(), 'palm-ratings-'));
  afterAll(() => rmSync(folder, { recursive: true }));
  let files = 0;
  const file = (rows: object[], name = `${files++}.jsonl`) => {
    writeFileSync(join(folder, name), rows.map((row) => `${JSON.stringify(row)}\n`).join(''));
    return join(folder, name);
  };
  const READING = { maxLength: 64, validationFraction: 0, seed: 0, rules: 'v2' as const };
  async function load(rows: object[], options: RewardConfigInput = {}) {
    const { rating, ranking } = rewardConfig.parse(options);
    return await loadComparisons({ ...READING, data: file(rows), rating, ranking }, await loadTokenizer('byte'));
  }
  const helpful = (rating: unknown, response = 'b') => ({ prompt: 'a', response, rating });
  const HELPSTEER = { helpfulness: 4, correctness: 3, coherence: 4, complexity: 1, verbosity: 2 };

  it('have one rating, several, or a scale', async () => {
    expect(await load([helpful(3), helpful('4.5', 'c')])).toMatchObject({
      pairs: [{ rating: 3 }, { rating: 4.5 }],
      rows: { ratings: 2 },
      perPrompt: 1,
    });
    const several = [{ prompt: 'a', response: 'b', ratings: { tone: 1, sense: 2 } }];
    expect((await load(several)).pairs).toMatchObject([{ rating: 1.5 }]);
    expect((await load(several, { rating: { aspect: 'tone' } })).pairs).toMatchObject([{ rating: 1 }]);
    const steer = [{ prompt: 'a', response: 'b', ...HELPSTEER }];
    expect((await load(steer)).pairs).toMatchObject([{ rating: 11 / 3 }]);
    const bins = { aspect: 'verbosity', bins: 5, lowest: 0 };
    expect((await load(steer, { rating: bins })).pairs).toMatchObject([{ rating: 2 }]);
  });

  it('are learned as an order if that is asked for', async () => {
    const rows = [helpful(3, 'b'), helpful(1, 'c'), helpful(2, 'd')];
    expect((await load(rows, { rating: { as: 'order' } })).pairs).toMatchObject([{ rank: [0, 2, 1] }]);
  });

  it.each<[string, object[], RewardConfigInput, string]>([
    ['above its scale', [helpful(3), { ...helpful(6), scale: [1, 5] }], {}, 'a rating from 1 to 5'],
    [
      'of HelpSteer',
      [HELPSTEER, { ...HELPSTEER, coherence: 9 }].map((row) => ({ prompt: 'a', response: 'b', ...row })),
      {},
      '9 as "coherence"',
    ],
    ['that is text', [helpful(3), helpful('good')], {}, 'rating'],
    ['that is missing', [helpful(3), { prompt: 'a', response: 'b' }], {}, 'rating'],
    ['that is null, as NaN in JSON', [helpful(3), helpful(Number.NaN)], {}, 'rating'],
    ['that is no bin', [helpful(3), helpful(0)], { rating: { bins: 5 } }, 'a whole number from 1 to 5'],
    ['between bins', [helpful(3), helpful(2.5)], { rating: { bins: 5 } }, 'a whole number from 1 to 5'],
    [
      'whose aspect is missing',
      [{ a: 1 }, { b: 1 }].map((ratings) => ({ prompt: 'a', response: 'b', ratings })),
      { rating: { aspect: 'a' } },
      'no number as "a"',
    ],
  ])('a rating %s is refused with its line', async (_, rows, options, message) => {
    const wrong = await load(rows, options).catch((error) => error);
    expect(wrong).toBeInstanceOf(DataError);
    expect(wrong.message).toMatch(/\d+\.jsonl:2/);
    expect(wrong.message).toContain(message);
  });

  it.each<[string, object, RewardConfigInput]>([
    ['rating.bins', { prompt: 'a', chosen: 'b', rejected: 'c' }, { rating: { bins: 5 } }],
    ['rating.aspect', helpful(1), { rating: { as: 'order', aspect: 'rating' } }],
    ['rating.lowest', helpful(1), { rating: { lowest: 0 } }],
    ['ranking.ties', helpful(1), { ranking: { ties: 'rao-kupper' } }],
  ])('%s is refused where it is not used', async (argument, row, options) => {
    const wrong = await load([row], options).catch((error) => error);
    expect(wrong).toBeInstanceOf(ConfigError);
    expect(wrong.message).toContain(argument);
  });

  it('train by the command and by train, alike', async () => {
    const model = join(folder, 'base.safetensors');
    using base = new PaLM({ ...SIZE, numTokens: 258 });
    await base.save(model, { tokenizer: await loadTokenizer('byte') });
    const rows = Array.from({ length: 24 }, (_, i) => ({
      prompt: `${i}?`,
      response: 'yn'[i % 2] as string,
      rating: 1 + (i % 2),
    }));
    const out = join(folder, 'judge');
    const flags = [
      '--epochs',
      '2',
      '--batchSize',
      '4',
      '--rating.bins',
      '2',
      '--validationFraction',
      '0.2',
      '--device',
      device,
    ];
    await palm(trainingCommand('reward'), '--model', model, '--data', file(rows, 'rows.jsonl'), '--out', out, ...flags);
    const lines = readFileSync(join(out, 'metrics.jsonl'), 'utf8').trimEnd().split('\n');
    expect(JSON.parse(lines.at(-1) as string)).toMatchObject({ validationError: expect.any(Number) });
    const config = { epochs: 2, batchSize: 4, rating: { bins: 2 }, validationFraction: 0.2 };
    using judge = await train({ model, device, ratings: rows, config });
    expect(judge.method).toBe('reward');
    const [yes, no] = await judge.score([
      { prompt: '1?', response: 'y' },
      { prompt: '1?', response: 'n' },
    ]);
    expect(yes).toBeGreaterThanOrEqual(1);
    expect(no).toBeLessThanOrEqual(2);
  });

  it('are refused in memory with their place', () => {
    const ratings = [{ prompt: 'a', response: 'b', rating: Number.NaN }];
    expect(() => train({ model: 'x', ratings })).toThrow('train.ratings[0].rating: got NaN, expected a finite number');
  });
});
