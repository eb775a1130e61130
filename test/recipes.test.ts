/** Recipes: those that are shipped, where a setting comes from, and what errors in files say. */
import { createHash } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { methodOfData } from '../src/cli/method-of-data.ts';
import { runCommand } from '../src/cli/options.ts';
import { recipesCommand, trainCommand } from '../src/cli/recipes.ts';
import { type Flag, flagsOf, mergeFlags } from '../src/config/flags.ts';
import { fieldSchema, parseConfig } from '../src/config/schema.ts';
import { joined, parseLayers } from '../src/config/layers.ts';
import { methods } from '../src/methods.ts';
import type { Method } from '../src/methods/method.ts';
import { PaLM } from '../src/models/palm.ts';
import { recipeNamed, recipeNames, textOf } from '../src/recipes/recipes.ts';
import { openReward } from '../src/rewards/open.ts';
import { loadTokenizer } from '../src/tokenizer/load.ts';
import { recipeSchema } from '../scripts/recipe-schema.ts';
import { capturePrinted, palm, printed } from './command-line.ts';
import { device } from './device.ts';

const folder = mkdtempSync(join(tmpdir(), 'palm-recipes-'));
afterAll(() => rmSync(folder, { recursive: true }));
capturePrinted();

const at = (...names: string[]) => join(folder, ...names);
const write = (name: string, content: string) => {
  writeFileSync(at(name), content);
  return at(name);
};
const rows = (name: string, ...all: object[]) => write(name, all.map((row) => JSON.stringify(row)).join('\n'));

const MODULE = 'export default (answers) => answers.map(({ responseTokens: r }) => r.filter((t) => t % 2).length);';
const reward = write('reward.mjs', MODULE);
const prompts = rows('prompts.jsonl', { prompt: 'ab' }, { prompt: 'b' }, { prompt: 'c' }, { prompt: 'd' });
const ten = (row: (i: number) => object) => Array.from({ length: 10 }, (_, i) => ({ prompt: `${i}?`, ...row(i) }));
const pairs = rows('pairs.jsonl', ...ten(() => ({ chosen: ' yes', rejected: ' no' })));
const labels = rows('labelled.jsonl', ...ten((i) => ({ completion: ' yes', label: i % 2 === 0 })));
const scored = rows('rewarded.jsonl', ...ten((i) => ({ completion: ' yes', reward: i })));
const text = write('text.txt', 'Tiger, tiger, burning bright\nin the forests of the night,\n');
const base = at('base.safetensors');

beforeAll(async () => {
  using model = new PaLM({ numTokens: 258, dim: 16, depth: 2, heads: 2, dimHead: 8, ffMult: 2, device });
  await model.save(base, { tokenizer: await loadTokenizer('byte') });
});

const FILES = { model: 'm', data: 'd', out: 'o', reward: 'r' };
const names = Object.keys(methods) as (keyof typeof methods)[];

/** The required settings of a method, which name files. */
const filesOf = (name: keyof typeof methods) =>
  Object.fromEntries(fieldSchema(methods[name].schema).required?.map((key) => [key, FILES[key as 'data']]) ?? []);

const HELD_OUT = '--batchSize 4 --epochs 1 --validationFraction 0.2';
/** What makes the recipes of a method small: two steps. */
const SMALL: Readonly<Record<string, string>> = {
  dpo: `--data ${pairs} ${HELD_OUT}`,
  simpo: `--data ${pairs} ${HELD_OUT}`,
  kto: `--data ${labels} ${HELD_OUT}`,
  ilql: `--data ${scored} --batchSize 5 --epochs 1`,
};
const SCORED =
  `--data ${prompts} --reward ${reward} --steps 2 --rolloutBatch 4 --minibatchSize 4 --epochs 1 ` +
  '--sampling.maxNewTokens 4 --warmupSteps 0';
/** What single recipes need besides. */
const OWN: Readonly<Record<string, string>> = {
  dapo: ' --score.overlongBuffer 2',
  deepseekmath: ' --sampling.samplesPerPrompt 4',
  instructgpt: ` --pretrainingText ${text} --loss.pretraining.batchSize 2 --loss.pretraining.sequenceLength 8`,
};

