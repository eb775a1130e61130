/** The guards of runs that learn from scores: what each sees, that a run ends by itself, and that looking changes nothing. */
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { guardedEvaluation } from '../src/config/evaluation.ts';
import { ppoConfig } from '../src/config/ppo.ts';
import { parseConfig } from '../src/config/schema.ts';
import { ActorCritic, loadTokenizer, PaLM, type RunOptions, runMethod, train } from '../src/index.ts';
import type { Method } from '../src/methods/method.ts';
import { grpoMethod } from '../src/methods/grpo.ts';
import { methods } from '../src/methods.ts';
import { correlation } from '../src/metrics/correlation.ts';
import { Policy } from '../src/models/policy.ts';
import type { Optimizer } from '../src/optim.ts';
import { stoppedAt } from '../src/trainers/ending.ts';
import { type GuardOptions, Guards } from '../src/trainers/guards.ts';
import { CombinedReward } from '../src/trainers/combined-reward.ts';
import { type Reward, type RewardFunction, repetitionOf } from '../src/trainers/rollouts.ts';
import { device } from './device.ts';
import { type CriticFree, configOf, EOS, fives, PROMPTS, policyOf, smallModel } from './policies.ts';
import { bits } from './small-trainings.ts';

/** The step at which `options` end a run whose steps have these values of `metric`, and what is said of it. */
function ended(options: GuardOptions, metric: string, values: readonly number[]) {
  const guards = new Guards(options);
  for (const [i, value] of values.entries()) {
    guards.sees({ step: i + 1, [metric]: value });
    const stopped = stoppedAt(i + 1, 100, { guards });
    if (stopped !== undefined) return stopped;
  }
  return undefined;
}

describe('guards', () => {
  it.each<[string, GuardOptions, string, number[], number | undefined]>([
    ['kl above its budget', { kl: 3 }, 'kl', [0, 4, 2, 3.1, 3.2, 9], 5],
    ['agreement below its limit', { agreement: 0.3 }, 'agreement', [0.6, 0.2, 0.3, -0.1, 0.29], 5],
    ['a held-out score that has fallen', { drop: 0.5 }, 'score.heldOut', [0, 2, 1.4, 3, 2.6, 2.4, 2.5, 2.4, 2.4], 9],
    ['longer responses', { length: 2 }, 'responseLength', [10, 20, 21, 22], 4],
    ['shorter responses', { length: 2 }, 'responseLength', [10, 5, 4.9, 4.8], 4],
    ['repetition', { repetition: 0.25 }, 'repetition', [0.25, 0.5, 0.51, 0.4, 0.52, 0.53], 6],
    ['one step over a limit, if told', { kl: 3, patience: 1 }, 'kl', [0, 4], 2],
    ['nothing within the limits', { kl: 3, patience: 3 }, 'kl', [0, 4, 4, 3, 4, 4], undefined],
  ])('end a run for %s', (_, options, metric, values, step) => {
    const stopped = ended(options, metric, values);
    expect(stopped?.step).toBe(step);
    if (stopped !== undefined) expect(Object.keys(options)[0]).toBe(stopped.cause);
  });

  it('say which limit it was, and by how much', () => {
    const reasonOf = (options: GuardOptions, metric: string, values: number[]) =>
      ended(options, metric, values)?.reason;
    expect(reasonOf({ kl: 3 }, 'kl', [4, 4])).toBe('kl was above 3 in 2 steps in a row');
    expect(reasonOf({ length: 1.5, patience: 1 }, 'responseLength', [8, 20])).toBe(
      'responseLength was more than 1.500 times above or below that of the first step, 8, in 1 step',
    );
  });

  it('go on from a saved state as if they had seen all steps', () => {
    const values = [1, 2, 0.9, 0.8];
    for (let cut = 0; cut <= 3; cut++) {
      const options = { drop: 1, length: 2 };
      const rows = values.map((value, i) => ({ step: i + 1, 'score.heldOut': value, responseLength: 5 + i }));
      const first = new Guards(options);
      for (const row of rows.slice(0, cut)) first.sees(row);
      const second = new Guards(options);
      second.restore(JSON.parse(JSON.stringify(first.state())));
      for (const row of rows.slice(cut)) second.sees(row);
      expect(second.reason).toMatchObject({ cause: 'drop' });
    }
    for (const wrong of [null, {}, { first: null, peak: 'x', over: {} }, { first: { kl: 'x' }, peak: 0, over: {} }])
      expect(() => new Guards({ kl: 1 }).restore(wrong as never)).toThrow('Guards.restore');
  });

  it('refuse limits that are none, and steps without what they need', () => {
    expect(() => new Guards({})).toThrow('Guards: got no limit');
    expect(() => new Guards({ length: 1 })).toThrow('Guards.length');
    expect(() => new Guards({ kll: 1 } as GuardOptions)).toThrow('Did you mean kl?');
    expect(() => new Guards({ kl: 1 }).sees({ step: 1, kl: undefined })).toThrow('expected a reference policy');
    expect(() => new Guards({ drop: 1 }).sees({ step: 1 })).toThrow('expected a held-out reward');
  });

  it.each<[object, string]>([
    [{ agreement: 0.1 }, 'test.guard.agreement: got 0.1, expected nothing without reward'],
    [{ drop: 0.1 }, 'test.guard.drop: got 0.1, expected nothing without reward'],
    [{ patience: 3 }, 'test.guard.patience: got 3, expected reward, kl, length or repetition besides'],
    [{ length: 1 }, 'test.guard.length: got 1, expected a finite number > 1'],
  ])('refuse the settings %j', (guard, message) => {
    const group = guardedEvaluation.unwrap();
    expect(() => parseConfig(group as never, { guard }, 'test')).toThrow(message);
  });
});

