import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import type { Command } from 'commander';
import { afterAll, afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { generateCommand } from '../src/cli/generate.ts';
import { inspectCommand } from '../src/cli/inspect.ts';
import { trainingCommand } from '../src/cli/train.ts';
import { NumericsError, type OutOfMemoryError } from '../src/errors.ts';
import { PaLM } from '../src/models/palm.ts';
import { RewardModel } from '../src/models/reward-model.ts';
import { device } from './device.ts';

const folder = mkdtempSync(join(tmpdir(), 'palm-cli-training-'));
afterAll(() => rmSync(folder, { recursive: true }));

let stdout = '';
let stderr = '';
beforeEach(() => {
  stdout = '';
  stderr = '';
  vi.spyOn(process.stdout, 'write').mockImplementation((text) => {
    stdout += text;
    return true;
  });
  vi.spyOn(process.stderr, 'write').mockImplementation((text) => {
    stderr += text;
    return true;
  });
  vi.spyOn(console, 'log').mockImplementation((text) => {
    stdout += `${text}\n`;
  });
  vi.spyOn(console, 'error').mockImplementation((text) => {
    stderr += `${text}\n`;
  });
});
afterEach(() => {
  vi.restoreAllMocks();
});

function file(name: string, content: string): string {
  writeFileSync(join(folder, name), content);
  return join(folder, name);
}

async function palm(command: Command, ...args: string[]): Promise<void> {
  await command
    .exitOverride()
    .configureOutput({ writeErr: () => {} })
    .parseAsync(args, { from: 'user' });
}

const poem = file('poem.txt', 'Tiger, tiger, burning bright\nin the forests of the night,\n'.repeat(9));
const dialogues = file(
  'pairs.jsonl',
  `${Array.from({ length: 20 }, (_, i) =>
    JSON.stringify({
      chosen: `\n\nHuman: ${i}?\n\nAssistant: Yes${'!'.repeat(i % 3)}`,
      rejected: `\n\nHuman: ${i}?\n\nAssistant: no.`,
    }),
  ).join('\n')}\n{"chosen":"a","rejected":"a"}\n`,
);

const SMALL = '--model.dim 16 --model.depth 1 --model.heads 2 --model.dimHead 8 --model.ffMult 2';
const small = `${SMALL} --sequenceLength 16 --batchSize 2 --warmupSteps 2 --evaluateEvery 4 --device ${device}`.split(
  ' ',
);

const pretrain = (out: string, ...args: string[]) =>
  palm(trainingCommand('pretrain'), '--data', poem, '--out', join(folder, out), ...small, ...args);

const lines = (path: string) => readFileSync(path, 'utf8').trimEnd().split('\n');

/** What a run leaves that depends on nothing but the run. */
function results(out: string, step: string) {
  const run = join(folder, out);
  const paths = ['model', `checkpoints/${step}/weights`, `checkpoints/${step}/optimizer`];
  return [
    readFileSync(join(run, 'metrics.jsonl'), 'utf8'),
    existsSync(join(run, 'samples.jsonl')) && readFileSync(join(run, 'samples.jsonl'), 'utf8'),
    readFileSync(join(run, `checkpoints/${step}/state.json`), 'utf8'),
    ...paths.map((path) => readFileSync(join(run, `${path}.safetensors`)).toString('base64')),
  ];
}

describe('palm pretrain', () => {
  it('creates a run with metrics, timing, checkpoints and a model', async () => {
    await pretrain('run', '--steps', '9', '--checkpoint.every', '4');
    const run = join(folder, 'run');
    expect(readdirSync(run).sort()).toEqual([
      'checkpoints',
      'config.json',
      'metrics.jsonl',
      'model.safetensors',
      'run.json',
      'samples.jsonl',
      'timing.jsonl',
    ]);
    expect(readdirSync(join(run, 'checkpoints'))).toEqual(['latest', 'step-000008', 'step-000009']);
    const samples = lines(join(run, 'samples.jsonl')).map((line) => JSON.parse(line));
    expect(samples.map(({ step }) => step)).toEqual([4, 4, 8, 8, 9, 9]);
    expect(samples[0]).toEqual({ step: 4, prompt: expect.any(String), response: expect.any(String) });
    expect(samples[2].prompt).toBe(samples[0].prompt);
    const metrics = lines(join(run, 'metrics.jsonl')).map((line) => JSON.parse(line));
    expect(metrics.map(({ step }) => step)).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9]);
    expect(Object.keys(metrics[8])).toEqual(['step', 'loss', 'validationLoss', 'gradNorm', 'learningRate']);
    expect(Object.keys(JSON.parse(lines(join(run, 'timing.jsonl'))[0] as string))).toEqual([
      'step',
      'seconds',
      'tokensPerSecond',
    ]);
    expect(JSON.parse(readFileSync(join(run, 'config.json'), 'utf8'))).toMatchObject({ data: poem, steps: 9 });
    expect(stderr).toMatch(
      /^step\/9 {5}loss val\.loss gradNorm {7}lr tokens\/s {5}ETA\n(.*\n)*^ {5}9 +\d\.\d{3} +\d\.\d{3} /m,
    );
    expect(stdout).toMatch(/^model +.*run\/model\.safetensors\nsteps +9\nloss +\d/);
    using palm = await PaLM.load(join(run, 'model.safetensors'), { device });
    expect(palm.config).toMatchObject({ numTokens: 258, dim: 16, depth: 1 });
  });

  it('prints results alone with --quiet, and a JSON object a line with --json', async () => {
    await pretrain('quiet', '--steps', '2', '--quiet');
    expect(stderr).toBe('');
    expect(stdout).toMatch(/^model .*\nsteps +2\n/);
    stdout = '';
    await pretrain('json', '--steps', '2', '--json', '--log-every', '1');
    const printed = stdout
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line));
    expect(printed.map(({ step }) => step)).toEqual([1, 2, undefined]);
    expect(printed[1]).toMatchObject({ loss: expect.any(Number), timing: { seconds: expect.any(Number) } });
    expect(printed[2]).toMatchObject({ steps: 2, metrics: { validationLoss: printed[1].validationLoss } });
    await expect(pretrain('bad', '--log-every', '0')).rejects.toThrow('It must be an integer >= 1.');
    expect(existsSync(join(folder, 'bad'))).toBe(false);
  });

  it('resumes bit for bit after it was killed', async () => {
    const options = ['--steps', '60', '--checkpoint.every', '5', '--model.ffDropout', '0.1'];
    await pretrain('straight', ...options);

    const out = join(folder, 'killed');
    const args = ['src/cli/main.ts', 'pretrain', '--data', poem, '--out', out, ...small, ...options];
    const child = spawn(process.execPath, ['--import', 'tsx', ...args], { stdio: 'ignore' });
    const exited = once(child, 'exit');
    const reached = () => existsSync(join(out, 'metrics.jsonl')) && lines(join(out, 'metrics.jsonl')).length > 12;
    while (!reached() && child.exitCode === null) await delay(5);
    child.kill('SIGKILL');
    expect(await exited).toEqual([null, 'SIGKILL']);
    expect(existsSync(join(out, 'model.safetensors'))).toBe(false);

    await palm(trainingCommand('pretrain'), '--resume', '--out', out);
    expect(stderr).toMatch(/resuming from step \d+/);
    expect(results('killed', 'step-000060')).toEqual(results('straight', 'step-000060'));
  });

  it('saves at Ctrl-C, and resumes from there', async () => {
    const options = ['--steps', '12', '--checkpoint.every', '100'];
    await pretrain('whole', ...options);
    const started = pretrain('interrupted', ...options);
    while (process.listenerCount('SIGINT') === 0) await delay(1);
    process.emit('SIGINT');
    await expect(started).rejects.toMatchObject({ message: 'stopped by SIGINT', exitCode: 130 });
    await palm(trainingCommand('pretrain'), '--resume', '--out', join(folder, 'interrupted'));
    expect(results('interrupted', 'step-000012')).toEqual(results('whole', 'step-000012'));
  });

  it('rolls back loss spikes and their metrics, and gives up at the fourth', async () => {
    const rough = '--steps 300 --lr 0.08 --decay constant --checkpoint.every 30 --checkpoint.spikes.threshold 0.01';
    await expect(pretrain('rough', ...rough.split(' '))).rejects.toThrow(NumericsError);
    expect(stderr.match(/a loss spike; returned to step/g)?.length).toBeGreaterThanOrEqual(3);
    const steps = lines(join(folder, 'rough', 'metrics.jsonl')).map((line) => JSON.parse(line).step as number);
    expect(steps).toEqual(steps.map((_, i) => i + 1));
  });

  it('continues beyond the steps first requested', async () => {
    await pretrain('short', '--steps', '3', '--decay', 'constant');
    await palm(trainingCommand('pretrain'), '--resume', '--out', join(folder, 'short'), '--steps', '5');
    expect(lines(join(folder, 'short', 'metrics.jsonl'))).toHaveLength(5);
  });

  it('trains on the chosen side of preferences, each ended by an eos', async () => {
    await palm(
      trainingCommand('pretrain'),
      '--data',
      dialogues,
      '--out',
      join(folder, 'chosen'),
      '--steps',
      '1',
      ...small,
    );
    const chosen = Array.from({ length: 20 }, (_, i) => `\n\nHuman: ${i}?\n\nAssistant: Yes${'!'.repeat(i % 3)}`);
    // The row whose sides are the same has a chosen side too.
    const total = [...chosen, 'a'].reduce((sum, text) => sum + text.length + 1, 0);
    const held = Math.floor(total / 10);
    expect(stderr).toContain(`${total - held} training tokens, ${held} validation tokens`);
  });
});

