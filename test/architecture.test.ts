/** Who may import whom, and other rules of the house, in both languages; docs/architecture.md gives the reasons. */
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, normalize } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { familyWords, needlessRules, withoutComments } from './family-words.ts';

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

/** Folders of src/, and files that lie beside them, with what each may import besides its own. `index.ts` sees everything. */
const SEES: Record<string, string[]> = {
  errors: [],
  seed: [],
  package: [],
  distributed: [],
  checks: ['errors'],
  files: ['errors', 'checks'],
  metrics: ['errors', 'checks', 'files'],
  hub: ['errors', 'checks', 'files'],
  import: ['errors', 'files', 'config'],
  config: ['errors', 'checks', 'files'],
  recipes: ['errors', 'package', 'config'],
  tokenizer: ['errors', 'package', 'checks', 'files'],
  data: ['errors', 'seed', 'checks', 'files', 'tokenizer'],
  native: ['errors', 'package', 'files'],
  families: ['errors', 'files', 'config', 'native'],
  tensor: ['errors', 'checks', 'files', 'native'],
  checkpoint: ['errors', 'package', 'checks', 'files', 'tensor', 'native'],
  sampling: ['errors', 'seed', 'checks', 'config', 'tensor', 'native'],
  models: ['errors', 'seed', 'checks', 'files', 'hub', 'import', 'config', 'families', 'sampling', 'tensor', 'native'],
  losses: ['errors', 'checks', 'models', 'tensor', 'native'],
  advantages: ['checks', 'models', 'tensor', 'native'],
  optim: ['errors', 'checks', 'config', 'tensor', 'native'],
  trainers: [
    ...[
      'errors',
      'checks',
      'config',
      'tokenizer',
      'metrics',
      'data',
      'tensor',
      'checkpoint',
      'models',
      'losses',
      'advantages',
      'optim',
      'distributed',
    ],
  ],
  runs: ['errors', 'files', 'hub', 'tokenizer', 'metrics', 'tensor', 'checkpoint', 'models'],
  rewards: ['errors', 'files', 'config', 'tokenizer', 'models', 'runs', 'trainers'],
  methods: [
    ...['errors', 'checks', 'config', 'tokenizer', 'metrics', 'data', 'tensor', 'checkpoint', 'models', 'optim'],
    ...['trainers', 'runs', 'rewards'],
  ],
  report: ['errors', 'files', 'metrics', 'runs'],
  training: [
    'errors',
    'package',
    'checks',
    'files',
    'config',
    'metrics',
    'tensor',
    'checkpoint',
    'models',
    'trainers',
    'runs',
    'methods',
  ],
  train: [
    ...[
      'errors',
      'checks',
      'config',
      'tokenizer',
      'metrics',
      'tensor',
      'models',
      'optim',
      'trainers',
      'runs',
      'rewards',
    ],
    ...['methods'],
  ],
  demo: ['errors', 'config', 'data', 'tokenizer', 'metrics', 'models', 'trainers', 'methods'],
  sweep: [
    ...['errors', 'package', 'seed', 'checks', 'files', 'config', 'recipes', 'metrics', 'data', 'runs'],
    ...['rewards', 'methods', 'training', 'report'],
  ],
  watch: ['errors', 'files', 'metrics', 'runs', 'report', 'sweep', 'web'],
  web: ['errors', 'package'],
  serve: [
    ...['errors', 'package', 'files', 'native', 'tokenizer', 'data', 'models', 'trainers', 'runs', 'rewards', 'web'],
  ],
  internal: ['data', 'metrics', 'native', 'families'],
  cli: [
    ...['errors', 'package', 'files', 'import', 'config', 'tokenizer', 'metrics', 'data', 'native', 'tensor'],
    ...[
      'checkpoint',
      'models',
      'trainers',
      'runs',
      'rewards',
      'methods',
      'training',
      'report',
      'demo',
      'recipes',
      'sweep',
      'watch',
      'hub',
      'serve',
      'web',
    ],
  ],
};

