/** Machines that are set up otherwise: the reason that was met is the one that is told, and nothing is taken from where one stands. */
import { spawnSync } from 'node:child_process';
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { findLibtorchToBuild } from '../src/native/libtorch.ts';

const root = join(import.meta.dirname, '..');
const main = join(root, 'dist/cli/main.js');
const folder = mkdtempSync(join(tmpdir(), 'palm-environment-'));
const { PATH = '' } = process.env;
const libtorch = findLibtorchToBuild().path;
afterAll(() => rmSync(folder, { recursive: true }));

interface Setting {
  env?: Record<string, string>;
  cwd?: string;
  /** Modules to load first. */
  preload?: string[];
}

/** Runs Node with nothing in its environment but PATH, a home and `env`. */
function node(args: string[], { env = {}, cwd = folder, preload = [] }: Setting = {}) {
  const imports = preload.flatMap((name) => ['--import', join(import.meta.dirname, 'fixtures/preload', name)]);
  const own = { PATH, HOME: folder, ...env };
  const { status, stdout, stderr } = spawnSync(process.execPath, [...imports, ...args], {
    cwd,
    env: own,
    encoding: 'utf8',
    timeout: 100_000,
  });
  return { status, stdout, stderr };
}

const palm = (args: string[], setting: Setting = {}) => node([main, ...args], setting);

/** What `code`, with everything of the package in `api`, throws: its class and fields. */
function thrownBy(code: string, setting: Setting = {}): Record<string, string> {
  const wrapped = `import * as api from '${join(root, 'dist/index.js')}';
    try { ${code}; console.log('{}'); }
    catch (error) { console.log(JSON.stringify({ name: error.name, ...error, message: error.message })); }`;
  const { stdout, stderr } = node(['--input-type=module', '-e', wrapped], setting);
  expect(stdout, stderr).toMatch(/^\{/);
  return JSON.parse(stdout) as Record<string, string>;
}

const MODEL = 'new api.PaLM({ numTokens: 16, dim: 16, depth: 1, heads: 2, dimHead: 8 })';

function write(path: string, text: string): string {
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, text);
  return path;
}

describe('a user without a home', () => {
  // A user whose number nobody knows has no home where HOME is not set. What runs before makes Node say so for root too.
  const homeless = { preload: ['no-home.mjs'] };

  it('gets the other places searched, and advice (uid-without-home)', () => {
    const empty = join(folder, 'empty');
    mkdirSync(empty, { recursive: true });
    expect(thrownBy(MODEL, { ...homeless, env: { PATH: empty } })).toMatchObject({
      name: 'LibtorchError',
      code: 'ERR_LIBTORCH',
      argument: 'libtorch',
    });
    const { status, stdout, stderr } = palm(['libtorch', 'where'], { ...homeless, env: { PALM_LIBTORCH: libtorch } });
    expect(status, stderr).toBe(0);
    expect(stdout.trim()).toBe(libtorch);
  });

  it.each([['install'], ['use', libtorch]])('is told how to make `palm libtorch %s` work', (...args) => {
    const { status, stderr } = palm(['libtorch', ...args], homeless);
    expect(status).toBe(6);
    expect(stderr).toContain('PALM_LIBTORCH');
  });
});

describe('an unwritable home (home-not-writable)', () => {
  it.each([['install'], ['use', libtorch]])('makes `palm libtorch %s` exit with 6 and say what to set', (...args) => {
    // Root may write anywhere: nobody may below /proc.
    const { status, stderr } = palm(['libtorch', ...args], { env: { HOME: '/proc/nobody' } });
    expect(status, stderr).toBe(6);
    expect(stderr).toMatch(/XDG_(CACHE|CONFIG)_HOME/);
    expect(stderr).toContain('PALM_LIBTORCH');
  });
});

describe('a failure to load the addon (dlopen-said-to-be-missing)', () => {
  /** A package whose addon is `bytes`. */
  function addon(name: string, bytes: Uint8Array): Record<string, string> {
    const path = join(folder, name, 'prebuilds', `${process.platform}-${process.arch}`, 'palm-rlhf.node');
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, bytes);
    return { PALM_RLHF_PREBUILD: join(folder, name), PALM_LIBTORCH: libtorch };
  }

  it("reports the system's reason", () => {
    const built = readFileSync(join(root, 'build/Release/palm.node'));
    const place = built.indexOf('libstdc++.so.6');
    const changed = Buffer.from(built);
    changed.write('libstdc++.so.9', place, 'latin1');
    const missing = thrownBy(MODEL, { env: addon('stdc', changed) });
    expect(missing).toMatchObject({ name: 'LibtorchError', code: 'ERR_LIBTORCH' });
    expect(missing.argument).toContain('palm-rlhf.node');
    expect(missing.received).toContain('libstdc++.so.9');

    const empty = thrownBy(MODEL, { env: addon('empty', new Uint8Array()) });
    expect(empty.name).toBe('LibtorchError');
    expect(empty.received).toContain('too short');
  });

  it('is reported as a missing addon only if it is missing', () => {
    const { received } = thrownBy(MODEL, {
      env: { PALM_RLHF_PREBUILD: join(folder, 'nowhere'), PALM_LIBTORCH: libtorch },
    });
    expect(received).toContain(`none for ${process.platform}-${process.arch}`);
  });
});