describe('a shipped recipe', () => {
  it.each(recipeNames())('%s parses, and names its source and the size it is for', (name) => {
    const recipe = recipeNamed(name);
    const method = recipe.method as keyof typeof methods;
    const { schema } = methods[method];
    const config = parseConfig(schema, { ...recipe.settings, ...filesOf(method) }, name) as Record<string, unknown>;
    for (const [key, value] of Object.entries(recipe.settings)) {
      if (typeof value !== 'object') expect(config[key], key).toEqual(value);
    }
    expect(recipe.about.length).toBeLessThan(64);
    const comment = textOf(recipe.path).replaceAll('\n# ', ' ');
    expect(comment).toMatch(/Source: \w/);
    expect(comment).toMatch(/1 B weights and more/);
  });

  it.each(recipeNames())('%s trains a tiny model for two steps', async (name) => {
    const small = SMALL[recipeNamed(name).method] ?? SCORED + (OWN[name] ?? '');
    const out = at(name);
    await palm(trainCommand(), name, ...small.split(' '), '--model', base, '--out', out, '--device', device);
    expect(readFileSync(join(out, 'metrics.jsonl'), 'utf8').trimEnd().split('\n')).toHaveLength(2);
    const { settings } = recipeNamed(name);
    expect(JSON.parse(readFileSync(join(out, 'config.json'), 'utf8')).lr).toBe(settings.lr);
  });

  it('is listed with what it is, and printed as it is', async () => {
    await palm(recipesCommand(), 'list');
    expect(printed.stdout).toMatch(/^dapo +GRPO as in DAPO/m);
    expect(printed.stdout.split('\n').every((line) => line.length <= 80)).toBe(true);
    printed.stdout = '';
    await palm(recipesCommand(), 'show', 'zephyr-dpo');
    expect(printed.stdout).toBe(textOf(recipeNamed('zephyr-dpo').path));
    await expect(palm(recipesCommand(), 'show', 'zephyr')).rejects.toThrow('got "zephyr", expected one of dapo');
    await expect(palm(recipesCommand(), 'show', 'dapoo')).rejects.toThrow('Did you mean dapo?');
  });
});

describe('precedence', () => {
  /** Three values of a flag as text, which differ from each other. */
  function textsOf({ placeholder, default: preset, parse }: Flag): string[] {
    if (placeholder.includes('|')) {
      const all = placeholder.split('|');
      return [0, 1, 2].map((i) => all[i % all.length] as string);
    }
    if (placeholder.includes(',')) return ['0.1,0.2', '0.3,0.4', '0.5,0.6'];
    const numeric = typeof parse('7') === 'number';
    return numeric ? ['7', '8', '9'] : [`a${preset}`, 'b', 'c'];
  }

  it.each(names)('is flag > file > recipe > default for every key of %s', (name) => {
    const { schema }: Method = methods[name];
    let checked = 0;
    for (const flag of flagsOf(schema)) {
      const values = flag.takesValue ? textsOf(flag).map(flag.parse) : [true, false, true];
      const [inRecipe, inFile, onLine] = values.map((value) => mergeFlags({}, { [flag.name]: value }));
      const valueAt = (settings: object) =>
        flag.name.split('.').reduce<unknown>((inner, key) => (inner as Record<string, unknown>)?.[key], settings);
      const layers = [inRecipe, inFile, onLine].map((values) => ({ values: values as object }));
      const found = layers.map((_, i) =>
        valueAt(joined(layers.slice(0, i + 1) as { values: Record<string, unknown> }[])),
      );
      expect(found, flag.name).toEqual(values);
      checked++;
    }
    expect(checked).toBeGreaterThan(20);
    const config = parseLayers(schema, name, [{ values: filesOf(name) }]) as Record<string, unknown>;
    for (const flag of flagsOf(schema)) {
      if (flag.default === undefined) continue;
      const found = flag.name
        .split('.')
        .reduce<unknown>((inner, key) => (inner as Record<string, unknown>)?.[key], config);
      if (found !== undefined) expect(found, flag.name).toEqual(flag.default);
    }
  });

  it('is that of a real command', async () => {
    let seen: Record<string, unknown> = {};
    const grpo = () =>
      runCommand('grpo', methods.grpo.schema, async (config) => {
        seen = config as Record<string, unknown>;
      });
    const files = ['--model', 'm', '--data', 'd', '--reward', 'r', '--out', 'o'];
    await palm(grpo(), ...files);
    expect(seen).toMatchObject({ epochs: 4, klWeight: 0, sampling: { samplesPerPrompt: 8, maxNewTokens: 64 } });
    await palm(grpo(), ...files, '--recipe', 'dapo');
    expect(seen).toMatchObject({ epochs: 1, lr: 1e-6, sampling: { samplesPerPrompt: 16, maxNewTokens: 20480 } });
    const file = write('over.yaml', 'recipe: dapo\nlr: 0.1\nsampling: { maxNewTokens: 100 }\n');
    await palm(grpo(), ...files, '--config', file);
    expect(seen).toMatchObject({
      epochs: 1,
      lr: 0.1,
      sampling: { samplesPerPrompt: 16, maxNewTokens: 100, dynamic: true },
    });
    expect(seen).not.toHaveProperty('recipe');
    await palm(grpo(), ...files, '--config', file, '--lr', '0.2', '--sampling.samplesPerPrompt', '4');
    expect(seen).toMatchObject({ lr: 0.2, sampling: { samplesPerPrompt: 4, maxNewTokens: 100 } });
  });
});

