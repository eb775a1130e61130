import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { ActorCritic, ArgumentError, FileError, PaLM, ppo, RewardModel, RunningScores } from '../src/index.ts';
import type { Reward } from '../src/trainers/rollouts.ts';
import { normalised, scoreNorm, scoreNormOf, statisticsOf } from '../src/trainers/score-norm.ts';
import { device } from './device.ts';
import { policy, rewarding } from './small-trainings.ts';

const folder = mkdtempSync(join(tmpdir(), 'palm-score-norm-'));
afterAll(() => rmSync(folder, { recursive: true }));

const MODEL = { numTokens: 16, dim: 16, depth: 1, heads: 2, dimHead: 8, device };
const nothing: Reward = () => [];
/** The scores of an iteration, normalised by what `norm` says of them. */
const normalise = (scores: readonly number[], norm: ReturnType<typeof scoreNorm>) => normalised(scores, norm(scores));
const SCORES = [
  [1, 2, 4, 5],
  [3, 3, 9],
  [-7, 0.5, 2],
];

describe('running statistics', () => {
  it('equal those of all scores together', () => {
    const running = new RunningScores();
    let last = { mean: 0, deviation: 0 };
    for (const scores of SCORES) last = running.update(scores);
    const whole = statisticsOf(SCORES.flat());
    expect(last.mean).toBeCloseTo(whole.mean, 12);
    expect(last.deviation).toBeCloseTo(whole.deviation, 12);
    expect(statisticsOf([1, 3])).toEqual({ mean: 2, deviation: 1 });
  });

  it('continue from a saved state, bit for bit', () => {
    const straight = new RunningScores();
    const [first, second, third] = SCORES as [number[], number[], number[]];
    for (const scores of [first, second]) straight.update(scores);
    const resumed = new RunningScores();
    resumed.restore(JSON.parse(JSON.stringify(straight.state())));
    expect(resumed.update(third)).toEqual(straight.update(third));
  });
});

describe('ScoreNorm', () => {
  const running = (scores: number[]) => normalise(scores, scoreNorm(nothing, { norm: 'running' }, new RunningScores()));

  it('gives mean 0 and deviation 1 for any scale and offset', () => {
    const normal = running([1, 2, 4, 5]);
    expect(statisticsOf(normal).mean).toBeCloseTo(0, 12);
    expect(statisticsOf(normal).deviation).toBeCloseTo(1, 12);
    for (const unit of [1e-4, 1e3]) {
      for (const [i, score] of running([1, 2, 4, 5].map((value) => unit * value - 40 * unit)).entries())
        expect(score).toBeCloseTo(normal[i] as number, 9);
    }
  });

  it('maps equal scores to 0', () => {
    for (const value of [5, 0.1, -1 / 3]) {
      const scores = new RunningScores();
      const norm = scoreNorm(nothing, { norm: 'running' }, scores);
      for (const count of [3, 7, 48])
        expect(normalise(Array(count).fill(value), norm).every((score) => score === 0)).toBe(true);
    }
  });

  it('leaves scores unchanged with norm none', () => {
    expect(normalise([3, -1], scoreNorm(nothing, { norm: 'none' }, new RunningScores()))).toEqual([3, -1]);
  });

  it("uses the reward model's statistics if it has them, else those of the run", () => {
    using palm = new PaLM(MODEL);
    using rewardModel = new RewardModel(palm);
    expect(scoreNormOf(rewardModel, {})).toBe('running');
    expect(scoreNormOf(nothing, {})).toBe('running');
    rewardModel.statistics = { mean: 2, deviation: 0.5 };
    expect(scoreNormOf(rewardModel, {})).toBe('reference');
    expect(scoreNormOf(rewardModel, { norm: 'none' })).toBe('none');
    expect(normalise([2, 3], scoreNorm(rewardModel, {}, new RunningScores()))).toEqual([0, 2]);
  });

  it('refuses missing statistics', () => {
    expect(() => scoreNorm(nothing, { norm: 'reference' }, new RunningScores())).toThrow(
      expect.objectContaining({ code: 'ERR_ARGUMENT', argument: 'score.norm' }),
    );
  });
});