/** The folder of src/ that a file lies in, or its own name where it lies in src/ itself. */
function placeOf(file: string): string {
  return (file.split('/')[1] as string).replace(/\.ts$/, '');
}

/** The files of the project that a file imports. */
function imports(file: string): string[] {
  const found = text(file).matchAll(/(?:from|import)\s*\(?\s*'(\.[^']+)'/g);
  return [...found].map(([, path]) => normalize(join(dirname(file), path as string)));
}

/** Groups of nodes that reach one another, of a graph given as its edges. */
function cycles(graph: ReadonlyMap<string, readonly string[]>): string[][] {
  const reached = (from: string, seen = new Set<string>()): Set<string> => {
    for (const next of graph.get(from) ?? []) if (!seen.has(next)) reached(next, seen.add(next));
    return seen;
  };
  const all = new Map([...graph.keys()].map((node) => [node, reached(node)]));
  const circle = (node: string) =>
    [...graph.keys()].filter((other) => all.get(node)?.has(other) && all.get(other)?.has(node));
  return [...new Set([...graph.keys()].map((node) => circle(node).sort().join(' ')))]
    .filter(Boolean)
    .map((group) => group.split(' '));
}

it('detects a cycle', () => {
  const graph = { a: ['b'], b: ['c', 'd'], c: ['b'], d: [], e: ['e'] };
  expect(cycles(new Map(Object.entries(graph)))).toEqual([['b', 'c'], ['e']]);
});

