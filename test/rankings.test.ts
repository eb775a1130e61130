/** Several ranked responses to a prompt: files of them, what a reward model learns from them, and where its scores are 0. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { type RewardConfigInput, rewardConfig } from '../src/config/reward.ts';
import { parseConfig } from '../src/config/schema.ts';
import { loadPreferences } from '../src/data/preferences.ts';
import type { Ranking } from '../src/data/rankings.ts';
import { ArgumentError } from '../src/errors.ts';
import { rankingLoss } from '../src/losses/reward.ts';
import { calibrationOf, kendallTauB } from '../src/metrics/calibration.ts';
import { loadComparisons } from '../src/methods/rankings.ts';
import { rewardMethod, type RewardIngredients } from '../src/methods/reward.ts';
import { PaLM } from '../src/models/palm.ts';
import { Tensor } from '../src/tensor/tensor.ts';
import { loadTokenizer } from '../src/tokenizer/load.ts';
import type { RewardStep } from '../src/trainers/reward.ts';
import { scoresOf } from '../src/trainers/rewards.ts';
import { device } from './device.ts';

const SIZE = { numTokens: 12, dim: 16, depth: 2, heads: 2, dimHead: 8, ffMult: 2, seed: 3, device };

/** The utility of a response is that of its token; tokens of the same utility tie. */
const UTILITY = [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5];

/** Four responses of one token each, ranked by utility. */
function ranking(i: number): Ranking {
  const tokens = [0, 1, 4, 7].map((offset) => (i * 5 + offset) % 12); // the first two tie where i is even
  return {
    prompt: [i % 12],
    responses: tokens.map((token) => [token]),
    rank: tokens.map((token) => -(UTILITY[token] ?? 0)),
  };
}
const rankings = Array.from({ length: 36 }, (_, i) => ranking(i)).filter(({ rank }) => new Set(rank).size > 1);

async function train(options: RewardConfigInput, ingredients: Partial<RewardIngredients> = {}) {
  const config = parseConfig(
    rewardConfig,
    { batchSize: 12, epochs: 25, warmupSteps: 1, lr: 1e-2, evaluateEvery: 1000, lora: false, ...options },
    'test',
  );
  using model = new PaLM(SIZE);
  const { parts, train } = rewardMethod.assemble(config, {
    model,
    pairs: rankings,
    validation: rankings,
    ...ingredients,
  });
  using _ = parts.optimizer;
  const steps: RewardStep[] = [];
  for await (const step of train()) steps.push(step);
  return { rewardModel: parts.weights, last: steps.at(-1) as RewardStep, steps };
}

