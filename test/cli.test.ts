import { exportCommand } from '../src/cli/export.ts';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { configuredCommand, runCommand } from '../src/cli/options.ts';
import type { Resume } from '../src/training/run.ts';
import { openRun } from '../src/runs/run-directory.ts';
import { trainingCommand } from '../src/cli/train.ts';
import { betas, count, lora } from '../src/config/fields.ts';
import type { ConfigError } from '../src/errors.ts';
import { methods } from '../src/methods.ts';

const folder = mkdtempSync(join(tmpdir(), 'palm-cli-'));
afterAll(() => rmSync(folder, { recursive: true }));

const schema = z.strictObject({
  out: z.string().describe('where to'),
  steps: count.default(10).describe('how often'),
  verbose: z.boolean().default(false).describe('say more'),
  whiten: z.boolean().default(true).describe('make white'),
  model: z.strictObject({ dim: count.default(8).describe('width') }).prefault({}),
  betas: betas(0.9, 0.99),
  lora,
});
type Config = z.output<typeof schema>;

function file(name: string, text: string): string {
  writeFileSync(join(folder, name), text);
  return join(folder, name);
}

async function configured(...args: string[]): Promise<Config> {
  let seen: Config | undefined;
  const command = configuredCommand('test', schema, async (config) => {
    seen = config;
  });
  await command
    .exitOverride()
    .configureOutput({ writeErr: () => {} })
    .parseAsync(args, { from: 'user' });
  return seen as Config;
}

async function resumed(...args: string[]): Promise<[Config, Resume]> {
  let seen: [Config, Resume] | undefined;
  const command = runCommand('test', schema, async (config, resume) => {
    seen = [config, resume];
  });
  await command.exitOverride().parseAsync(args, { from: 'user' });
  return seen as [Config, Resume];
}

describe('a configured command', () => {
  it('gives flags precedence over the file, and the file over defaults', async () => {
    const config = file('a.yaml', 'steps: 20\nmodel: { dim: 16 }\nwhiten: false\nout: there\n');
    expect(await configured('--out', 'here')).toEqual({
      out: 'here',
      steps: 10,
      verbose: false,
      whiten: true,
      model: { dim: 8 },
      betas: [0.9, 0.99],
      lora: 8,
    });
    expect(await configured('--config', config)).toMatchObject({
      out: 'there',
      steps: 20,
      whiten: false,
      model: { dim: 16 },
    });
    expect(await configured('--config', config, '--steps', '5', '--model.dim', '32', '--whiten')).toMatchObject({
      steps: 5,
      whiten: true,
      model: { dim: 32 },
    });
  });

  it('has --no- switches', async () => {
    expect(await configured('--out', 'x', '--no-whiten', '--verbose', '--no-lora')).toMatchObject({
      whiten: false,
      verbose: true,
      lora: false,
    });
    expect(await configured('--out', 'x', '--lora', '4', '--betas', '0.8,0.9')).toMatchObject({
      lora: 4,
      betas: [0.8, 0.9],
    });
  });

  it('refuses wrong and missing values, wherever they come from', async () => {
    await expect(configured('--out', 'x', '--steps', 'many')).rejects.toThrow(
      'test.steps: got "many", expected an integer',
    );
    await expect(configured('--out', 'x', '--steps', '-1')).rejects.toThrow('test.steps: got -1');
    await expect(configured()).rejects.toThrow('test.out: got nothing');
    await expect(configured('--config', file('b.json', '{ "stepz": 1, "out": "x" }'))).rejects.toThrow(
      'Did you mean steps?',
    );
    await expect(configured('--stepz', '1')).rejects.toThrow('Did you mean --steps?');
    await expect(configured('--config', join(folder, 'none.yaml'))).rejects.toThrow(
      'none.yaml: no such file or folder',
    );
  });

  it('names the file of a wrong value, unless it comes from a flag', async () => {
    const config = file('wrong.yaml', 'steps: many\nmodel: { dim: -2, "dim.x": 1 }\nout: x\n');
    const argumentOf = (...args: string[]) => configured(...args).then(String, (error: ConfigError) => error.argument);
    expect(await argumentOf('--config', config)).toBe(`${config}:1: test.steps`);
    expect(await argumentOf('--config', config, '--steps', 'few')).toBe('test.steps');
    expect(await argumentOf('--config', config, '--steps', '4')).toBe(`${config}:2: test.model.dim`);
    expect(await argumentOf('--config', file('none.yaml', 'steps: 4\n'))).toBe('test.out');
    expect(await argumentOf('--config', file('dotted.yaml', 'out: x\nmodel.dim: 4\n'))).toMatch(
      /dotted.yaml:2: test."model.dim"$/,
    );
  });

  it('explains every flag with its default, and only the switch that changes it', () => {
    const help = configuredCommand('test', schema, async () => {}).helpInformation();
    expect(help).toMatch(/--out <text> +where to \(required\)/);
    expect(help).toMatch(/--model\.dim <n> +width \(default: 8\)/);
    expect(help).toMatch(/--no-whiten +do not make white/);
    expect(help).not.toMatch(/ --whiten/);
    expect(help).toMatch(/--verbose +say more/);
    expect(help).not.toContain('--no-verbose');
  });
});