describe('what guards measure', () => {
  it('is the share of trigrams that a response has before', () => {
    expect(repetitionOf([1, 2])).toBe(0);
    expect(repetitionOf([1, 2, 3, 4, 5])).toBe(0);
    expect(repetitionOf([7, 7, 7, 7, 7, 7])).toBe(0.75);
    expect(repetitionOf([1, 2, 3, 1, 2, 3])).toBe(0.25);
    expect(repetitionOf([1, 12, 3, 11, 2, 3])).toBe(0);
  });

  it('is the correlation of scores', () => {
    expect(correlation([1, 2, 3, 5], [3, 5, 7, 11])).toBeCloseTo(1, 12);
    expect(correlation([1, 2, 3, 5], [3, 1, -1, -5])).toBeCloseTo(-1, 12);
    expect(correlation([1, 2, 3, 4], [1, -1, -1, 1])).toBeCloseTo(0, 12);
    // Σ xy / √(Σ x² Σ y²) with x = (−4, −1, 5) / 3 and y = (−2, −5, 7) / 3
    expect(correlation([1, 2, 4], [2, 1, 5])).toBeCloseTo(48 / Math.sqrt(42 * 78), 12);
    expect(correlation([1, 1, 1], [1, 2, 3])).toBeUndefined();
  });
});

const FIRST: Reward = fives;
const LAST: Reward = (answers) => answers.map(({ response }) => response.at(-1) as number);

/** The steps of a run of `name`, and all bits that it leaves. */
async function trained(name: CriticFree | 'ppo', heldOut: Reward | undefined) {
  const sizes = { steps: 3, rolloutBatch: 6, minibatchSize: 12 };
  const ingredients = { reward: FIRST, heldOut, prompts: PROMPTS, eosToken: EOS };
  const sampling = { maxNewTokens: 6, samplesPerPrompt: 2 };
  const plain = { ...sizes, sampling, lora: 4, lr: 1e-2, warmupSteps: 0, critic: { warmup: 0 } };
  const learner =
    name === 'ppo' ? new ActorCritic(smallModel(), { lora: 4 }) : policyOf(name, smallModel(), { lora: 4 });
  const config = name === 'ppo' ? parseConfig(ppoConfig, plain, 'test') : configOf(name, sizes);
  const { assemble }: Method = methods[name];
  const { parts, train } = assemble(
    config as never,
    { ...ingredients, policy: learner, actorCritic: learner } as never,
  );
  const steps: Record<string, number>[] = [];
  for await (const { timing: _, ...step } of train()) steps.push(step as never);
  return { steps, bits: await bits(learner.parameters(), parts.optimizer as unknown as Optimizer) };
}

