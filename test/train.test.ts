/** `train`: what it gives, that it equals a command, and what it refuses in words. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { trainingCommand } from '../src/cli/train.ts';
import { ImplicitPRM, loadTokenizer, PaLM, type TrainStep, train } from '../src/index.ts';
import { TrainedJudge, TrainedPolicy } from '../src/train/results.ts';
import { findModel } from '../src/runs/model-file.ts';
import { capturePrinted, palm } from './command-line.ts';
import { device } from './device.ts';

const folder = mkdtempSync(join(tmpdir(), 'palm-train-'));
afterAll(() => rmSync(folder, { recursive: true }));
capturePrinted();

const at = (...names: string[]) => join(folder, ...names);
const model = at('base.safetensors');
using base = new PaLM({ numTokens: 258, dim: 16, depth: 1, heads: 2, dimHead: 8, ffMult: 2, device });
await base.save(model, { tokenizer: await loadTokenizer('byte') });

const prompts = ['ab', 'b', 'c'];
const reward = (answers: { responseTokens: number[] }[]) =>
  answers.map(({ responseTokens }) => responseTokens.filter((token) => token % 2 === 1).length);
const SHORT = { steps: 2, rolloutBatch: 3, epochs: 1, sampling: { maxNewTokens: 4 } };
const comparisons = Array.from({ length: 8 }, (_, i) => ({ prompt: `${i}?`, chosen: ' yes', rejected: ' no' }));
const PAIRS = { epochs: 1, batchSize: 4, warmupSteps: 1, lr: 0.01 };

async function stepsOf(run: AsyncIterable<TrainStep>): Promise<TrainStep[]> {
  const steps: TrainStep[] = [];
  for await (const step of run) steps.push(step);
  return steps;
}

describe('train', () => {
  it('trains a policy by a function, step for step as the command does by a module', async () => {
    const run = train({ model, device, reward, prompts, config: { method: 'grpo', ...SHORT } });
    const steps = await stepsOf(run);
    using policy = await run;
    expect(policy).toBeInstanceOf(TrainedPolicy);
    expect(run.method).toBe('grpo');

    writeFileSync(at('prompts.jsonl'), prompts.map((prompt) => JSON.stringify({ prompt })).join('\n'));
    writeFileSync(at('reward.mjs'), `export default ${reward.toString()}`);
    const files = ['--model', model, '--data', at('prompts.jsonl'), '--reward', at('reward.mjs'), '--out', at('run')];
    const same = '--steps 2 --rolloutBatch 3 --epochs 1 --sampling.maxNewTokens 4'.split(' ');
    await palm(trainingCommand('grpo'), ...files, ...same, '--device', device);
    const lines = readFileSync(at('run', 'metrics.jsonl'), 'utf8')
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line));
    expect(steps.map(({ step, metrics }) => ({ step, ...metrics }))).toEqual(lines);

    const answers = await policy.generate('ab', { n: 3, maxNewTokens: 4, seed: 1 });
    expect(answers).toHaveLength(3);
    expect(await policy.generate('ab', { n: 3, maxNewTokens: 4, seed: 1 })).toEqual(answers);
  });

  it('by PPO unless told otherwise, and saves what the next call takes', async () => {
    using policy = await train({
      model,
      device,
      reward,
      prompts,
      config: { ...SHORT, steps: 1, critic: { warmup: 0 } },
    });
    expect(policy.method).toBe('ppo');
    await policy.save(at('policy.safetensors'));
    expect(await findModel(at('policy.safetensors'))).toMatchObject({
      kind: 'ActorCritic',
      tokenizer: { type: 'byte' },
    });
    const second = train({ model: at('policy.safetensors'), device, comparisons, config: PAIRS });
    using next = await second;
    expect(next.method).toBe('dpo');
    expect(second.notices).toContainEqual(expect.stringContaining('adapters actor merged'));
  });

  const question = [{ role: 'user', content: 'ab?' }];
  const said = (content: string) => [{ role: 'assistant', content }];
  it.each([
    ['samples', 'sft', ['yes', 'no'].map((word) => ({ messages: [...question, ...said(word)] }))],
    ['comparisons', 'dpo', [{ prompt: question, chosen: said('yes'), rejected: said('no') }]],
    ['ratings', 'reward', [0, 1].map((rating) => ({ prompt: question, response: said(`${rating}`), rating }))],
    ['labels', 'kto', [true, false].map((label) => ({ prompt: question, completion: said(`${label}`), label }))],
    ['steps', 'process-reward', ['a', 'b'].map((step) => ({ prompt: question, completions: [step], labels: [true] }))],
    ['prompts', 'grpo', [question, { prompt: question }]],
  ] as const)('learns %s of messages as from a file: %s', async (name, method, rows) => {
    const file = at(`${name}.jsonl`);
    writeFileSync(file, rows.map((row) => JSON.stringify('length' in row ? { prompt: row } : row)).join('\n'));
    const config = { method, ...(name === 'prompts' ? SHORT : { epochs: 1, batchSize: 2, lr: 0.01, warmupSteps: 0 }) };
    const held = name === 'prompts' ? { reward } : {};
    const runs = [rows, { file }].map(async (given) => {
      const run = train({ model, device, [name]: given, ...held, config } as never);
      const steps = await stepsOf(run);
      (await run).dispose();
      return steps.map(({ step, metrics }) => ({ step, metrics }));
    });
    const [memory, read] = await Promise.all(runs);
    expect(memory).toHaveLength(name === 'prompts' ? 2 : 1);
    expect(memory).toEqual(read);
  });

  it('trains a judge on comparisons, which is then a reward beside a function', async () => {
    using judge = await train({ model, device, comparisons, config: { method: 'reward', ...PAIRS } });
    expect(judge).toBeInstanceOf(TrainedJudge);
    const [good, bad] = await judge.score([
      { prompt: '1?', response: ' yes' },
      { prompt: '1?', response: ' no' },
    ]);
    expect(good).not.toBe(bad);
    await judge.save(at('judge.safetensors'));
    const rewards = [{ reward: { model: at('judge.safetensors') } }, { name: 'odd', reward, weight: 2 }];
    const run = train({ model, device, reward: rewards, prompts, config: { method: 'grpo', ...SHORT, steps: 1 } });
    const [step] = await stepsOf(run);
    expect(step?.metrics).toMatchObject({ 'score.judge': expect.any(Number), 'score.odd': expect.any(Number) });
    (await run).dispose();
  });

  it.each(['orpo', 'simpo', 'cpo'] as const)('trains by %s if it is named', async (method) => {
    const run = train({ model, device, comparisons, config: { method, ...PAIRS } });
    const [step] = await stepsOf(run);
    expect(step?.metrics.loss).toEqual(expect.any(Number));
    (await run).dispose();
  });

  it('trains by rft if it is named', async () => {
    const config = { method: 'rft', steps: 1, rolloutBatch: 3, epochs: 1, sampling: { maxNewTokens: 4 } } as const;
    const run = train({ model, device, reward, prompts, config });
    expect(await stepsOf(run)).toHaveLength(1);
    (await run).dispose();
  });

  it('trains a reward for tokens on labels, whose file is a reward', async () => {
    const labels = comparisons.map(({ prompt, chosen }, i) => ({ prompt, completion: chosen, label: i % 2 === 0 }));
    using judge = await train({ model, device, labels, config: { method: 'implicit-prm', ...PAIRS } });
    expect(judge).toBeInstanceOf(TrainedJudge);
    expect(judge.rewardModel).toBeInstanceOf(ImplicitPRM);
    const [score] = await judge.score([{ prompt: '1?', response: ' yes' }]);
    expect(Math.abs(score as number)).toBeGreaterThan(0);
    await judge.save(at('prm.safetensors'));
    const rewards = { reward: { model: at('prm.safetensors') }, prompts };
    const run = train({ model, device, ...rewards, config: { method: 'rloo', ...SHORT, steps: 1 } });
    expect((await stepsOf(run))[0]?.metrics.score).toEqual(expect.any(Number));
    (await run).dispose();
  });

  const samples = comparisons.map(({ prompt, chosen }) => ({ prompt, completion: chosen }));

  it('trains a policy on samples, and saves what the next call takes', async () => {
    const run = train({ model, device, samples, validation: samples.slice(0, 2), config: PAIRS });
    expect(run.method).toBe('sft');
    const [step] = await stepsOf(run);
    expect(step?.metrics).toMatchObject({ loss: expect.any(Number), tokenAccuracy: expect.any(Number) });
    using policy = await run;
    expect(policy).toBeInstanceOf(TrainedPolicy);
    await policy.save(at('tuned.safetensors'));
    const labels = samples.map((row, i) => ({ ...row, label: i % 2 === 0 }));
    const next = train({ model: at('tuned.safetensors'), device, labels, config: PAIRS });
    expect(next.method).toBe('kto');
    (await next).dispose();
    await expect((async () => await policy.generate('a', { beta: 1 }))()).rejects.toThrow('a policy trained by sft');
  });

  it('trains a policy and its values on samples with rewards, from a list as from rows', async () => {
    const rewards = samples.map((_, i) => i % 3);
    const config = { epochs: 1, batchSize: 4 } as const;
    const run = train({ model, device, samples, rewards, config });
    const steps = (await stepsOf(run)).map(({ metrics }) => metrics);
    using policy = await run;
    expect(run.method).toBe('ilql');
    const answers = { n: 2, maxNewTokens: 4, seed: 1 };
    expect(await policy.generate('1?', { ...answers, beta: 400 })).not.toEqual(await policy.generate('1?', answers));
    const rows = samples.map((row, i) => ({ ...row, reward: rewards[i] as number }));
    const same = train({ model, device, samples: rows, config: { method: 'ilql', ...config } });
    expect((await stepsOf(same)).map(({ metrics }) => metrics)).toEqual(steps);
    (await same).dispose();
  });

  it('trains a judge on steps', async () => {
    const steps = samples.map(({ prompt }, i) => ({ prompt, completions: ['a', 'b'], labels: [true, i % 2 === 0] }));
    using judge = await train({ model, device, steps, config: PAIRS });
    expect(judge.method).toBe('process-reward');
    expect(await judge.score([{ prompt: '1?', response: 'a\nb' }])).toEqual([expect.any(Number)]);
  });

  it('gives reward functions what else is in the row of a prompt', async () => {
    const seen = new Set<unknown>();
    const looking = (answers: { meta: object }[]) => answers.map(({ meta }) => seen.add(JSON.stringify(meta)).size);
    const rows = [{ prompt: 'ab', right: 4 }, { prompt: 'b' }];
    const config = { method: 'grpo', ...SHORT, rolloutBatch: 2, steps: 1 } as const;
    (await train({ model, device, reward: looking, prompts: rows, config })).dispose();
    expect([...seen].sort()).toEqual(['{"right":4}', '{}']);
  });

  it('ends where its loop is left, and at its signal', async () => {
    const config = { method: 'grpo', ...SHORT, steps: 50 } as const;
    const run = train({ model, device, reward, prompts, config });
    for await (const { step } of run) if (step === 1) break;
    (await run).dispose();
    const controller = new AbortController();
    const stopped = train({ model, device, reward, prompts, config, signal: controller.signal });
    const looking = (async () => {
      for await (const _ of stopped) controller.abort(new Error('enough'));
    })();
    await expect(looking).rejects.toThrow('enough');
    await expect((async () => await stopped)()).rejects.toThrow('steps failed');
  });

  it('passes on what goes wrong', async () => {
    const failing = () => {
      throw new Error('no judge');
    };
    const run = async () =>
      await train({ model, device, reward: failing, prompts, config: { method: 'grpo', ...SHORT } });
    await expect(run()).rejects.toThrow('no judge');
    const missing = async () => await train({ model: at('nowhere'), reward, prompts });
    await expect(missing()).rejects.toThrow('nowhere');
  });

  it.each<[string, object, string]>([
    ['nothing to learn from', { model }, 'train: got nothing to learn from'],
    ['two kinds of feedback', { model, reward, prompts, comparisons }, 'two kinds of feedback'],
    ['a reward without prompts', { model, reward }, 'train.prompts: got nothing'],
    ['no model', { reward, prompts }, 'model: got nothing'],
    ['an unknown key', { model, reward, prompts, promts: [] }, 'train.promts: got an unknown option'],
    [
      'a method of other feedback',
      { model, comparisons, config: { method: 'ppo' } },
      'expected one of dpo, orpo, simpo, cpo, reward',
    ],
    ['rewards without samples', { model, rewards: [1] }, 'train.samples: got nothing'],
    ['too few rewards', { model, samples, rewards: [1] }, 'train.rewards: got 1 rewards, expected 8'],
    ['a reward that is no number', { model, samples: samples.slice(7), rewards: ['x'] }, 'train.rewards[0]: got "x"'],
    ['rewards for a file', { model, samples: { file: 'x' }, rewards: [1] }, 'train.samples'],
    ['a label that is none', { model, labels: [{ ...samples[0], label: 1 }] }, 'train.labels[0].label: got 1'],
    ['no reward', { model, reward: 3, prompts }, 'train.reward: got 3'],
    ['a wrong part of a reward', { model, reward: [{ reward: 'x' }], prompts }, 'train.reward[0].reward: got "x"'],
    ['a prompt that is no text', { model, reward, prompts: ['a', 3] }, 'train.prompts[1].prompt'],
    ['no rows', { model, comparisons: [] }, 'train.comparisons: got an empty list'],
    [
      'half a row',
      { model, comparisons: [{ prompt: 'a', chosen: 'b' }] },
      'train.comparisons[0].rejected: got undefined',
    ],
  ])('refuses %s', (_, given, message) => {
    expect(() => train(given as never)).toThrow(message);
  });

  it('refuses options that the method does not have', async () => {
    const run = async () => await train({ model, reward, prompts, config: { method: 'grpo', groups: 8 } as never });
    await expect(run()).rejects.toThrow('grpo.groups: got an unknown key');
  });
});