describe('the statistics of a reward model', () => {
  const held = [
    { prompt: [1, 4], chosen: [5, 6], rejected: [7] },
    { prompt: [2], chosen: [5], rejected: [7, 8, 9] },
  ];

  it('are computed on held-out answers and stored in its file', async () => {
    const { rewardModel, steps } = rewarding({ epochs: 1 }, undefined, held);
    rewardModel.statistics = { mean: 9, deviation: 9 };
    const known: boolean[] = [];
    for await (const _ of steps) known.push(rewardModel.statistics !== undefined);
    expect(known.lastIndexOf(false)).toBe(known.length - 2); // from the last step on, with which they are saved
    const scores: number[] = [];
    for (const { prompt, chosen, rejected } of held) {
      for (const response of [chosen, rejected]) {
        using score = await rewardModel.score([[...prompt, ...response]], { promptLengths: [prompt.length] });
        scores.push(await score.item());
      }
    }
    const expected = statisticsOf(scores);
    expect(rewardModel.statistics?.mean).toBeCloseTo(expected.mean, 5);
    expect(rewardModel.statistics?.deviation).toBeCloseTo(expected.deviation, 5);

    const path = join(folder, 'reward.safetensors');
    await rewardModel.save(path);
    using loaded = await RewardModel.load(path, { device });
    expect(loaded.statistics).toEqual(rewardModel.statistics);
    rewardModel.dispose();
  });

  it('are missing without held-out pairs', async () => {
    const { rewardModel, steps } = rewarding({ epochs: 1 });
    for await (const _ of steps);
    expect(rewardModel.statistics).toBeUndefined();
    const path = join(folder, 'without.safetensors');
    await rewardModel.save(path);
    using loaded = await RewardModel.load(path, { device });
    expect(loaded.statistics).toBeUndefined();
    rewardModel.dispose();
  });

  it.each([{ mean: Number.NaN, deviation: 1 }, { mean: 0, deviation: -1 }, { mean: 0 }, 'large'])(
    'of %j are refused, set or read',
    async (bad) => {
      using palm = new PaLM(MODEL);
      using rewardModel = new RewardModel(palm);
      expect(() => {
        rewardModel.statistics = bad as { mean: number; deviation: number };
      }).toThrow(ArgumentError);

      rewardModel.statistics = { mean: 0.125, deviation: 1 };
      const path = join(folder, 'bad.safetensors');
      await rewardModel.save(path);
      const good = Buffer.from('{\\"mean\\":0.125,\\"deviation\\":1}');
      const file = readFileSync(path);
      const at = file.indexOf(good);
      expect(at).toBeGreaterThan(0);
      const text = JSON.stringify(JSON.stringify(bad)).slice(1, -1);
      expect(text.length).toBeLessThanOrEqual(good.length);
      file.write(text.padEnd(good.length), at);
      writeFileSync(path, file);
      await expect(RewardModel.load(path, { device })).rejects.toThrow(FileError);
    },
  );
});

describe('PPO', () => {
  const lastOf = async (run: ReturnType<typeof policy>) => {
    let last: { score: number; reward: number } | undefined;
    for await (const step of run.steps) last = step;
    return last as { score: number; reward: number };
  };

  it('reports raw scores, and learns from normalised ones', async () => {
    const { score, reward } = await lastOf(
      policy({ steps: 1 }, { reward: (answers) => answers.map((_, i) => 100 + i) }),
    );
    expect(score).toBeCloseTo(103.5, 10);
    expect(reward).toBeCloseTo(0, 5);
  });

  it('requires the statistics of earlier steps when it resumes', async () => {
    const run = policy();
    const without = { ...run.parts, runningScores: undefined };
    await expect(ppo(without, run.config, 1).next()).rejects.toMatchObject({ argument: 'parts.runningScores' });
    expect(await ppo({ ...run.parts, runningScores: new RunningScores() }, run.config, 3).next()).toMatchObject({
      value: { step: 4 },
    });
  });

  it('uses every setting of the configuration', async () => {
    const steered = policy({ adaptiveKl: { target: 1, horizon: 10 } });
    await expect(steered.steps.next()).rejects.toMatchObject({ argument: 'parts.adaptiveKl' });
    const run = policy();
    const actorCritic = new ActorCritic(new PaLM(MODEL), { lora: false });
    await expect(ppo({ ...run.parts, actorCritic }, run.config).next()).rejects.toMatchObject({
      argument: 'parts.policy.reference',
    });
  });
});
