import { execFileSync, spawnSync } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { findLibtorchToBuild } from '../src/native/libtorch.ts';

const root = join(import.meta.dirname, '..');
let home: string;
let project: string;

/** A user's machine: Node, npm and the shell that npm starts; no compiler, no Python, nothing fetched or saved yet. */
function user(command: string, args: string[], libtorch?: string) {
  const env: Record<string, string> = {
    HOME: home,
    PATH: join(home, 'bin'),
    XDG_CONFIG_HOME: join(home, 'config'),
    XDG_CACHE_HOME: join(home, 'cache'),
  };
  if (libtorch !== undefined) env.PALM_LIBTORCH = libtorch;
  return spawnSync(join(home, 'bin', command), args, { cwd: project, env, encoding: 'utf8', timeout: 110_000 });
}

function onThePath(name: string): string {
  const folder = process.env.PATH?.split(delimiter).find((candidate) => existsSync(join(candidate, name)));
  if (folder === undefined) throw new Error(`${name} is not on the PATH`);
  return realpathSync(join(folder, name));
}

/** Folders of the packages that users need, as a lock file lists them: dependencies, and what these depend on. */
function packagesOf(lock: string): string[] {
  const { packages } = JSON.parse(readFileSync(join(root, lock), 'utf8')) as {
    packages: Record<string, { dev?: boolean }>;
  };
  return Object.keys(packages).filter((path) => path !== '' && !packages[path]?.dev);
}

const GENERATE = `import { PaLM } from 'palm-rlhf';
const palm = new PaLM({ numTokens: 256, dim: 32, depth: 1 });
for await (const { token } of palm.stream({ prompt: [1, 2, 3], maxNewTokens: 8 })) console.log(token);
`;

beforeAll(() => {
  home = mkdtempSync(join(tmpdir(), 'palm-packaging-'));
  project = join(home, 'project');
  mkdirSync(join(home, 'bin'));
  mkdirSync(project);
  for (const name of ['node', 'npm', 'sh']) symlinkSync(onThePath(name), join(home, 'bin', name));
  execFileSync('npm', ['run', 'prebuild'], { cwd: root, stdio: 'pipe' });
  execFileSync('npm', ['pack', '--pack-destination', home], { cwd: root, stdio: 'pipe' });
  writeFileSync(join(project, 'package.json'), '{ "private": true, "type": "module" }\n');
  writeFileSync(join(project, 'generate.js'), GENERATE);
}, 600_000);

afterAll(() => rmSync(home, { recursive: true, force: true }));

describe('the packed tarball', () => {
  it('installs into an empty project without scripts, compiler or network', () => {
    const tarball = readdirSync(home).find((name) => name.endsWith('.tgz')) as string;
    // The registry's part, the packages it depends on, is played by this clone's node_modules.
    const depended = packagesOf('package-lock.json').map((path) => join(root, path));
    const options = ['--ignore-scripts', '--offline', '--install-links', '--no-audit', '--no-fund'];
    const { status, stderr } = user('npm', ['install', ...options, join(home, tarball), ...depended]);
    expect(stderr).not.toContain('npm error');
    expect(status).toBe(0);
    const installed = join(project, 'node_modules/palm-rlhf');
    expect(readdirSync(installed).sort()).toEqual([
      'LICENSE',
      'NOTICE',
      'README.md',
      'dist',
      'docs',
      'examples',
      'package.json',
      'prebuilds',
      'src',
    ]);
    expect(readdirSync(join(installed, 'src'))).toEqual(['demo', 'recipes']);
    const { stdout } = user('node', ['node_modules/.bin/palm-rlhf', 'recipes', 'list']);
    expect(stdout).toMatch(/^dapo +GRPO as in DAPO/);
    expect(readdirSync(join(installed, 'src/recipes'))).toContain('recipe.schema.json');
    expect(readdirSync(join(installed, 'prebuilds', `${process.platform}-${process.arch}`))).toEqual([
      'libpalm.so',
      'palm-rlhf.node',
    ]);
  });

  it('generates tokens once libtorch is found', () => {
    const { stdout, stderr, status } = user('node', ['generate.js'], findLibtorchToBuild().path);
    expect(stderr).toBe('');
    expect(status).toBe(0);
    const tokens = stdout.trim().split('\n').map(Number);
    expect(tokens).toHaveLength(8);
    for (const token of tokens) expect(token).toBeLessThan(256);
  });

  it('names the command that installs libtorch if there is none', () => {
    const { stderr, status } = user('node', ['generate.js']);
    expect(status).not.toBe(0);
    expect(stderr).toContain('LibtorchError');
    expect(stderr).toContain('`npx palm-rlhf libtorch install`');
  });

  it.each(['palm', 'palm-rlhf'])('has a command %s that names it too', (name) => {
    const { stdout, status } = user('node', [`node_modules/.bin/${name}`, 'doctor']);
    expect(stdout).toContain('`npx palm-rlhf libtorch install`');
    expect(status).toBe(1);
  });
});