describe('rankings of a labeller with known utilities', () => {
  it('are learnt in order, and ties with Rao and Kupper as ties', { timeout: 60_000 }, async () => {
    const { rewardModel, last } = await train({ ranking: { ties: 'rao-kupper' } });
    expect(last.validationKendallTau).toBeGreaterThanOrEqual(0.95);
    expect(last.validationAccuracy).toBeGreaterThanOrEqual(0.95);
    const answers = rankings.flatMap(({ prompt, responses }) => responses.map((response) => ({ prompt, response })));
    const { scores } = await scoresOf(rewardModel, answers, { size: 12, timeout: 9 });
    /** Mean distance of the scores of two answers to a prompt whose utilities differ by so much. */
    const distance = (utility: number) => {
      const gaps = rankings.flatMap(({ rank: ranks }, row) =>
        ranks.flatMap((rank, i) =>
          ranks.flatMap((other, n) =>
            other - rank === utility && i !== n
              ? [(scores[4 * row + i] as number) - (scores[4 * row + n] as number)]
              : [],
          ),
        ),
      );
      return gaps.reduce((sum, gap) => sum + Math.abs(gap), 0) / gaps.length;
    };
    expect(distance(0)).toBeLessThan(distance(1) / 2);
    expect(distance(1)).toBeLessThan(distance(3));
    rewardModel.dispose();
  });

  it('are learnt as whole orders by Plackett–Luce', async () => {
    const orders = rankings.filter(({ rank }) => new Set(rank).size === rank.length);
    const given = { pairs: orders, validation: orders };
    const { last, rewardModel } = await train({ epochs: 60, ranking: { model: 'plackett-luce' } }, given);
    expect(last.validationKendallTau).toBeGreaterThanOrEqual(0.95);
    rewardModel.dispose();
    const tied = { pairs: [{ prompt: [1], responses: [[2], [3]], rank: [0, 0] }] };
    await expect(train({ ranking: { model: 'plackett-luce' } }, tied)).rejects.toMatchObject({ argument: 'pairs[0]' });
  });

  it('put a good answer above 0, and all below it where none is good', async () => {
    const pairs = rankings.map((row) => ({ ...row, noneGood: Math.min(...row.rank) > -4 }));
    expect(pairs.some(({ noneGood }) => noneGood)).toBe(true);
    const { rewardModel } = await train({ epochs: 40, ranking: { anchorWeight: 1 } }, { pairs });
    const best = UTILITY.map((_, token) => ({ prompt: [3], response: [token] }));
    const { scores } = await scoresOf(rewardModel, best, { size: 12, timeout: 9 });
    expect(scores[10]).toBeGreaterThan(0);
    expect(scores[0]).toBeLessThan(0);
    rewardModel.dispose();
  });

  it('give reference answers the mean score 0, and statistics that know of it', async () => {
    const references = [4, 5, 9].map((token) => ({ prompt: [3], response: [token] }));
    const { rewardModel } = await train({ epochs: 2 }, { references });
    const { scores } = await scoresOf(rewardModel, references, { size: 2, timeout: 9 });
    expect(rewardModel.shift).not.toBe(0);
    expect(scores.reduce((sum, score) => sum + score, 0) / 3).toBeCloseTo(0, 5);
    const held = await train({ epochs: 2 });
    expect(rewardModel.statistics?.mean).toBeCloseTo((held.rewardModel.statistics?.mean ?? 0) + rewardModel.shift, 5);
    expect(held.rewardModel.shift).toBe(0);
    for (const model of [rewardModel, held.rewardModel]) model.dispose();
  });

  it('of two are pairs', async () => {
    const pairs = rankings.map(({ prompt, responses: [a = [], b = []] }, i) => ({ prompt, chosen: a, rejected: b, i }));
    const two = pairs.map(({ prompt, chosen, rejected }) => ({ prompt, responses: [chosen, rejected], rank: [1, 2] }));
    const given = (rows: RewardIngredients['pairs']) => ({ pairs: rows, validation: rows });
    const [a, b] = [await train({ epochs: 2 }, given(pairs)), await train({ epochs: 2 }, given(two))];
    const numbers = ({ steps }: { steps: RewardStep[] }) => steps.map(({ timing: _, ...step }) => step);
    expect(numbers(a)).toEqual(numbers(b));
    for (const { rewardModel } of [a, b]) rewardModel.dispose();
  });

  it('with a margin are told apart further', async () => {
    const pairs = (margin?: number) => [{ prompt: [3], chosen: [2], rejected: [9], margin }];
    const gapWith = async (margin?: number) => {
      const { rewardModel, last } = await train({ epochs: 60, batchSize: 1 }, { pairs: pairs(margin), validation: [] });
      rewardModel.dispose();
      return last.margin as number;
    };
    expect(await gapWith(3)).toBeGreaterThan((await gapWith()) + 0.5);
  });
});

describe('options of a ranking loss', () => {
  it.each([
    [{ tieWidth: 1 }, 'tieWidth'],
    [{ noneGood: [0, 0] }, 'noneGood'],
    [{ anchorWeight: 1 }, 'noneGood'],
    [{ model: 'plackett-luce', margins: [1, 1] }, 'margins'],
    [{ model: 'plackett-luce', centerWeight: 1 }, 'centerWeight'],
    [{ ties: 'davidson' }, 'ties'],
    [{ l2Weight: -1 }, 'l2Weight'],
  ])('refuses %j', async (options, argument) => {
    using score = Tensor.from(new Float32Array([1, 2]), { device });
    const lose = rankingLoss(score, { groups: [0, 0], ranks: [0, 1] }, options as never);
    await expect(lose).rejects.toMatchObject({ argument });
    await expect(lose).rejects.toBeInstanceOf(ArgumentError);
  });

  it('counts equal scores half', async () => {
    using score = Tensor.from(new Float32Array([1, 1]), { device });
    using loss = await rankingLoss(score, { groups: [0, 0], ranks: [0, 1] });
    expect((await loss.metrics()).accuracy).toBe(0.5);
  });
});