it('a second libtorch in a process is refused before it is opened (two-libtorch-in-a-process)', () => {
  const copy = join(folder, 'second');
  mkdirSync(join(copy, 'lib'), { recursive: true });
  for (const name of ['version.py', 'build-version']) {
    if (existsSync(join(libtorch, name))) copyFileSync(join(libtorch, name), join(copy, name));
  }
  copyFileSync(join(libtorch, 'lib/libc10.so'), join(copy, 'lib/libc10.so'));
  symlinkSync(join(libtorch, 'lib/libtorch_cpu.so'), join(copy, 'lib/libtorch_cpu.so'));
  // The other libtorch, as another addon would bring it: loaded, and by nobody who knows of us.
  const load = `process.dlopen({ exports: {} }, '${join(libtorch, 'lib/libc10.so')}')`;
  const code = `try { ${load} } catch {} ${MODEL}`;
  const refused = thrownBy(code, { env: { PALM_LIBTORCH: copy } });
  expect(refused).toMatchObject({ name: 'LibtorchError', code: 'ERR_LIBTORCH' });
  expect(refused.received).toContain(join(libtorch, 'lib/libc10.so'));
  expect(refused.fix).toContain('PALM_LIBTORCH');
  expect(thrownBy(code, { env: { PALM_LIBTORCH: libtorch } })).toEqual({});
});

describe('the current folder', () => {
  const here = join(folder, 'here');
  const trap = (name: string) => write(join(here, name), `open('${join(here, 'trapped')}', 'w').close()\n`);
  beforeAll(() => {
    for (const name of ['torch.py', 'torch/__init__.py', 'types.py', 'contextlib.py', 'warnings.py']) trap(name);
    for (const name of ['sitecustomize.py', 'pip.py', 'pip/__init__.py', 'pip/__main__.py']) trap(name);
    write(join(here, 'nvidia-smi'), `#!/bin/sh\n: > ${join(here, 'trapped')}\n`);
    for (const name of ['python3', 'python']) copyFileSync(join(here, 'nvidia-smi'), join(here, name));
    for (const name of ['nvidia-smi', 'python3', 'python']) chmodSync(join(here, name), 0o755);
  });

  it.each([
    ['libtorch', 'where'],
    ['libtorch', 'install'],
    ['doctor', '--json'],
  ])('is never a source of code for `palm %s %s`', (...args) => {
    const env = { XDG_CACHE_HOME: join(folder, 'no-cache'), PIP_INDEX_URL: 'http://127.0.0.1:9', PYTHONPATH: '' };
    for (const path of [PATH, `:${PATH}`]) palm(args, { cwd: here, env: { ...env, PATH: path } });
    expect(existsSync(join(here, 'trapped'))).toBe(false);
  });

  it('is not the base of a relative XDG folder or saved choice', () => {
    const place = join(folder, 'config/palm-rlhf/libtorch.json');
    write(place, JSON.stringify({ path: 'torch' }));
    const { status, stderr } = palm(['libtorch', 'where'], {
      cwd: here,
      env: { XDG_CONFIG_HOME: join(folder, 'config') },
    });
    expect(status, stderr).toBe(6);
    rmSync(place);
  });
});

describe('saving', () => {
  const pretrain = (out: string, setting: Setting = {}) => {
    const text = write(join(folder, 'poem.txt'), 'Tiger, tiger, burning bright\n'.repeat(20));
    const model = '--model.dim 16 --model.depth 1 --model.heads 2 --model.dimHead 8 --model.ffMult 2';
    const small = `${model} --sequenceLength 8 --batchSize 2 --steps 2`.split(' ');
    const env = { PALM_LIBTORCH: libtorch, ...setting.env };
    return palm(['pretrain', '--data', text, '--out', out, ...small], { ...setting, env });
  };

  it('works if open files have no sync method (yarn-pnp-save)', () => {
    const out = join(folder, 'pnp');
    const { status, stderr } = pretrain(out, { preload: ['partial-files.mjs'] });
    expect(status, stderr).toBe(0);
    const { stdout } = palm(['inspect', out, '--verify'], {
      preload: ['partial-files.mjs'],
      env: { PALM_LIBTORCH: libtorch },
    });
    expect(stdout).toContain('step-000002');
  });

  it('fails before the first step if it is impossible', () => {
    const out = join(folder, 'broken');
    const { status, stderr } = pretrain(out, { preload: ['no-sync.mjs'] });
    expect(status).toBe(1);
    expect(stderr).toContain('EIO');
    expect(existsSync(join(out, 'metrics.jsonl'))).toBe(false);
  });

  it("reports the system's reason (out-on-read-only-disk)", () => {
    const { status, stderr } = pretrain('/sys/fs/palm/run');
    expect(status).toBe(1);
    expect(stderr).not.toContain('checkpoints: got nothing');
    expect(pretrain('/proc/palm/run').status).toBe(1); // mkdir of Node never comes back from there
  });
});