describe('help of training', () => {
  it.each(Object.keys(methods) as (keyof typeof methods)[])('palm %s fits into 80 columns', (name) => {
    const help = trainingCommand(name)
      .configureOutput({ getOutHelpWidth: () => 80 })
      .helpInformation();
    expect(help.split('\n').filter((line) => line.length > 80)).toEqual([]);
    expect(help).toContain('  --out <dir>                   run folder (required)\n');
    const headings = help.split('\n').filter((line) => /^\S.*:/.test(line));
    expect(headings[1]).toBe('Data and files:');
    expect(headings).toContain('checkpoint: when the run is saved');
    expect(headings.at(-1)).toBe('Running and watching:');
    const shown: string[] = [];
    trainingCommand(name)
      .configureOutput({ writeOut: (text) => shown.push(text), getOutHelpWidth: () => 80 })
      .outputHelp();
    const [, examples] = shown.join('').split('\nExamples:\n') as [string, string];
    expect(examples).toMatch(new RegExp(`^  palm ${name} --.*runs/${name}\n  palm ${name} --config`, 's'));
    expect(examples.split('\n').every((line) => line.length <= 80)).toBe(true);
  });
});

it('shows examples of what a command that fills no run takes', () => {
  const shown: string[] = [];
  exportCommand()
    .configureOutput({ writeOut: (text) => shown.push(text) })
    .outputHelp();
  expect(shown.join('').split('\nExamples:\n')[1]).toBe('  palm export runs/base --out <path>\n');
});

describe('a run', () => {
  it('saves its configuration, and uses it when resumed', async () => {
    const out = join(folder, 'run');
    const [config, resume] = await resumed('--out', out, '--steps', '7');
    expect(resume).toBe(false);
    const run = openRun(out, config, resume !== false);
    expect(JSON.parse(readFileSync(run.config, 'utf8'))).toEqual(config);
    expect(run.metrics).toBe(join(out, 'metrics.jsonl'));

    const [again, resumeAgain] = await resumed('--out', out, '--resume', '--steps', '9');
    expect(resumeAgain).toBe(true);
    expect(again).toEqual({ ...config, steps: 9 });
    openRun(out, again, true);
    expect(JSON.parse(readFileSync(run.config, 'utf8'))).toEqual(again);
    expect(() => openRun(out, config, false)).toThrow('Add --resume to continue it');
  });

  it('cannot be resumed if it does not exist', async () => {
    await expect(resumed('--out', join(folder, 'empty'), '--resume')).rejects.toThrow('holds no run');
    await expect(resumed('--resume')).rejects.toThrow('Add --out');
  });

  it('names the path that it cannot write', () => {
    const out = join(file('plain', ''), 'run');
    expect(() => openRun(out, {}, false)).toThrow(
      expect.objectContaining({ code: 'ERR_FILE', argument: expect.stringContaining(out) }),
    );
  });
});

describe('palm', () => {
  function palm(args: string[], env: Record<string, string> = {}) {
    const { status, stdout, stderr } = spawnSync(process.execPath, ['--import', 'tsx', 'src/cli/main.ts', ...args], {
      encoding: 'utf8',
      env: { ...process.env, PALM_DEBUG: '', ...env },
    });
    return { status, stdout, stderr };
  }

  it('lists its commands with --help', () => {
    const { status, stdout } = palm(['--help']);
    expect(status).toBe(0);
    for (const command of ['doctor', 'libtorch', ...Object.keys(methods)]) expect(stdout).toContain(`\n  ${command}`);
  });

  it('exits with 2 and suggests the nearest name on a usage error', () => {
    expect(palm(['docter'])).toEqual({
      status: 2,
      stdout: '',
      stderr: "error: unknown command 'docter'\n(Did you mean doctor?)\n",
    });
    expect(palm(['doctor', '--jsn'])).toMatchObject({
      status: 2,
      stderr: "error: unknown option '--jsn'\n(Did you mean --json?)\n",
    });
    expect(palm(['pretrain', '--learning_rate', '1']).stderr).toBe(
      "error: unknown option '--learning_rate'\n(It is --lr here.)\n",
    );
    expect(palm(['doctor', '--learning_rate', '1']).stderr).toBe("error: unknown option '--learning_rate'\n");
  });

  it('exits with 1 and a short message on failure, and shows the stack on request', () => {
    const failed = palm(['inspect', join(folder, 'nowhere')]);
    expect(failed.status).toBe(1);
    expect(failed.stderr).toMatch(/^error: .*nowhere: no such file or folder\.\n$/);
    const { stderr } = palm(['inspect', join(folder, 'nowhere')], { PALM_DEBUG: '1' });
    expect(stderr).toContain('    at ');
    expect(palm(['libtorch', 'use', join(folder, 'nowhere')]).status).toBe(6);
  });
});
