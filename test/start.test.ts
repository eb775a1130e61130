/** What the package reads when it starts: few files, and no library before something needs it. */
import { spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';
import { LanguageModel } from '../src/index.ts';

const root = join(import.meta.dirname, '..');
const dist = join(root, 'dist');
const index = join(dist, 'index.js');
const main = join(dist, 'cli/main.js');

interface Started {
  stdout: string;
  /** Files of dist/. */
  files: string[];
  /** Packages of node_modules/. */
  packages: string[];
  /** Files of src/ that are in these files: the bundler names each before its code. */
  sources: string[];
}

/** Runs Node and finds what it loads: coverage lists every script, whichever way it came. */
function start(...args: string[]): Started {
  const folder = mkdtempSync(join(tmpdir(), 'palm-start-'));
  const env = { ...process.env, NODE_V8_COVERAGE: folder };
  const { stdout, stderr, status } = spawnSync(process.execPath, args, { cwd: root, env, encoding: 'utf8' });
  expect(status, stderr).toBe(0);
  const reports = readdirSync(folder).map((name) => JSON.parse(readFileSync(join(folder, name), 'utf8')));
  rmSync(folder, { recursive: true });
  const urls = reports.flatMap(({ result }) => (result as { url: string }[]).map(({ url }) => url));
  const paths = urls.filter((url) => url.startsWith('file://')).map((url) => fileURLToPath(url));
  const files = paths.filter((path) => path.startsWith(dist));
  const packages = paths.flatMap((path) => /.*node_modules\/((?:@[^/]+\/)?[^/]+)/.exec(path)?.[1] ?? []);
  const sources = files.flatMap((path) => [...textOf(path).matchAll(/^\/\/ (src\/.*\.ts)$/gm)].map(([, name]) => name));
  return { stdout, files, packages: [...new Set(packages)].sort(), sources: sources as string[] };
}

const textOf = (path: string) => readFileSync(path, 'utf8');
const program = (code: string) => ['--input-type=module', '-e', `import * as api from '${index}'; ${code}`];

it('the package loads no other, and few files', () => {
  const { files, packages, sources } = start(...program(''));
  expect(packages).toEqual([]);
  expect(sources).toContain('src/trainers/ppo.ts');
  expect(files.length).toBeLessThanOrEqual(20);
});

it('the help loads no command', () => {
  const { files, packages, sources, stdout } = start(main, '--help');
  expect(stdout).toContain('generate [options] <MODEL> [PROMPT]');
  expect(packages).toEqual(['commander']);
  expect(sources.filter((name) => /^src\/(models|trainers|methods|config)\//.test(name))).toEqual([]);
  expect(files.length).toBeLessThanOrEqual(10);
});

it.each(['generate', 'chat'])('%s loads no trainer', (command) => {
  const { files, packages, sources, stdout } = start(main, command, '--help');
  expect(stdout).toContain('--temperature');
  expect(packages).toEqual(['commander']);
  expect(sources).toContain(`src/cli/${command}.ts`);
  expect(sources.filter((name) => /^src\/(trainers|methods)\//.test(name))).toEqual([]);
  expect(files.length).toBeLessThanOrEqual(20);
});

it('libraries are loaded with the first file that needs them', () => {
  expect(start(main, 'recipes', 'show', 'tiny-cpu').packages).toEqual(['commander', 'yaml']);
  const inspected = start(main, 'data', 'inspect', 'test/fixtures/parquet/pairs-zstd.parquet').packages;
  expect(inspected).toContain('hyparquet');
  expect(inspected).not.toContain('yaml');
  const opened = start(...program(`await api.loadTokenizer('test/fixtures/tokenizers/recorded/bloom')`));
  expect(opened.packages).toEqual(['@huggingface/tokenizers']);
});

it('classes have the names that they are exported by', () => {
  const names = 'Object.entries(api).map(([key, { name }]) => [key, name])';
  const named: [string, string?][] = JSON.parse(start(...program(`console.log(JSON.stringify(${names}))`)).stdout);
  expect(named).toContainEqual(['Tensor', 'Tensor']);
  expect(named.filter(([key, name = null]) => name !== null && key !== name)).toEqual([]);
});

it('the bundled zod says what its package says', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'palm-start-'));
  cpSync(join(root, 'test/parity/families/cases/llama'), folder, { recursive: true });
  const config = JSON.parse(textOf(join(folder, 'config.json')));
  writeFileSync(join(folder, 'config.json'), JSON.stringify({ ...config, hidden_size: 'x' }));
  const load = `await api.LanguageModel.load('${folder}').catch(({ message }) => console.log(message))`;
  const { stdout } = start(...program(load));
  await expect(LanguageModel.load(folder)).rejects.toThrow(stdout.trim());
  rmSync(folder, { recursive: true });
  expect(stdout).toContain('expected number, received string');
});

it('no build leaves files of an earlier one', () => {
  const written = (readdirSync(dist, { recursive: true }) as string[]).filter((name) => name.endsWith('.js'));
  const entries = ['index', 'internal', 'cli/main', 'tokenizer/chat/rendering-process'];
  const reached = new Set<string>();
  const reach = (path: string) => {
    if (reached.has(path)) return;
    reached.add(path);
    for (const [, other] of textOf(path).matchAll(/(?:from|import) ?\(?"(\.[^"]+)"/g))
      reach(join(dirname(path), other as string));
  };
  for (const name of entries) reach(join(dist, `${name}.js`));
  for (const name of readdirSync(join(root, 'src')))
    if (['main.ts', 'main.tsx'].some((main) => existsSync(join(root, 'src', name, 'browser', main))))
      reach(join(dist, 'browser', `${name}.js`));
  expect(written.map((name) => join(dist, name)).sort()).toEqual([...reached].sort());
});