describe('imports of TypeScript', () => {
  const sources = SRC.filter((file) => file !== 'src/index.ts' && !file.endsWith('.d.ts'));

  it('have a rule for every folder, and a folder for every rule', () => {
    expect([...new Set(sources.map(placeOf))].sort()).toEqual(Object.keys(SEES).sort());
  });

  it('go only to lower folders', () => {
    const wrong = sources.flatMap((file) => {
      const seen = [placeOf(file), ...(SEES[placeOf(file)] ?? [])];
      const above = imports(file).filter((other) => !seen.includes(placeOf(other)));
      return above.map((other) => `${file} imports ${other}`);
    });
    expect(wrong).toEqual([]);
  });

  it('use every permission that the rules grant', () => {
    const used = (place: string) =>
      sources
        .filter((file) => placeOf(file) === place)
        .flatMap(imports)
        .map(placeOf);
    const needless = Object.entries(SEES).flatMap(([place, sees]) =>
      sees.filter((other) => !used(place).includes(other)).map((other) => `${place} never imports ${other}`),
    );
    expect(needless).toEqual([]);
  });

  it('form no cycle of folders', () => {
    const reached = (from: string, seen = new Set<string>()): Set<string> => {
      for (const next of SEES[from] ?? []) if (!seen.has(next)) reached(next, seen.add(next));
      return seen;
    };
    expect(Object.keys(SEES).filter((place) => reached(place).has(place))).toEqual([]);
  });

  it('form no cycle of files', () => {
    expect(cycles(new Map(sources.map((file) => [file, imports(file)])))).toEqual([]);
  });

  it('never go from one method to another', () => {
    const methods = [...text('src/methods.ts').matchAll(/'\.\/methods\/([\w-]+)\.ts'/g)].map(([, name]) => name);
    expect(methods).toContain('ppo');
    const methodOf = (file: string) => {
      const name = /^src\/(?:trainers|methods)\/([\w-]+)\.ts$/.exec(file)?.[1];
      return name !== 'method' && methods.includes(name) ? name : undefined;
    };
    const wrong = sources.filter((file) => {
      const others = imports(file).map(methodOf).filter(Boolean);
      return methodOf(file) !== undefined && others.some((other) => other !== methodOf(file));
    });
    expect(wrong).toEqual([]);
  });

  it('reach a method from commands only through the method table', () => {
    const row = /^src\/methods\/(?!method\.ts)/;
    expect(
      sources.filter((file) => file.startsWith('src/cli/') && imports(file).some((other) => row.test(other))),
    ).toEqual([]);
  });

  it('take zod as a namespace, of which the bundle then holds only what is used', () => {
    expect(sources.filter((file) => /\{[^}]*\} from 'zod|from 'zod\//.test(text(file)))).toEqual([]);
  });

  it('name a .node file only in src/native/addon.ts', () => {
    const naming = sources.filter((file) => /node-gyp-build|\.node['"`]/.test(text(file)));
    expect(naming).toEqual(['src/native/addon.ts']);
  });
});

/** Folders of native/ and the others that each may include. */
const FOLDERS: Record<string, string[]> = {
  base: [],
  kernels: ['base'],
  losses: ['base', 'kernels'],
  advantages: ['base', 'kernels'],
  optim: ['base', 'kernels'],
  model: ['base', 'kernels', 'losses'],
  generation: ['base', 'kernels', 'model'],
  rlhf: ['base', 'kernels', 'losses', 'advantages', 'model', 'generation'],
  binding: ['base', 'kernels', 'losses', 'advantages', 'optim', 'model', 'generation', 'rlhf'],
};

/** The headers that a file includes, by their paths below native/. */
function includes(file: string): string[] {
  return [...text(file).matchAll(/^#include "([^"]+)"/gm)].map(([, path]) => path as string);
}

describe('includes of C++', () => {
  it('go only to lower folders', () => {
    const wrong = NATIVE.flatMap((file) => {
      const [, folder = ''] = file.split('/');
      const seen = [folder, ...(FOLDERS[folder] as string[])];
      const above = includes(file).filter((path) => !seen.includes(path.split('/')[0] as string));
      return above.map((path) => `${file}: ${path}`);
    });
    expect(wrong).toEqual([]);
  });

  it('form no cycle, counting a header and its implementation as one', () => {
    // What a .cu file implements is declared in kernels/cuda/table.h.
    const stem = (path: string) => path.replace(/\.(h|cc)$/, '');
    const graph = new Map<string, string[]>();
    for (const file of NATIVE) {
      const own = stem(file.slice('native/'.length));
      const others = includes(file)
        .map(stem)
        .filter((other) => other !== own);
      graph.set(own, [...(graph.get(own) ?? []), ...others]);
    }
    expect(cycles(graph)).toEqual([]);
  });

  it('use only the interface of native/model from outside', () => {
    const inside = /^model\/(decoder|weights|description)\.h$|^model\/fast\//;
    const seen = NATIVE.filter((file) => !file.startsWith('native/model/')).flatMap((file) =>
      includes(file)
        .filter((path) => inside.test(path))
        .map((path) => `${file}: ${path}`),
    );
    const making = ['decoder', 'description'].map((name) => `native/binding/model.cc: model/${name}.h`);
    expect(seen).toContain(making[0]);
    expect(seen.filter((line) => !making.includes(line))).toEqual([]);
  });

  it('reach the fast paths only from the decoder', () => {
    const seeing = NATIVE.filter(
      (file) => !file.startsWith('native/model/fast/') && includes(file).some((path) => path.startsWith('model/fast/')),
    );
    expect(seeing).toEqual(['native/model/decoder.cc', 'native/model/decoder.h']);
  });

  it('include napi.h only in the binding', () => {
    const wrong = NATIVE.filter((file) => /napi/.test(text(file)) && !file.startsWith('native/binding/'));
    expect(wrong).toEqual([]);
  });

  it('never include all of torch', () => {
    expect(NATIVE.filter((file) => /torch\/(torch|all|extension)\.h|ATen\/ATen\.h/.test(text(file)))).toEqual([]);
  });

  it('keep losses independent of models', () => {
    expect(
      NATIVE.filter((file) => file.startsWith('native/losses/') && /LanguageModel|PaLM\b.*\*/.test(text(file))),
    ).toEqual([]);
  });

  it('have a header for every source', () => {
    const needless = /^native\/binding\//;
    const sources = NATIVE.filter((file) => file.endsWith('.cc') && !needless.test(file));
    expect(sources.filter((file) => !NATIVE.includes(file.replace(/\.cc$/, '.h')))).toEqual([]);
  });
});

describe('file names', () => {
  it('are kebab-case', () => {
    const wrong = ALL.filter((file) => !/^[a-z0-9-]+(\.test|\.d)?\.[a-z]+$/.test(file.split('/').at(-1) as string));
    expect(wrong).toEqual([]);
  });

  it('name a thing, never utils', () => {
    expect(ALL.filter((file) => /\b(utils?|helpers?|common|misc)\b/.test(file))).toEqual([]);
  });

  it('mean the same in both languages', () => {
    // What a user constructs is one word everywhere: its C++, its TypeScript and its tests.
    for (const stem of ['language-model', 'reward-model', 'actor-critic']) {
      expect(NATIVE.filter((file) => file.endsWith(`/${stem}.cc`) && !file.includes('binding'))).toHaveLength(1);
      expect(SRC).toContain(`src/models/${stem}.ts`);
      expect(ALL).toContain(`test/${stem}.test.ts`);
    }
  });

  it('mention families only in TypeScript, as one decoder computes them all', () => {
    expect(NATIVE).toContain('native/model/decoder.cc');
    expect(ALL).toContain('test/decoder.test.ts');
    for (const stem of ['palm']) {
      expect(NATIVE.filter((file) => file.includes(stem))).toEqual([]);
      for (const folder of ['families', 'models', 'config']) expect(SRC).toContain(`src/${folder}/${stem}.ts`);
      expect(ALL).toContain(`test/${stem}.test.ts`);
    }
  });
});

describe('the name of a family', () => {
  it('appears only in its own files', () => {
    expect([...NATIVE, ...SRC].flatMap((file) => familyWords(file, text(file)))).toEqual([]);
  });

  it('has no outdated exceptions', () => {
    expect(needlessRules([...NATIVE, ...SRC].map((file) => [file, text(file)]))).toEqual([]);
  });

  it('is detected in code, not in comments', () => {
    const said = (line: string, file = 'src/models/planted.ts') => familyWords(file, line).length === 1;
    for (const line of ['f(palm)', 'new PaLM(x)', "'PALM'", 'let palmConfig;', 'a; // x\nthis.palm /* y */', 'PALMS']) {
      expect(said(line), line).toBe(true);
    }
    for (const line of ['// of PaLM', '/* palm\n palm */ a', "'palm-rlhf-pytorch'", 'new PalmError()', 'env.PALM_X']) {
      expect(said(line), line).toBe(false);
    }
    expect(said('palm::forward(palm)', 'native/model/planted.cc')).toBe(true);
    expect(said('namespace palm { palm::forward(model) }', 'native/model/planted.cc')).toBe(false);
    expect(said('palm', 'src/models/palm.ts')).toBe(false);
    expect(said("type === 'llama'")).toBe(true);
    expect(said('gpt2(config)', 'native/model/planted.cc')).toBe(true);
    expect(said("modelTypes: ['llama']", 'src/families/llama.ts')).toBe(false);
    expect(said("'coherence' // of llamas")).toBe(false);
    expect(withoutComments("a = 'x // y'; // z\n/* 1\n2 */ b")).toBe("a = 'x // y'; \n\n b");
  });
});

describe('files', () => {
  it('have at most 400 lines', () => {
    const long = [...SRC, ...NATIVE].filter((file) => text(file).split('\n').length > 401);
    expect(long).toEqual([]);
  });
});

describe('TypeScript', () => {
  it('has no default exports and no enums', () => {
    const wrong = SRC.filter((file) => !file.endsWith('.d.ts') && /^export default|\benum \w+ \{/m.test(text(file)));
    expect(wrong).toEqual([]);
  });

  it('draws no unseeded random numbers', () => {
    expect(SRC.filter((file) => /Math\.random\(/.test(text(file)))).toEqual([]);
  });
});