describe('the metrics of an order', () => {
  it('are 1 in the right order, −1 in the opposite one, and none where all are equal', () => {
    expect(kendallTauB([3, 2, 1], [0, 1, 2])).toBe(1);
    expect(kendallTauB([1, 2, 3], [0, 1, 2])).toBe(-1);
    expect(kendallTauB([1, 1], [0, 1])).toBeUndefined();
    expect(kendallTauB([3, 2, 1], [0, 0, 1])).toBeCloseTo(2 / Math.sqrt(6), 12);
  });

  it('are calibrated where verdicts are as often right as probabilities say', () => {
    const gap = Math.log(3); // right three times of four
    expect(calibrationOf([gap, gap, gap, -gap])).toEqual({
      ece: expect.closeTo(0, 12),
      brier: expect.closeTo(0.1875, 12),
    });
    expect(calibrationOf([0, 0])).toEqual({ ece: 0, brier: 0.25 });
  });
});

describe('files of rankings', () => {
  const folder = mkdtempSync(join(tmpdir(), 'palm-rankings-'));
  afterAll(() => rmSync(folder, { recursive: true }));
  const file = (lines: object[]) => {
    writeFileSync(join(folder, 'rows.jsonl'), lines.map((line) => JSON.stringify(line)).join('\n'));
    return join(folder, 'rows.jsonl');
  };

  const { ranking: learning, rating } = parseConfig(rewardConfig, {}, 'test');
  const reading = { maxLength: 9, validationFraction: 0, seed: 0, rules: 'v2', ranking: learning, rating } as const;

  it('are learned as whole rankings, without those that teach nothing', async () => {
    const row = { prompt: 'a', responses: ['b', 'c', 'd'], ranking: [2, 1, 1] };
    const data = file([
      { ...row, none_good: true },
      { ...row, ranking: [1, 1, 1] },
    ]);
    const tokenizer = await loadTokenizer('byte');
    const read = await loadComparisons({ ...reading, data }, tokenizer);
    const tokens = { prompt: [97], responses: [98, 99, 100].map((token) => [token, 256]) };
    expect(read.pairs).toMatchObject([{ ...tokens, rank: [2, 1, 1], noneGood: true }]);
    expect(read).toMatchObject({ perPrompt: 3, longest: 3, rows: { rankings: 1, skipped: 1 } });
    expect(read.notices).toEqual([expect.stringContaining('all its responses are tied')]);
    const all = await loadComparisons({ ...reading, data, ranking: { ...learning, ties: 'rao-kupper' } }, tokenizer);
    expect(all.pairs).toHaveLength(2);
    await expect(
      loadComparisons({ ...reading, data: file([{ ...row, ranking: [0, 0, 0] }]) }, tokenizer),
    ).rejects.toThrow(/all its responses are tied/);
  });

  it('come from ratings of the same prompt', async () => {
    const rated = [3, 1, 2].map((helpful, i) => ({ prompt: 'a', response: 'bcd'[i], ratings: { helpful } }));
    const data = { ...reading, rating: { as: 'order' as const }, data: file(rated) };
    const { pairs } = await loadComparisons(data, await loadTokenizer('byte'));
    expect(pairs).toMatchObject([{ rank: [0, 2, 1] }]);
  });

  it('of pairs may have a margin', async () => {
    const pair = { prompt: 'a', chosen: 'b', rejected: 'c' };
    const rows = file([
      { ...pair, margin: 0.5 },
      { ...pair, prompt: 'd' },
    ]);
    const { pairs } = await loadPreferences(rows, await loadTokenizer('byte'), { maxLength: 9 });
    expect(pairs.map(({ margin }) => margin)).toEqual([0.5, undefined]);
  });
});