describe('palm pretrain refuses', () => {
  it.each([
    ['a file that is not there', ['--data', join(folder, 'none.txt')], /none\.txt: no such file or folder/],
    ['an empty file', ['--data', file('empty.txt', '')], /empty\.txt: got no text/],
    ['preferences without a row', ['--data', file('empty.jsonl', '')], /empty\.jsonl: got no row/],
    ['a text shorter than a window', ['--data', file('short.txt', 'To be')], /short\.txt: got 5 tokens, .*at least 17/],
    ['a tokenizer that is not there', ['--tokenizer', join(folder, 'none.json')], /none\.json/],
    ['a value out of range', ['--steps', '0'], /pretrain\.steps: got 0/],
    ['a flag that it does not know', ['--stepz', '3'], /unknown option '--stepz'/],
    ['to resume where there is no run', ['--resume'], /holds no run/],
  ])('%s', async (_name, args, message) => {
    await expect(pretrain('refused', '--steps', '1', ...args)).rejects.toThrow(message);
    expect(existsSync(join(folder, 'refused'))).toBe(false);
  });

  it('a folder that already holds a run, and leaves a run unchanged if it cannot be resumed', async () => {
    await pretrain('first', '--steps', '2');
    await expect(pretrain('first', '--steps', '2')).rejects.toThrow('Add --resume to continue it');
    const before = readFileSync(join(folder, 'first', 'config.json'), 'utf8');
    const resume = palm(trainingCommand('pretrain'), '--resume', '--out', join(folder, 'first'), '--model.dim', '24');
    await expect(resume).rejects.toThrow('as when the run started');
    expect(readFileSync(join(folder, 'first', 'config.json'), 'utf8')).toBe(before);
  });
});

