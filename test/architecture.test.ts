/** Who may import whom, and other rules of the house, in both languages; docs/architecture.md gives the reasons. */
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, normalize } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';

const root = fileURLToPath(new URL('..', import.meta.url));

/** Files below a folder of the project, as paths from its top. */
function filesBelow(folder: string, pattern: RegExp): string[] {
  const found = readdirSync(join(root, folder), { recursive: true, withFileTypes: true });
  const files = found.filter((entry) => entry.isFile() && pattern.test(entry.name));
  return files.map((entry) => join(entry.parentPath, entry.name).slice(root.length)).sort();
}

function text(file: string): string {
  return readFileSync(join(root, file), 'utf8');
}

const NATIVE = filesBelow('native', /\.(h|cc|cu)$/);
const SRC = filesBelow('src', /\.ts$/);
const ALL = [...NATIVE, ...SRC, ...filesBelow('test', /\.ts$/)];

const FILES = ['errors', 'small'];
/** Groups of TypeScript files, lowest first, and the groups that each may import besides itself. */
const LAYERS: [name: string, files: RegExp, sees: string[]][] = [
  ['errors', /^src\/(errors|file-error)\.ts$/, []],
  ['small', /^src\/(options|kinds|seed|version|json|whole-file|folder)\.ts$/, ['errors']],
  ['libtorch', /^src\/libtorch\.ts$/, ['errors', 'small']],
  ['native', /^src\/native\.ts$/, ['errors', 'libtorch']],
  ['config', /^src\/config\//, ['errors', 'small']],
  ['plan', /^src\/memory-plan\.ts$/, ['errors', 'small', 'config']],
  ['tokenizer', /^src\/tokenizer\//, ['errors', 'small']],
  ['metrics', /^src\/metrics\//, ['errors']],
  [
    'format',
    /^src\/checkpoint\/(safetensors|safetensors-header|python-names|open-file|manifest|aside|lock|spikes)\.ts$/,
    FILES,
  ],
  [
    'torch format',
    /^src\/checkpoint\/(zip|pickle|torch-file|state-dict|python-layouts|floats|convert)\.ts$/,
    [...FILES, 'format'],
  ],
  ['tensor', /^src\/(resource|upload|tensor|inputs)\.ts$/, ['errors', 'small', 'native']],
  ['data', /^src\/data\//, ['errors', 'small', 'config', 'tokenizer', 'tensor']],
  [
    'checkpoint',
    /^src\/checkpoint\/(tensor-files|parts|staging|checkpoint|checkpoints)\.ts$/,
    ['errors', 'small', 'native', 'format', 'tensor'],
  ],
  [
    'models',
    /^src\/(palm|palm-file|reward-model|actor-critic|losses|sampling|optim|distributed)\.ts$/,
    ['errors', 'small', 'native', 'config', 'format', 'tensor', 'checkpoint'],
  ],
  [
    'trainers',
    /^src\/trainers\//,
    ['errors', 'small', 'config', 'tokenizer', 'metrics', 'format', 'tensor', 'data', 'checkpoint', 'models'],
  ],
  [
    'cli',
    /^src\/cli\//,
    [
      ...['errors', 'small', 'libtorch', 'native', 'config', 'tokenizer', 'metrics', 'format', 'tensor', 'data'],
      ...['torch format', 'checkpoint', 'models', 'trainers', 'plan'],
    ],
  ],
];

function layerOf(file: string): string | undefined {
  return LAYERS.find(([, files]) => files.test(file))?.[0];
}

/** The files of the project that a file imports. */
function imports(file: string): string[] {
  const found = text(file).matchAll(/(?:from|import)\s*\(?\s*'(\.[^']+)'/g);
  return [...found].map(([, path]) => normalize(join(dirname(file), path as string)));
}

describe('imports of TypeScript', () => {
  const sources = SRC.filter((file) => file !== 'src/index.ts' && !file.endsWith('.d.ts'));

  it('every file has a place', () => {
    expect(sources.filter((file) => layerOf(file) === undefined)).toEqual([]);
  });

  it('go downwards', () => {
    const wrong = sources.flatMap((file) => {
      const [name = '', , sees = []] = LAYERS.find(([, files]) => files.test(file)) ?? [];
      const above = imports(file).filter((other) => ![name, ...sees].includes(layerOf(other) ?? 'index'));
      return above.map((other) => `${file} imports ${other}`);
    });
    expect(wrong).toEqual([]);
  });

  it('never go from one algorithm to another', () => {
    const algorithm = /^src\/trainers\/(pretrain|sft|reward|ppo|dpo|grpo)\.ts$/;
    const wrong = sources.filter(
      (file) => algorithm.test(file) && imports(file).some((other) => algorithm.test(other)),
    );
    expect(wrong).toEqual([]);
  });

  it('name a .node file in native.ts alone', () => {
    const naming = sources.filter((file) => /node-gyp-build|\.node['"`]/.test(text(file)));
    expect(naming).toEqual(['src/native.ts']);
  });
});

/** Folders of native/ and the others that each may include. */
const FOLDERS: Record<string, string[]> = {
  base: [],
  kernels: ['base'],
  losses: ['base', 'kernels'],
  optim: ['base', 'kernels'],
  distributed: ['base', 'kernels'],
  sampling: ['base', 'kernels'],
  model: ['base', 'kernels', 'losses', 'sampling'],
  rlhf: ['base', 'kernels', 'losses', 'sampling', 'model'],
  binding: ['base', 'kernels', 'losses', 'optim', 'distributed', 'sampling', 'model', 'rlhf'],
};

describe('includes of C++', () => {
  it('go downwards', () => {
    const wrong = NATIVE.flatMap((file) => {
      const [, folder = ''] = file.split('/');
      const seen = [folder, ...(FOLDERS[folder] as string[])];
      const included = [...text(file).matchAll(/^#include "([^"]+)"/gm)].map(([, path]) => path as string);
      return included.filter((path) => !seen.includes(path.split('/')[0] as string)).map((path) => `${file}: ${path}`);
    });
    expect(wrong).toEqual([]);
  });

  it('sampling is seen by decoding and what includes that, not by the rest of the model', () => {
    const direct = NATIVE.filter((file) => file.startsWith('native/model/') && /"sampling\//.test(text(file)));
    expect(direct.filter((file) => !file.includes('/decode.'))).toEqual([]);
  });

  it('of napi.h are in the binding alone', () => {
    const wrong = NATIVE.filter((file) => /napi/.test(text(file)) && !file.startsWith('native/binding/'));
    expect(wrong).toEqual([]);
  });

  it('never pull in all of torch', () => {
    expect(NATIVE.filter((file) => /torch\/(torch|all|extension)\.h|ATen\/ATen\.h/.test(text(file)))).toEqual([]);
  });

  it('a loss never sees a model', () => {
    expect(
      NATIVE.filter((file) => file.startsWith('native/losses/') && /LanguageModel|PaLM\b.*\*/.test(text(file))),
    ).toEqual([]);
  });

  it('every source has its header', () => {
    const needless = /^native\/binding\//;
    const sources = NATIVE.filter((file) => file.endsWith('.cc') && !needless.test(file));
    expect(sources.filter((file) => !NATIVE.includes(file.replace(/\.cc$/, '.h')))).toEqual([]);
  });
});

describe('names', () => {
  it('are kebab-case', () => {
    const wrong = ALL.filter((file) => !/^[a-z0-9-]+(\.test|\.d)?\.[a-z]+$/.test(file.split('/').at(-1) as string));
    expect(wrong).toEqual([]);
  });

  it('are of things, never utils', () => {
    expect(ALL.filter((file) => /\b(utils?|helpers?|common|misc)\b/.test(file))).toEqual([]);
  });

  it('mean the same in both languages', () => {
    // What a user constructs is one word everywhere: its C++, its TypeScript and its tests.
    for (const stem of ['palm', 'reward-model', 'actor-critic']) {
      expect(NATIVE.filter((file) => file.endsWith(`/${stem}.cc`) && !file.includes('binding'))).toHaveLength(1);
      expect(SRC).toContain(`src/${stem}.ts`);
      expect(ALL).toContain(`test/${stem}.test.ts`);
    }
  });
});

describe('TypeScript', () => {
  it('has no default exports and no enums', () => {
    const wrong = SRC.filter((file) => !file.endsWith('.d.ts') && /^export default|\benum \w+ \{/m.test(text(file)));
    expect(wrong).toEqual([]);
  });

  it('does not draw random numbers that nobody seeded', () => {
    expect(SRC.filter((file) => /Math\.random\(/.test(text(file)))).toEqual([]);
  });
});