describe('palm train', () => {
  it('trains by a file, whose settings flags override', async () => {
    const lines = ['recipe: tiny-cpu', `model: ${base}`, `data: ${prompts}`, `out: ${at('own')}`, 'rolloutBatch: 4'];
    const file = write('own.yaml', [...lines, 'minibatchSize: 8', 'sampling: { maxNewTokens: 4 }'].join('\n'));
    await palm(trainCommand(), file, '--reward', reward, '--steps', '1', '--device', device);
    const config = JSON.parse(readFileSync(at('own', 'config.json'), 'utf8'));
    expect(config).toMatchObject({ steps: 1, lr: 3e-4, rolloutBatch: 4, sampling: { samplesPerPrompt: 7 } });
    const sha256 = createHash('sha256').update(MODULE).digest('hex');
    expect(printed.stderr).toContain(`reward: ${reward} (sha256 ${sha256.slice(0, 12)})`);
  });

  it('refuses what does not go together', async () => {
    await expect(palm(trainCommand(), '--lr', '1')).rejects.toThrow('got --lr, expected a recipe');
    await expect(palm(trainCommand(), at('none.yaml'))).rejects.toThrow('no such file');
    await expect(palm(trainCommand(), write('m.yaml', 'method: dpoo'))).rejects.toThrow('Did you mean dpo?');
    await expect(palm(trainCommand(), write('l.yaml', 'method: [1]'))).rejects.toThrow('l.yaml: method: got [1]');
    await expect(palm(trainCommand(), 'dapo', '--recipe', 'tiny-cpu')).rejects.toThrow('got a second recipe');
    await expect(palm(trainCommand(), at('own.yaml'), '--config=x.yaml')).rejects.toThrow('got a second recipe');
    const dpo = runCommand('dpo', methods.dpo.schema, async () => {});
    await expect(palm(dpo, '--recipe', 'dapo')).rejects.toThrow('settings of the method grpo, expected dpo');
    const named = write('named.yaml', 'method: kto\n');
    await expect(palm(dpo, '--config', named)).rejects.toThrow('Use the command kto, or palm train');
  });

  it('finds the method from what there is to learn from', async () => {
    expect(await methodOfData({ reward: 'runs/judge', data: prompts })).toBe('ppo');
    expect(await methodOfData({ data: pairs })).toBe('dpo');
    expect(await methodOfData({ data: [rows('labels.jsonl', { prompt: 'a', completion: 'b', label: true })] })).toBe(
      'kto',
    );
    expect(await methodOfData({ data: rows('scored.jsonl', { prompt: 'a', completion: 'b', reward: 1 }) })).toBe(
      'ilql',
    );
    expect(await methodOfData({ data: write('verse.txt', 'To be, or not to be,\nthat is the question\n') })).toBe(
      'pretrain',
    );
    expect(await methodOfData({ data: rows('plain.jsonl', { prompt: 'a', completion: 'b' }) })).toBe('sft');
    const renamed = rows('renamed.jsonl', { prompt: 'a', better: 'b', worse: 'c' });
    expect(await methodOfData({ data: renamed, map: 'chosen=better,rejected=worse' })).toBe('dpo');
    expect(await methodOfData({ data: rows('plain.jsonl', { prompt: 'a', completion: 'b' }) })).toBe('sft');
    const steps = rows('steps.jsonl', { prompt: 'a', completions: ['b'], labels: [true] });
    expect(await methodOfData({ data: steps })).toBe('process-reward');
    await expect(methodOfData({})).rejects.toThrow('neither method, reward nor data');
    await expect(methodOfData({ data: prompts })).rejects.toThrow('rows of the form prompt in');
    await expect(methodOfData({ data: rows('odd.jsonl', { a: 1 }) })).rejects.toThrow('no rows of a known form');
    const file = write('data.yaml', 'out: x\nmodel: m\nbeta: -1\n');
    await expect(palm(trainCommand(), file, '--data', pairs)).rejects.toThrow('data.yaml:3: dpo.beta: got -1');
  });
});

