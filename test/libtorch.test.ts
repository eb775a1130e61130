import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { LibtorchError } from '../src/errors.ts';
import { findLibtorch, findLibtorchToBuild, LIBTORCH_VERSION, saveLibtorchChoice } from '../src/native/libtorch.ts';
import { installLibtorch } from '../src/native/install-libtorch.ts';

let home: string;
const systemPath = process.env.PATH as string;

beforeEach(() => {
  home = mkdtempSync(join(tmpdir(), 'palm-libtorch-'));
  mkdirSync(join(home, 'bin'));
  vi.stubEnv('HOME', home);
  vi.stubEnv('XDG_CONFIG_HOME', join(home, 'config'));
  vi.stubEnv('XDG_CACHE_HOME', join(home, 'cache'));
  vi.stubEnv('PATH', join(home, 'bin'));
  vi.stubEnv('PALM_LIBTORCH', undefined);
});

afterEach(() => {
  vi.unstubAllEnvs();
  rmSync(home, { recursive: true });
});

/** A folder that looks like a libtorch from outside; `stated` is the content of its version.py. */
function fakeLibtorch(folder: string, version: string | undefined, files: string[] = []): string {
  const path = join(home, folder);
  for (const file of ['lib/libtorch_cpu.so', 'lib/libc10.so', ...files]) write(join(path, file), '');
  if (version !== undefined) write(join(path, 'version.py'), `__version__ = '${version}'\n`);
  return path;
}

function write(path: string, text: string): void {
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, text);
}

function command(name: string, script: string): void {
  write(join(home, 'bin', name), `#!/bin/sh\n${script}\n`);
  chmodSync(join(home, 'bin', name), 0o755);
}

function errorOf(action: () => unknown): LibtorchError {
  try {
    action();
  } catch (error) {
    expect(error).toBeInstanceOf(LibtorchError);
    return error as LibtorchError;
  }
  throw new Error('nothing was thrown');
}