describe.each(['ppo', 'grpo', 'rloo', 'reinforce', 'remax', 'target-policy', 'flowrl'] as const)('%s', (name) => {
  it('has the scores of a held-out reward, and learns nothing from it', async () => {
    const alone = await trained(name, undefined);
    const watched = await trained(name, LAST);
    expect(watched.bits).toEqual(alone.bits);
    for (const [i, { agreement, 'score.heldOut': score, repetition, kl, ...step }] of watched.steps.entries()) {
      const { agreement: none, repetition: same, kl: distance, ...others } = alone.steps[i] as Record<string, number>;
      expect([none, repetition, kl]).toEqual([undefined, same, distance]);
      expect(step).toEqual(others);
      expect(score).toBeGreaterThanOrEqual(0);
      expect(Math.abs(agreement as number)).toBeLessThan(1);
      expect(repetition).toBeLessThanOrEqual(1);
    }
    const same = await trained(name, FIRST);
    for (const { agreement, score, 'score.heldOut': heldOut } of same.steps) {
      expect(agreement).toBeCloseTo(1, 9);
      expect(heldOut).toBe(score);
    }
  });
});

it('refuses a reward that has the name of the held-out one', async () => {
  const reward = new CombinedReward([{ name: 'heldOut', reward: fives as RewardFunction }]);
  const learner = new Policy(smallModel(), { lora: 4, reference: true });
  const ingredients = { policy: learner, reward, heldOut: LAST, prompts: PROMPTS, eosToken: EOS };
  const { train } = grpoMethod.assemble(configOf('grpo', { steps: 1 }), ingredients);
  await expect(train().next()).rejects.toThrow('parts.reward: got a reward of the name heldOut');
});

const folder = mkdtempSync(join(tmpdir(), 'palm-guards-'));
afterAll(() => rmSync(folder, { recursive: true }));
const at = (...names: string[]) => join(folder, ...names);
using base = new PaLM({ numTokens: 258, dim: 16, depth: 1, heads: 2, dimHead: 8, ffMult: 2, device });
await base.save(at('base.safetensors'), { tokenizer: await loadTokenizer('byte') });
writeFileSync(at('prompts.jsonl'), ['ab', 'b', 'c'].map((prompt) => JSON.stringify({ prompt })).join('\n'));
const ODD = 'responseTokens.filter((token) => token % 2 === 1).length';
writeFileSync(at('odd.mjs'), `export default (answers) => answers.map(({ responseTokens }) => ${ODD});`);
writeFileSync(at('even.mjs'), `export default (answers) => answers.map(({ responseTokens }) => -${ODD});`);

const QUICK = {
  steps: 12,
  rolloutBatch: 3,
  epochs: 2,
  lr: 0.02,
  lora: false,
  warmupSteps: 0,
  sampling: { maxNewTokens: 6 },
} as const;
const settings = (out: string, guard: object) => {
  const files = { model: at('base.safetensors'), data: at('prompts.jsonl'), reward: at('odd.mjs'), out: at(out) };
  return { ...files, ...QUICK, evaluation: { guard }, checkpoint: { every: 1 }, device };
};
const quiet: RunOptions = { sinks: [], say: () => {} };
const bytes = (...names: string[]) => readFileSync(at(...names));
const rowsOf = (out: string): Record<string, number>[] =>
  bytes(out, 'metrics.jsonl')
    .toString()
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line));

