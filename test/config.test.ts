import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { homedir, tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { path } from '../src/config/fields.ts';
import { readConfigFile } from '../src/config/file.ts';
import { flagsOf, mergeFlags } from '../src/config/flags.ts';
import { adamAtan2Config, adamWConfig, adoptAtan2Config } from '../src/config/optim.ts';
import { palmConfig, resolvePalmConfig } from '../src/config/palm.ts';
import { cpoConfig } from '../src/config/cpo.ts';
import { dpoConfig } from '../src/config/dpo.ts';
import { flowrlConfig } from '../src/config/flowrl.ts';
import { grpoConfig } from '../src/config/grpo.ts';
import { ilqlConfig } from '../src/config/ilql.ts';
import { ppoConfig } from '../src/config/ppo.ts';
import { pretrainConfig } from '../src/config/pretrain.ts';
import { processRewardConfig } from '../src/config/process-reward.ts';
import { reinforceConfig } from '../src/config/reinforce.ts';
import { remaxConfig } from '../src/config/remax.ts';
import { rewardConfig } from '../src/config/reward.ts';
import { onlineDpoConfig } from '../src/config/online-dpo.ts';
import { rlooConfig } from '../src/config/rloo.ts';
import { rftConfig } from '../src/config/rft.ts';
import { sftConfig } from '../src/config/sft.ts';
import { implicitPrmConfig } from '../src/config/implicit-prm.ts';
import { ktoConfig } from '../src/config/kto.ts';
import { orpoConfig } from '../src/config/orpo.ts';
import { simpoConfig } from '../src/config/simpo.ts';
import { samplingConfig } from '../src/config/sampling.ts';
import { type ConfigSchema, type FieldSchema, fieldSchema, parseConfig } from '../src/config/schema.ts';
import { targetPolicyConfig } from '../src/config/target-policy.ts';
import { ConfigError, FileError } from '../src/errors.ts';

const schemas: Record<string, ConfigSchema> = {
  palm: palmConfig,
  sampling: samplingConfig,
  adamW: adamWConfig,
  adoptAtan2: adoptAtan2Config,
  adamAtan2: adamAtan2Config,
  pretrain: pretrainConfig,
  reward: rewardConfig,
  sft: sftConfig,
  processReward: processRewardConfig,
  ppo: ppoConfig,
  grpo: grpoConfig,
  rloo: rlooConfig,
  'online-dpo': onlineDpoConfig,
  reinforce: reinforceConfig,
  remax: remaxConfig,
  'target-policy': targetPolicyConfig,
  flowrl: flowrlConfig,
  dpo: dpoConfig,
  ilql: ilqlConfig,
  rft: rftConfig,
  simpo: simpoConfig,
  orpo: orpoConfig,
  'implicit-prm': implicitPrmConfig,
  kto: ktoConfig,
  cpo: cpoConfig,
};
const palm = { numTokens: 256, dim: 64, depth: 2 };

function errorOf(run: () => unknown): ConfigError {
  try {
    run();
  } catch (error) {
    expect(error).toBeInstanceOf(ConfigError);
    return error as ConfigError;
  }
  throw new Error('nothing was thrown');
}

describe.each(Object.entries(schemas))('the schema of %s', (_name, schema) => {
  function objects(field: FieldSchema): FieldSchema[] {
    const inner = Object.values(field.properties ?? {}).filter(({ properties }) => properties);
    return [field, ...inner.flatMap(objects)];
  }

  it('has help for every field and at most 25 in an object', () => {
    for (const object of objects(fieldSchema(schema))) {
      const fields = Object.entries(object.properties ?? {});
      expect(fields.length).toBeLessThanOrEqual(25);
      expect(fields.filter(([, field]) => !field.description).map(([key]) => key)).toEqual([]);
    }
  });

  it('accepts its own output', () => {
    const required = { ...palm, maxNewTokens: 8 };
    const needed = Object.fromEntries(
      Object.entries(required).filter(([key]) => fieldSchema(schema).required?.includes(key)),
    );
    const config = parseConfig(schema, needed, 'config');
    expect(parseConfig(schema, JSON.parse(JSON.stringify(config)), 'config')).toEqual(config);
  });
});

describe('resolvePalmConfig', () => {
  it('fills in the defaults of the Python library', () => {
    expect(resolvePalmConfig(palm)).toEqual({
      ...palm,
      heads: 8,
      dimHead: 64,
      ffMult: 4,
      causal: true,
      qkRmsnorm: false,
      qkScale: 0.125,
      rotaryXposScaleBase: 512,
      ignoreIndex: -100,
      attnDropout: 0,
      ffDropout: 0,
      recompute: 'selective',
      device: 'cpu',
      dtype: 'float32',
      seed: 0,
    });
    expect(resolvePalmConfig({ ...palm, qkScale: 8 }).qkScale).toBe(8);
  });

  it('treats undefined as a missing key', () => {
    expect(resolvePalmConfig({ ...palm, heads: undefined, qkScale: undefined }).heads).toBe(8);
  });
});

describe('an error', () => {
  it('names an unknown key and the nearest known one', () => {
    const error = errorOf(() => parseConfig(palmConfig, { ...palm, head: 4 }, 'PaLM'));
    expect(error).toMatchObject({ code: 'ERR_CONFIG', argument: 'PaLM.head', fix: 'Did you mean heads?' });
    expect(error.message).toBe('PaLM.head: got an unknown key. Did you mean heads?');
  });

  it('lists the known keys if none is close', () => {
    const error = errorOf(() => parseConfig(ppoConfig, { loss: { zigzagging: 1 } }, 'ppo'));
    expect(error.message).toBe(
      'ppo.loss.zigzagging: got an unknown key, expected one of clip, valueClip, valueWeight, entropyWeight, dualClip, pretraining.',
    );
  });

  it('says where a key with dots belongs', () => {
    const error = errorOf(() => parseConfig(ppoConfig, { 'loss.clip': 0.1 }, 'ppo'));
    expect(error).toMatchObject({ argument: 'ppo."loss.clip"', fix: 'Nest it under loss, without "loss.".' });
    const moved = errorOf(() => parseConfig(ppoConfig, { gamma: 1 }, 'ppo'));
    expect(moved).toMatchObject({ argument: 'ppo.gamma', received: 'an unknown key', fix: 'Nest it under critic.' });
  });

  it('names the path, value, limits and fix', () => {
    const error = errorOf(() => parseConfig(pretrainConfig, { model: { dimHead: 33 } }, 'pretrain'));
    expect(error).toMatchObject({
      argument: 'pretrain.model.dimHead',
      received: '33',
      expected: 'an integer >= 2 that is a multiple of 2',
      fix: 'Leave it out for the default, 32.',
    });
  });

  it('lists everything that is wrong', () => {
    const wrong = { ...palm, dim: undefined, depth: 0, heads: 'many', dtype: 'float16', devise: 'cpu', device: 'tpu' };
    const { message } = errorOf(() => parseConfig(palmConfig, wrong, 'PaLM'));
    expect(message).toContain('PaLM.dim: got nothing, expected an integer >= 1. It is required: it has no default.');
    expect(message).toContain('PaLM.depth: got 0, expected an integer >= 1.');
    expect(message).toContain('PaLM.heads: got "many", expected an integer >= 1.');
    expect(message).toContain('PaLM.dtype: got "float16", expected one of float32, bfloat16, float64.');
    expect(message).toContain('PaLM.device: got "tpu", expected cpu, cuda or cuda:N.');
    expect(message).toContain('PaLM.devise: got an unknown key.');
  });

  it('explains lists and alternatives', () => {
    const betas = errorOf(() => parseConfig(adamWConfig, { betas: [0.9, 1] }, 'AdamW'));
    expect(betas).toMatchObject({ argument: 'AdamW.betas.1', received: '1', expected: 'a finite number >= 0 and < 1' });
    expect(errorOf(() => parseConfig(adamWConfig, { betas: [0.9] }, 'AdamW'))).toMatchObject({ received: '[0.9]' });
    const lora = errorOf(() => parseConfig(ppoConfig, { lora: true }, 'ppo'));
    expect(lora).toMatchObject({ argument: 'ppo.lora', received: 'true', expected: 'an integer >= 1 or false' });
    expect(errorOf(() => parseConfig(ppoConfig, { lora: 0 }, 'ppo')).expected).toBe('an integer >= 1 or false');
  });
});

describe('hostile values', () => {
  it.each(['__proto__', 'constructor', 'toString', 'hasOwnProperty'])('refuses the key %s', (key) => {
    const value = JSON.parse(`{ "numTokens": 2, "dim": 8, "depth": 1, "${key}": { "heads": 1 } }`);
    expect(errorOf(() => parseConfig(palmConfig, value, 'PaLM')).argument).toBe(`PaLM.${key}`);
    const nested = JSON.parse(`{ "model": { "${key}": { "heads": 1 } } }`);
    expect(errorOf(() => parseConfig(pretrainConfig, nested, 'pretrain')).argument).toBe(`pretrain.model.${key}`);
    expect(({} as Record<string, unknown>).heads).toBeUndefined();
  });

  it.each([Number.NaN, Number.POSITIVE_INFINITY, 1e300, 2 ** 53, -1, 1.5, '8', null, [8], { a: 8 }, true, 8n, () => 8])(
    'refuses the width %s',
    (dim) => {
      const error = errorOf(() => parseConfig(palmConfig, { ...palm, dim }, 'PaLM'));
      expect(error.argument).toBe('PaLM.dim');
      expect(error.expected).toContain('an integer >= 1');
    },
  );

  it.each([[null], [[]], [[palm]], ['dim'], [5], [true]])('refuses %j instead of an object', (value) => {
    expect(errorOf(() => parseConfig(palmConfig, value, 'PaLM'))).toMatchObject({
      argument: 'PaLM',
      expected: 'an object',
    });
    if (value === null) return;
    expect(errorOf(() => parseConfig(ppoConfig, { loss: value }, 'ppo'))).toMatchObject({ argument: 'ppo.loss' });
  });

  it('escapes unprintable characters', () => {
    const cyclic: Record<string, unknown> = {};
    cyclic.self = cyclic;
    expect(errorOf(() => parseConfig(palmConfig, { ...palm, dim: cyclic }, 'PaLM')).received).toBe('an object');
    expect(errorOf(() => parseConfig(palmConfig, { ...palm, dim: [cyclic] }, 'PaLM')).received).toBe('a list');
    const escaped = errorOf(() => parseConfig(palmConfig, { ...palm, '\u001b[2J': 1 }, 'PaLM'));
    expect(escaped.message).not.toContain('\u001b');
  });
});

describe('flags', () => {
  const flags = new Map(flagsOf(ppoConfig).map((flag) => [flag.name, flag]));
  const parsed = (name: string, text: string) => flags.get(name)?.parse(text);

  it('use dots for nested keys', () => {
    expect(flags.get('sampling.maxNewTokens')).toMatchObject({
      description: 'max tokens per response',
      expected: 'an integer >= 1',
      default: 64,
      required: false,
      takesValue: true,
      takesNo: false,
    });
    expect(
      flagsOf(palmConfig)
        .filter(({ required }) => required)
        .map(({ name }) => name),
    ).toEqual(['numTokens', 'dim', 'depth']);
    expect(flags.get('adaptiveKl.target')?.required).toBe(false);
  });

  it('include switches', () => {
    expect(flags.get('critic.whiten')).toMatchObject({ takesValue: false, takesNo: true });
    expect(flags.get('lora')).toMatchObject({ takesValue: true, takesNo: true });
  });

  it('parse numbers and lists, and leave other text for the schema to refuse', () => {
    expect(parsed('lr', '3e-4')).toBe(3e-4);
    expect(parsed('lr', '.5')).toBe(0.5);
    expect(parsed('lora', '16')).toBe(16);
    expect(
      flagsOf(adamWConfig)
        .find(({ name }) => name === 'betas')
        ?.parse('0.9, 0.95'),
    ).toEqual([0.9, 0.95]);
    for (const text of ['', ' ', 'NaN', 'Infinity', '0x10', '1_000', '1,5', 'false', '1e999', '--', '8 ']) {
      expect(errorOf(() => parseConfig(ppoConfig, { steps: parsed('steps', text) }, 'ppo')).argument).toBe('ppo.steps');
    }
    expect(
      flagsOf(pretrainConfig)
        .find(({ name }) => name === 'tokenizer')
        ?.parse('123'),
    ).toBe('123');
  });

  it('override the file without changing it', () => {
    const file = { steps: 5, loss: { clip: 0.1, valueClip: 0.3 } };
    const merged = mergeFlags(file, { steps: undefined, 'loss.clip': 0.4, 'adaptiveKl.target': 6, lora: false });
    expect(merged).toEqual({ steps: 5, loss: { clip: 0.4, valueClip: 0.3 }, adaptiveKl: { target: 6 }, lora: false });
    expect(file).toEqual({ steps: 5, loss: { clip: 0.1, valueClip: 0.3 } });
  });

  it('do not hide a wrong value in the file', () => {
    expect(mergeFlags({ loss: 5 }, { 'loss.clip': 0.4 })).toEqual({ loss: 5 });
    const polluted = JSON.parse('{ "__proto__": { "x": 1 } }');
    expect(errorOf(() => parseConfig(ppoConfig, mergeFlags(polluted, { steps: 2 }), 'ppo')).argument).toBe(
      'ppo.__proto__',
    );
  });
});

describe('a configuration file', () => {
  const folder = mkdtempSync(join(tmpdir(), 'palm-config-'));
  afterAll(() => rmSync(folder, { recursive: true }));
  const read = (text: string | Buffer) => {
    writeFileSync(join(folder, 'config.yaml'), text);
    return readConfigFile(join(folder, 'config.yaml'));
  };

  it('is YAML or JSON', () => {
    expect(read('steps: 5\nloss:\n  clip: 0.1 # narrow\nlora: false\n')).toEqual({
      steps: 5,
      loss: { clip: 0.1 },
      lora: false,
    });
    expect(read('{\n\t"steps": 5,\n\t"text": "\\ud83d\\ude00"\n}')).toEqual({ steps: 5, text: '😀' });
    expect(read('')).toEqual({});
    expect(read('\ufeffsteps: 5')).toEqual({ steps: 5 });
  });

  it.each([
    ['an open list', 'a: ['],
    ['a key twice', 'a: 1\na: 2'],
    ['a list', '- 1'],
    ['text', 'text'],
    ['a number', '5'],
    ['two documents', 'a: 1\n---\nb: 2'],
    ['deeper than the stack', `a: ${'['.repeat(10_000)}`],
    ['a set', '%YAML 1.1\n--- !!set {a, b}'],
    ['bytes', '%YAML 1.1\n--- !!binary AAAA'],
    [
      'an alias bomb',
      `a: &a [x, x]\n${[...'bcdefghij'].map((c, i) => `${c}: &${c} [${`*${'abcdefghi'[i]},`.repeat(9)}]`).join('\n')}`,
    ],
    ['ten thousand aliases', `a: &a x\nb: [${'*a,'.repeat(5000)}]`],
    ['an alias of nothing', 'a: *b'],
    ['binary', '\u0000'],
  ])('is refused if it is %s', (_name, text) => {
    const error = errorOf(() => read(text));
    expect(error.argument).toContain('config.yaml');
    expect(error.message.split('\n')).toHaveLength(1);
  });

  it('passes wrong values on to the schema', () => {
    expect(errorOf(() => parseConfig(ppoConfig, read('steps: 1e999'), 'ppo')).received).toBe('Infinity');
    expect(errorOf(() => parseConfig(ppoConfig, read('steps: .nan'), 'ppo')).received).toBe('NaN');
    expect(errorOf(() => parseConfig(ppoConfig, read('__proto__: { steps: 1 }'), 'ppo')).argument).toBe(
      'ppo.__proto__',
    );
    expect(errorOf(() => parseConfig(ppoConfig, read('steps:'), 'ppo')).received).toBe('null');
    expect(errorOf(() => parseConfig(ppoConfig, read('<<: { steps: 1 }'), 'ppo')).argument).toBe('ppo."<<"');
  });

  it('names the line of an error', () => {
    expect(errorOf(() => read('a: 1\nb: [\n')).argument).toMatch(/config\.yaml:3$/);
    expect(errorOf(() => read('a: 1\r\nb: 2\r\na: 3\r\n'))).toMatchObject({
      argument: expect.stringMatching(/config\.yaml:3$/),
      received: expect.stringContaining('unique'),
    });
  });

  it('does not pollute prototypes', () => {
    const value = read('__proto__: { polluted: 1 }\nconstructor: { prototype: { polluted: 1 } }\n');
    expect(mergeFlags(value, { 'model.dim': 3, seed: 1 })).toMatchObject({ seed: 1 });
    expect(({} as { polluted?: number }).polluted).toBeUndefined();
    expect(Object.hasOwn(value, '__proto__')).toBe(true);
  });

  it.each([
    ['is too large', 'a: 1\n'.repeat(4000), /got 20000 bytes, expected at most 16384/],
    ['is not UTF-8', Buffer.from('a: \xff', 'latin1'), /not UTF-8, starting at byte 3/],
  ])('is a FileError if it %s', (_, content, message) => {
    expect(() => read(content)).toThrow(FileError);
    expect(() => read(content)).toThrow(message);
  });

  it('must exist and be a file', () => {
    const pipe = join(folder, 'pipe');
    execFileSync('mkfifo', [pipe]);
    for (const path of [join(folder, 'none.yaml'), folder, pipe, '/dev/zero']) {
      expect(() => readConfigFile(path)).toThrow(FileError);
    }
  });
});

describe('a path', () => {
  const parsed = (value: string) => path.parse(value);

  it('expands ~/ to the home folder (tilde-in-config)', () => {
    expect(parsed('~/runs/x')).toBe(join(homedir(), 'runs/x'));
    expect(parsed('~')).toBe(homedir());
    for (const other of ['a/~/b', './~/b', '~user/b', '/~', 'byte']) expect(parsed(other)).toBe(other);
  });
});