describe('findLibtorch', () => {
  it('prefers the environment, then the saved choice, then the cache, then Python', () => {
    const path = { env: fakeLibtorch('env', '2.13.1+cpu'), saved: fakeLibtorch('saved', '2.13.0+cpu') };
    const cached = fakeLibtorch('cache/palm-rlhf/libtorch/2.13.0+cpu/torch', '2.13.0+cpu');
    const python = fakeLibtorch('site/torch', '2.13.0+cpu');
    command('python3', `echo ${python}/__init__.py`);
    saveLibtorchChoice(path.saved);
    vi.stubEnv('PALM_LIBTORCH', path.env);

    expect(findLibtorch('2.13.0')).toMatchObject({
      path: path.env,
      version: '2.13.1',
      variant: 'cpu',
      source: 'PALM_LIBTORCH',
    });
    vi.stubEnv('PALM_LIBTORCH', undefined);
    expect(findLibtorch('2.13.0')).toMatchObject({ path: path.saved, source: 'saved choice' });
    rmSync(join(home, 'config'), { recursive: true });
    expect(findLibtorch('2.13.0')).toMatchObject({ path: cached, source: 'cache' });
    rmSync(join(home, 'cache'), { recursive: true });
    expect(findLibtorch('2.13.0')).toMatchObject({ path: python, source: 'python3' });
  });

  it('asks a Python for torch without importing it', () => {
    const path = fakeLibtorch('site/torch', '2.13.0+cu130');
    write(join(path, '__init__.py'), 'raise SystemExit("imported")\n');
    vi.stubEnv('PYTHONPATH', join(home, 'site'));
    vi.stubEnv('PATH', systemPath);
    expect(findLibtorch('2.13.0')).toMatchObject({ path, variant: 'cu130', source: 'python3' });
  });

  it('records a release of another series and continues searching', () => {
    fakeLibtorch('cache/palm-rlhf/libtorch/2.14.0+cpu/torch', '2.14.0+cpu');
    const python = fakeLibtorch('site/torch', '2.13.0+cpu');
    command('python', `echo ${python}/__init__.py`);
    const { source, trace } = findLibtorch('2.13.0');
    expect(source).toBe('python');
    expect(trace.map(({ source, outcome }) => [source, outcome])).toEqual([
      ['PALM_LIBTORCH', 'not set'],
      ['saved choice', 'none saved'],
      ['cache', 'libtorch 2.14.0+cpu, not libtorch 2.13'],
      ['python3', 'no such command'],
      ['python', 'libtorch 2.13.0+cpu'],
    ]);
  });

  it('prefers the CUDA build if the cache has both', () => {
    fakeLibtorch('cache/palm-rlhf/libtorch/2.13.0+cpu/torch', '2.13.0+cpu');
    fakeLibtorch('cache/palm-rlhf/libtorch/2.13.0+cu130/torch', '2.13.0+cu130');
    expect(findLibtorch('2.13.0').variant).toBe('cu130');
  });

  it('reads the version of a plain libtorch from build-version or the headers', () => {
    const plain = fakeLibtorch('plain', undefined, ['lib/libtorch_cuda.so']);
    write(
      join(plain, 'include/torch/headeronly/version.h'),
      '#define TORCH_VERSION_MAJOR 2\n#define TORCH_VERSION_MINOR 12\n#define TORCH_VERSION_PATCH 1\n',
    );
    vi.stubEnv('PALM_LIBTORCH', plain);
    expect(findLibtorch('2.12.0')).toMatchObject({ version: '2.12.1', variant: 'cuda' });
    write(join(plain, 'build-version'), '2.13.0+cu130\n');
    expect(findLibtorch('2.13.0')).toMatchObject({ version: '2.13.0', variant: 'cu130' });
  });

  it('stops searching at an unusable explicit choice', () => {
    const other = fakeLibtorch('other', '2.12.0+cpu');
    fakeLibtorch('cache/palm-rlhf/libtorch/2.13.0+cpu/torch', '2.13.0+cpu');
    vi.stubEnv('PALM_LIBTORCH', other);
    expect(errorOf(() => findLibtorch('2.13.0'))).toMatchObject({
      argument: 'PALM_LIBTORCH',
      received: `${other}: libtorch 2.12.0+cpu, not libtorch 2.13`,
      expected: 'libtorch 2.13',
    });
    vi.stubEnv('PALM_LIBTORCH', join(home, 'nowhere'));
    expect(errorOf(() => findLibtorch('2.13.0')).received).toContain('no such folder');

    vi.stubEnv('PALM_LIBTORCH', undefined);
    saveLibtorchChoice(other);
    expect(errorOf(() => findLibtorch('2.13.0')).fix).toContain('npx palm-rlhf libtorch use PATH');
    write(join(home, 'config/palm-rlhf/libtorch.json'), '[');
    expect(errorOf(() => findLibtorch('2.13.0')).argument).toBe(join(home, 'config/palm-rlhf/libtorch.json'));
  });

  it('says where it searched and which command helps if there is none', () => {
    const { argument, message } = errorOf(() => findLibtorch('2.13.0'));
    expect(argument).toBe('libtorch');
    for (const part of [
      'PALM_LIBTORCH',
      'libtorch.json',
      join(home, 'cache'),
      'python3',
      'python ',
      '`npx palm-rlhf libtorch install`',
    ]) {
      expect(message).toContain(part);
    }
  });
});

describe('findLibtorchToBuild', () => {
  it.each(['2.11.0', '2.12.1', '2.13.0', '2.14.1'])('accepts %s', (version) => {
    vi.stubEnv('PALM_LIBTORCH', fakeLibtorch('any', `${version}+cpu`));
    expect(findLibtorchToBuild().version).toBe(version);
  });

  it.each(['1.13.1', '2.10.0', '2.15.0'])('refuses %s', (version) => {
    vi.stubEnv('PALM_LIBTORCH', fakeLibtorch('any', version));
    expect(errorOf(() => findLibtorchToBuild()).expected).toBe('libtorch 2.11 to 2.14');
  });
});

describe('saveLibtorchChoice', () => {
  it('refuses a folder without the libraries and saves nothing', () => {
    expect(errorOf(() => saveLibtorchChoice(home)).received).toBe(`${home}: no lib/libtorch_cpu.so in it`);
    expect(existsSync(join(home, 'config'))).toBe(false);
  });
});

