/** Numbers that are not finite and rewards that fail, at many places and moments of every trainer. */
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openCheckpoints } from '../../src/checkpoint/checkpoints.ts';
import { Random } from '../../src/data/random.ts';
import { NumericsError, RewardError } from '../../src/errors.ts';
import type { Parameter } from '../../src/tensor/tensor.ts';
import { ppo } from '../../src/trainers/ppo.ts';
import type { Reward } from '../../src/trainers/rollouts.ts';
import { type Disturbed, poisonGradient, poisonWeight } from '../poison.ts';
import { bits, fives, policy, pretraining, rewarding } from '../small-trainings.ts';
import { record, times } from './report.ts';
import { Runs } from './runs.ts';

const LONG = 600_000;
const BAD = [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY];

interface Training {
  parameters: Parameter[];
  optimizer: Disturbed;
  steps: AsyncGenerator<{ step: number; skipped: number | undefined }>;
}
const TRAININGS: Record<string, () => Training> = {
  pretrain: () => {
    const run = pretraining();
    return { ...run, parameters: run.model.parameters() };
  },
  reward: () => {
    const run = rewarding();
    return { ...run, parameters: run.rewardModel.parameters() };
  },
  ppo: () => {
    const run = policy();
    return { ...run, parameters: run.actorCritic.parameters() };
  },
};

describe.each(Object.entries(TRAININGS))('%s', (name, start) => {
  it(
    'a step that is not finite moves nothing, whichever it is',
    async () => {
      const random = new Random(7);
      const count = times(4, 60);
      for (let i = 0; i < count; i++) {
        const { parameters, optimizer, steps } = start();
        const at = 1 + random.int(9);
        const value = BAD[random.int(BAD.length)] as number;
        let before: Buffer[] = [];
        optimizer.disturb = async (step) => {
          if (step === at + 1) expect(await bits(parameters, optimizer)).toEqual(before);
          if (step !== at) return {};
          before = await bits(parameters, optimizer);
          if (random.int(2) === 0) return { loss: value };
          await poisonGradient(parameters[random.int(parameters.length)] as Parameter, value);
          return {};
        };
        let skipped = 0;
        for await (const row of steps) skipped += row.skipped ?? 0;
        expect(skipped).toBe(1);
        expect(optimizer.results.findIndex((result) => result.skipped) + 1).toBe(at);
        expect(optimizer.results.every((result) => result.skipped === (result.nonFinite !== undefined))).toBe(true);
      }
      record({
        promise: 'a loss or a gradient that is not finite moves no bit of weights, moments and counts',
        fault: `NaN or ±Infinity in the loss or one gradient of ${name}, at any step`,
        times: count,
        outcome: 'the step is skipped and told of; the run goes on',
      });
    },
    LONG,
  );

  it(
    'five in a row end the run and name the tensor, whichever it is',
    async () => {
      const all = start().parameters.length;
      const random = new Random(8);
      const count = Math.min(all, times(4, 1000));
      const order = random.shuffle(Array.from({ length: all }, (_, i) => i)).slice(0, count);
      for (const place of order) {
        const { parameters, optimizer, steps } = start();
        const weight = parameters[place] as Parameter;
        optimizer.disturb = async (step) => {
          if (step === 2) await poisonWeight(weight);
          return {};
        };
        const run = async () => {
          for await (const _ of steps);
        };
        const error = await run().catch((thrown: unknown) => thrown);
        expect(error).toBeInstanceOf(NumericsError);
        expect(error).toMatchObject({ argument: weight.name });
        // The fifth throws before it has a result; a policy may be refused when it is to answer, before that many.
        const skipped = optimizer.results.filter((result) => result.skipped);
        expect(skipped.every((result) => result.nonFinite === weight.name)).toBe(true);
        if (name !== 'ppo') expect(skipped).toHaveLength(4);
      }
      record({
        promise: 'five steps in a row that are not finite end the run',
        fault: `one weight of ${name} made infinite or NaN`,
        times: count,
        outcome: 'NumericsError with the name of the weight',
      });
    },
    LONG,
  );
});