describe('a wrong setting in a file', () => {
  const argumentOf = (text: string, ...args: string[]) => {
    const command = runCommand('ppo', methods.ppo.schema, async () => {});
    const files = ['--model', 'm', '--data', 'd', '--reward', 'r', '--out', 'o'];
    return palm(command, '--config', write('wrong.yaml', text), ...files, ...args).then(
      () => 'nothing',
      ({ argument }: { argument: string }) => argument.replace(`${folder}/`, ''),
    );
  };

  it('is named with its line', async () => {
    expect(await argumentOf('# first\n\nsteps: many\n')).toBe('wrong.yaml:3: ppo.steps');
    expect(await argumentOf('loss:\n  clip: 0.1\n  valueClip: -1\n')).toBe('wrong.yaml:3: ppo.loss.valueClip');
    expect(await argumentOf('loss: {\n clip: 0.1,\n clipp: 1 }\n')).toBe('wrong.yaml:3: ppo.loss.clipp');
    expect(await argumentOf('steps: 1\nloss.clip: 1\n')).toBe('wrong.yaml:2: ppo."loss.clip"');
    expect(await argumentOf('{ "steps": 1,\n "loss": 3 }')).toBe('wrong.yaml:2: ppo.loss');
    expect(await argumentOf('common: &x { clip: -1 }\nloss: *x\n')).toBe('wrong.yaml:1: ppo.loss.clip');
    expect(await argumentOf('sampling:\n  topK: 3\n')).toBe('wrong.yaml:2: ppo.sampling.topK');
  });

  it('is not blamed on the file if a flag has it, or on the flag if a file has it', async () => {
    expect(await argumentOf('steps: many\n', '--steps', '3')).toBe('nothing');
    expect(await argumentOf('steps: 3\n', '--steps', '-3')).toBe('ppo.steps');
    expect(await argumentOf('loss:\n  clip: -1\n', '--loss.valueClip', '0.1')).toBe('wrong.yaml:2: ppo.loss.clip');
    expect(await argumentOf('loss:\n  clip: 1\n', '--loss.valueClip', '-1')).toBe('ppo.loss.valueClip');
  });
});

describe('sha256 of a reward module', () => {
  const scoring = { timeout: 1, combine: undefined, disagreement: undefined };
  const sha256 = createHash('sha256').update(MODULE).digest('hex');

  it('accepts the module that it was taken from, and no other', async () => {
    for (const given of [sha256, sha256.slice(0, 12)]) {
      const { inputs } = await openReward([{ from: reward, sha256: given }], scoring);
      expect(inputs).toEqual({ 'reward.reward': reward });
    }
    const changed = write('changed.mjs', `globalThis.changedRan = true;\n${MODULE}`);
    await expect(openReward([{ from: changed, sha256 }], scoring)).rejects.toThrow(
      `expected ${sha256.slice(0, 12)}, which the configuration names`,
    );
    expect(globalThis).not.toHaveProperty('changedRan');
    await expect(openReward([{ from: 'https://a.example', sha256 }], scoring)).rejects.toThrow('what is no module');
    await expect(openReward([{ from: at('no.mjs'), sha256 }], scoring)).rejects.toThrow('no such file');
  });

  it('is a setting of a recipe', async () => {
    const file = write(
      'pinned.yaml',
      `model: ${base}\ndata: ${prompts}\nout: ${at('pinned')}\nsteps: 1\nreward:\n  - { from: ${reward}, sha256: ${'a'.repeat(12)} }\n`,
    );
    await expect(palm(trainCommand(), file)).rejects.toThrow('Restore the module, or change sha256');
  });
});

describe('the JSON schema of recipes', () => {
  const schema = JSON.parse(recipeSchema());

  it('is the one that `npm run options` writes', () => {
    expect(textOf(join(import.meta.dirname, '../src/recipes/recipe.schema.json'))).toBe(recipeSchema());
  });

  it('has a definition for every method, which takes the shipped recipes and refuses mistakes', () => {
    expect(Object.keys(schema.$defs)).toEqual(names);
    for (const recipe of recipeNames().map(recipeNamed)) {
      const checked = z.fromJSONSchema(schema.$defs[recipe.method]);
      const whole = { method: recipe.method, ...recipe.settings };
      expect(checked.safeParse(whole).error, recipe.name).toBeUndefined();
      expect(checked.safeParse({ ...whole, stepz: 1 }).success).toBe(false);
      expect(checked.safeParse({ ...whole, lr: 'fast' }).success).toBe(false);
    }
  });

  it('is chosen by the method or by the shipped recipe', () => {
    const rule = schema.allOf.find(({ then }: { then: { $ref: string } }) => then.$ref === '#/$defs/grpo');
    expect(JSON.stringify(rule.if)).toContain('{"recipe":{"enum":["dapo","deepseekmath","dr-grpo","gspo"]}}');
    expect(JSON.stringify(schema)).not.toMatch(/"(placeholder|expected)":/);
  });
});