describe('palm reward', () => {
  const reward = (out: string, ...args: string[]) =>
    palm(trainingCommand('reward'), '--data', dialogues, '--out', join(folder, out), ...args);
  const options = ['--batchSize', '4', '--epochs', '3', '--warmupSteps', '1', '--lr', '0.01', '--device', device];

  it('trains on a pretrained run with its tokenizer, and resumes bit for bit', async () => {
    await pretrain('base', '--steps', '3');
    const model = ['--model', join(folder, 'base')];
    await reward('judge', ...model, ...options, '--validation', dialogues);
    expect(stderr).toContain('skipped 1 row at ');
    const last = JSON.parse(lines(join(folder, 'judge', 'metrics.jsonl')).at(-1) as string);
    expect(last).toMatchObject({ step: 15, validationAccuracy: expect.any(Number) });
    using loaded = await RewardModel.load(join(folder, 'judge', 'model.safetensors'), { device });
    expect(loaded.model.decoder.dim).toBe(16);

    const started = reward('judge-2', ...model, ...options, '--validation', dialogues);
    while (process.listenerCount('SIGINT') === 0) await delay(1);
    process.emit('SIGINT');
    await expect(started).rejects.toMatchObject({ exitCode: 130 });
    await palm(trainingCommand('reward'), '--resume', '--out', join(folder, 'judge-2'));
    expect(results('judge-2', 'step-000015')).toEqual(results('judge', 'step-000015'));
  });

  it('refuses a model that is not a language model', async () => {
    await expect(reward('wrong', '--model', join(folder, 'judge'))).rejects.toThrow('got a RewardModel');
    await expect(reward('wrong', '--model', folder)).rejects.toThrow('got a folder without a model');
    await expect(reward('wrong', '--model', join(folder, 'nowhere'))).rejects.toThrow('nowhere');
  });
});