describe('a reward function that fails', () => {
  const folder = mkdtempSync(join(tmpdir(), 'palm-reward-faults-'));
  afterAll(() => rmSync(folder, { recursive: true }));

  const FAILURES: Record<string, (count: number) => unknown> = {
    'throws an error': () => {
      throw new Error('down');
    },
    rejects: () => Promise.reject(new Error('down')),
    'gives NaN': (count) => Array(count).fill(Number.NaN),
    'gives too few scores': (count) => Array(count - 1).fill(1),
    'never answers': () => new Promise(() => {}),
  };

  it.each(Object.entries(FAILURES))(
    'that %s: the run is saved before the step, and resumed it is bitwise as without',
    async (name: string, fail: (count: number) => unknown) => {
      const options = { klWeight: 0.1, steps: 4 };
      const straight = policy(options);
      for await (const _ of straight.steps);
      const expected = await bits(straight.actorCritic.parameters(), straight.optimizer);
      const count = times(1, 4);
      for (let at = 4; at > 4 - count; at--) {
        const directory = join(folder, `${name} ${at}`);
        let asked = 0;
        const failing = ((answers) => (++asked === at ? fail(answers.length) : fives(answers))) as Reward;
        const first = policy({ ...options, score: { timeout: 0.05 } }, { reward: failing });
        const partsOf = ({ actorCritic, optimizer, batches, parts: { runningScores } }: typeof first) => {
          return { actorCritic, optimizer, batches, runningScores };
        };
        await using broken = await openCheckpoints({ directory, parts: partsOf(first) });
        const run = async () => {
          for await (const _ of broken.during((start) => ppo(first.parts, first.config, start)));
        };
        expect(await run().catch((thrown: unknown) => thrown)).toBeInstanceOf(RewardError);
        await broken.close();

        const second = policy(options);
        await using checkpoints = await openCheckpoints({ directory, parts: partsOf(second) });
        const start = await checkpoints.restore();
        expect(start).toBe(at - 1);
        for await (const _ of checkpoints.during((from) => ppo(second.parts, second.config, from)));
        expect(await bits(second.actorCritic.parameters(), second.optimizer)).toEqual(expected);
      }
      record({
        promise: 'a reward function that fails loses nothing',
        fault: `a function that ${name}, in one of four iterations`,
        times: count,
        outcome: 'RewardError; the run is saved as it was before the iteration and resumed is bitwise as without',
      });
    },
    LONG,
  );
});

describe('the command line', () => {
  const runs = new Runs();
  beforeAll(() => runs.prepare(), LONG);
  afterAll(() => runs.dispose());

  it.each(['pretrain', 'reward', 'ppo'])(
    '%s ends with 3, names the tensor and leaves anomalies',
    async (command) => {
      const args = ['--lr', '1e37', ...(command === 'ppo' ? [] : ['--warmupSteps', '0'])];
      const { code, signal, stderr } = await runs.run(command, 'exploded', args);
      expect(signal).toBeNull();
      expect(code, stderr).toBe(3);
      expect(stderr).toMatch(/error: (gradient of )?[\w.]+: got non-finite numbers/);
      const anomalies = join(runs.path('exploded'), 'anomalies');
      const [first] = readdirSync(anomalies).sort();
      const { metrics } = JSON.parse(readFileSync(join(anomalies, first as string), 'utf8'));
      expect(metrics.at(-1).skipped).toBeGreaterThan(0);
      runs.remove('exploded');
      record({
        promise: 'a run whose numbers stay bad ends by itself',
        fault: `palm ${command} with a learning rate of 1e37`,
        times: 1,
        outcome: 'exit 3 and the name of the tensor; anomalies/ tells of the steps before',
      });
    },
    LONG,
  );
});