describe('a guarded run', () => {
  const BUDGET = { kl: 0.65 };

  it('ends by itself and keeps the best step within the limits, though the reward needs no reference', async () => {
    const { stopped, best, steps } = await runMethod('grpo', settings('kl', BUDGET), quiet);
    expect(stopped).toMatchObject({ cause: 'kl', reason: 'kl was above 0.6500 in 2 steps in a row' });
    expect(steps).toBeLessThan(QUICK.steps);
    const rows = rowsOf('kl');
    expect(rows.slice(-2).every(({ kl = 0 }) => kl > 0.65)).toBe(true);
    const within = rows.filter(({ kl = 0 }) => kl <= 0.65);
    expect(best?.value).toBe(Math.max(...within.map(({ score = 0 }) => score)));
    expect(best?.value).toBeLessThan(Math.max(...rows.map(({ score = 0 }) => score)));
    expect(existsSync(at('kl', 'best.safetensors'))).toBe(true);
  });

  it('ends at the same step with the same bits when it has been resumed, and says why when resumed then', async () => {
    const controller = new AbortController();
    const sinks = [
      {
        write: ({ step }: { step: number }) => void (step === 2 && controller.abort(new Error('enough'))),
        close: async () => {},
      },
    ];
    const stopping = runMethod('grpo', settings('again', BUDGET), { ...quiet, sinks, signal: controller.signal });
    await expect(stopping).rejects.toThrow('enough');
    await runMethod('grpo', settings('again', BUDGET), { ...quiet, resume: true });
    for (const file of ['best.safetensors', 'model.safetensors', 'metrics.jsonl'])
      expect(bytes('again', file).equals(bytes('kl', file)), file).toBe(true);
    const said: string[] = [];
    const say = (line: string) => void said.push(line);
    await runMethod('grpo', settings('again', BUDGET), { ...quiet, say, resume: true });
    expect(said.at(-1)).toMatch(/^nothing to do: this run ended at step \d+: kl was above 0.6500/);
  });

  it('ends where the held-out reward says something else, and has no best step then', async () => {
    const { stopped, best } = await runMethod('ppo', settings('even', { reward: at('even.mjs') }), quiet);
    expect(stopped).toMatchObject({ step: 2, cause: 'agreement' });
    expect(best).toBeUndefined();
    const [first] = rowsOf('even');
    expect(first?.['score.heldOut']).toBe(-(first?.score as number));
    expect(first?.agreement).toBeCloseTo(-1, 9);
    const { inputs } = JSON.parse(bytes('even', 'run.json').toString());
    expect(inputs['evaluation.guard.reward'].path).toBe(at('even.mjs'));
  });

  it('is not ended by a held-out reward that agrees', async () => {
    const { stopped, best, steps } = await runMethod('grpo', settings('odd', { reward: at('odd.mjs') }), quiet);
    expect([stopped, steps]).toEqual([undefined, QUICK.steps]);
    expect(best?.metric).toBe('score.heldOut');
  });

  it('gives the best policy and the reason from a program', async () => {
    const odd = (answers: { responseTokens: number[] }[]) =>
      answers.map(({ responseTokens }) => responseTokens.filter((token) => token % 2 === 1).length);
    const prompts = ['ab', 'b', 'c'];
    const given = { model: at('base.safetensors'), device, prompts, reward: odd };
    const config = { method: 'grpo', ...QUICK, evaluation: { guard: { kl: 0.65 } } } as const;
    const run = train({ ...given, heldOutReward: odd, config });
    using policy = await run;
    expect(run.stopped).toMatchObject({ cause: 'kl' });
    expect(run.best).toMatchObject({ metric: 'score.heldOut' });
    const short = train({ ...given, config: { method: 'grpo', ...QUICK } });
    for await (const { step } of short) if (step === run.best?.step) break;
    using then = await short;
    const asking = { n: 2, maxNewTokens: 6, seed: 1 };
    expect(await policy.generate('ab', asking)).toEqual(await then.generate('ab', asking));
    const wrong = async () => await train({ ...given, heldOutReward: 3 as never, config });
    await expect(wrong()).rejects.toThrow('train.heldOutReward: got 3');
  });
});