describe('--dry-run', () => {
  const model = () => join(folder, 'base');
  const data = ['--data', dialogues, '--out', join(folder, 'planned')];

  it.each([
    ['pretrain', () => pretrain('planned', '--steps', '3', '--dry-run'), /while differentiating \(peak\)/],
    [
      'reward',
      () => palm(trainingCommand('reward'), '--model', model(), ...data, '--dry-run'),
      /adapters .* values × 4 bytes/,
    ],
    [
      'ppo',
      () => palm(trainingCommand('ppo'), '--model', model(), '--reward', join(folder, 'judge'), ...data, '--dry-run'),
      /while sampling\n.*cache of prompts/,
    ],
  ])('palm %s reports how much memory the run would need, and trains nothing', async (_, run, part) => {
    await run();
    expect(stdout).toMatch(part);
    expect(stdout).toMatch(/^total +\d+\.\d MiB {2}tensors/m);
    expect(existsSync(join(folder, 'planned'))).toBe(false);
  });

  it('reports errors in configuration and data', async () => {
    await expect(pretrain('planned', '--dry-run', '--data', join(folder, 'nowhere.txt'))).rejects.toThrow(
      'nowhere.txt',
    );
    await expect(pretrain('planned', '--dry-run', '--batchSize', '0')).rejects.toThrow('batchSize');
    await expect(pretrain('run', '--dry-run')).rejects.toThrow('already holds a run');
  });
});