describe('installLibtorch', () => {
  /** A python3 whose pip notes its arguments and puts a torch into the --target folder if `accepts` is among them. */
  function fakePip(accepts: string, version: string): void {
    const files = 'include/ATen/core/Tensor.h lib/libtorch_cpu.so lib/libc10.so lib/libtorch_cuda.so';
    command(
      'python3',
      [
        `PATH=${systemPath}`,
        'if [ "$3" = --version ]; then exit 0; fi',
        `echo "$*" >> ${home}/asked`,
        `case " $* " in *" ${accepts} "*) ;; *) echo "ERROR: No matching distribution found" >&2; exit 1 ;; esac`,
        'while [ "$1" != --target ]; do shift; done',
        `mkdir -p "$2/functorch" "$2/nvidia/lib"`,
        `for file in ${files}; do mkdir -p "$2/torch/$(dirname $file)"; : > "$2/torch/$file"; done`,
        `echo "__version__ = '${version}'" > "$2/torch/version.py"`,
      ].join('\n'),
    );
  }
  const cache = () => join(home, 'cache/palm-rlhf/libtorch');
  const asked = () => readFileSync(join(home, 'asked'), 'utf8').trim().split('\n');

  it('downloads the CPU build once, and keeps only what is needed', async () => {
    fakePip(`torch==${LIBTORCH_VERSION}+cpu`, `${LIBTORCH_VERSION}+cpu`);
    const notes: string[] = [];
    const note = (line: string) => notes.push(line);
    const path = join(cache(), `${LIBTORCH_VERSION}+cpu`, 'torch');
    expect(await installLibtorch({ cuda: false, note })).toMatchObject({
      path,
      version: LIBTORCH_VERSION,
      variant: 'cpu',
    });
    expect(await installLibtorch({ cuda: false, note })).toMatchObject({ path });
    expect(notes).toHaveLength(1);
    expect(asked()).toHaveLength(1);
    expect(asked()[0]).toContain('--no-deps');
    expect(readdirSync(cache())).toEqual([`${LIBTORCH_VERSION}+cpu`]);
    expect(readdirSync(dirname(path)).sort()).toEqual(['nvidia', 'torch']);
    expect(findLibtorch(LIBTORCH_VERSION)).toMatchObject({ path, source: 'cache' });
  });

  it("falls back to PyTorch's index and, for CUDA, to the default wheel", async () => {
    fakePip(`torch===${LIBTORCH_VERSION}`, `${LIBTORCH_VERSION}+cu130`);
    await installLibtorch({ cuda: true, note: () => undefined });
    expect(asked()).toHaveLength(3);
    expect(asked()[1]).toContain('--index-url https://download.pytorch.org/whl/cu130');
    expect(asked().join()).not.toContain('--no-deps');
    expect(findLibtorch(LIBTORCH_VERSION).variant).toBe('cu130');
  });

  it('leaves nothing behind if the release is unavailable or a different one', async () => {
    fakePip('nothing', LIBTORCH_VERSION);
    const refused = await installLibtorch({ cuda: false, note: () => undefined }).catch((error: unknown) => error);
    expect(refused).toBeInstanceOf(LibtorchError);
    expect((refused as LibtorchError).message).toContain('No matching distribution found');
    expect((refused as LibtorchError).fix).toContain('`npx palm-rlhf libtorch install`');
    fakePip(`torch==${LIBTORCH_VERSION}+cpu`, '2.12.0+cpu');
    await expect(installLibtorch({ cuda: false, note: () => undefined })).rejects.toThrow(LibtorchError);
    expect(readdirSync(cache())).toEqual([]);
  });

  it('says how to install pip if it is missing', async () => {
    const refused = await installLibtorch({ cuda: false, note: () => undefined }).catch((error: unknown) => error);
    expect(refused).toMatchObject({ name: 'LibtorchError', argument: 'pip' });
    expect((refused as LibtorchError).fix).toContain('python3-pip');
  });
});