describe('palm generate', () => {
  const generate = async (...args: string[]) => {
    stdout = '';
    await palm(generateCommand(), ...args, '--device', device);
    return stdout;
  };

  it('prints the prompt and its continuation, the same for the same seed', async () => {
    const run = join(folder, 'run');
    const text = await generate(run, '--prompt', 'Tiger', '--maxNewTokens', '20', '--seed', '1');
    expect(text).toMatch(/^Tiger[\s\S]+\n$/);
    expect(await generate(run, '--prompt', 'Tiger', '--maxNewTokens', '20', '--seed', '1')).toBe(text);
    expect(
      await generate(join(run, 'model.safetensors'), '--prompt', 'Tiger', '--maxNewTokens', '20', '--seed', '1'),
    ).toBe(text);
    expect(await generate(run, '--prompt', 'Tiger', '--maxNewTokens', '20', '--seed', '2')).not.toBe(text);
  });

  it('stops after the text of --stop', async () => {
    const asked = ['--prompt', 'Tiger', '--maxNewTokens', '20', '--seed', '1'];
    const text = (await generate(join(folder, 'run'), ...asked)).slice('Tiger'.length);
    const letter = [...text].find((each) => /[ -~]/.test(each)) as string; // a byte of its own
    const ended = await generate(join(folder, 'run'), ...asked, '--stop', letter);
    expect(ended).toBe(`Tiger${text.slice(0, text.indexOf(letter) + 1)}\n`);
  });

  it('uses the last checkpoint of an unfinished run', async () => {
    rmSync(join(folder, 'first', 'model.safetensors'));
    expect(await generate(join(folder, 'first'), '--prompt', 'T', '--maxNewTokens', '3')).toMatch(/^T/);
  });

  it('refuses unusable models and prompts', async () => {
    await expect(generate(join(folder, 'judge'))).rejects.toThrow(
      'a RewardModel, expected a language model or a policy',
    );
    await expect(generate(poem)).rejects.toThrow('poem.txt');
    await expect(generate(join(folder, 'run'), '--temperature', '-1')).rejects.toThrow('generate.temperature: got -1');
    await expect(generate(join(folder, 'run'), '--scope', 'actor')).rejects.toThrow('this model has no scopes');
    await expect(generate()).rejects.toThrow("missing required argument 'MODEL'");
  });
});

describe('palm inspect', () => {
  it('lists the checkpoints of a run, and verifies checksums with --verify', async () => {
    await palm(inspectCommand(), join(folder, 'run'));
    expect(stdout).toMatch(/step-000009 +complete\nstep-000008 +complete/);
    const path = join(folder, 'run', 'checkpoints', 'step-000008', 'weights.safetensors');
    const bytes = readFileSync(path);
    writeFileSync(path, Buffer.from(bytes.map((byte, i) => (i === bytes.length - 1 ? byte ^ 1 : byte))));
    await palm(inspectCommand(), join(folder, 'run'), '--verify');
    expect(stdout).toMatch(/step-000009 +checksums OK\nstep-000008 +.*weights.safetensors: got changed content/);
    expect(process.exitCode).toBe(4);
    process.exitCode = 0;
    writeFileSync(path, bytes);
  });

  it('prints the model of a run and its last metrics', async () => {
    await palm(inspectCommand(), join(folder, 'run'));
    expect(stdout).toMatch(/^model +PaLM\n/);
    for (const line of [/^tokenizer +byte$/m, /^scopes +none$/m, /^dim +16$/m, /^step +9$/m, /^validationLoss +\d/m]) {
      expect(stdout).toMatch(line);
    }
  });

  it('prints a reward model from its file', async () => {
    await palm(inspectCommand(), join(folder, 'judge', 'model.safetensors'));
    expect(stdout).toMatch(/^model +RewardModel\n/);
    expect(stdout).toMatch(/^scopes +reward \(rank 8\)$/m);
    expect(stdout).not.toMatch(/^step/m);
  });
});

describe('a model argument', () => {
  it('may be the folder of one checkpoint', async () => {
    await pretrain('by-checkpoint', '--steps', '2', '--checkpoint.every', '1');
    const checkpoint = join(folder, 'by-checkpoint/checkpoints/step-000001');
    await palm(inspectCommand(), checkpoint);
    expect(stdout).toContain(join(checkpoint, 'weights.safetensors'));
  });

  it('is refused before allocation, with the memory plan, if the run cannot fit', async () => {
    const huge = ['--model.dim', '65536', '--model.depth', '512', '--device', 'cpu'];
    const error = await pretrain('huge', ...huge).catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({ code: 'ERR_OUT_OF_MEMORY', argument: 'memory' });
    expect((error as OutOfMemoryError).requested).toBeGreaterThan((error as OutOfMemoryError).available as number);
    expect(existsSync(join(folder, 'huge'))).toBe(false);
  });
});
