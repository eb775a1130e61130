/**
 * Builds build/Release/{palm.node, libpalm.so}: finds libtorch, configures if there is no build folder or it was
 * configured for another libtorch, then compiles what changed. Prints only warnings and errors.
 */
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { availableParallelism } from 'node:os';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { isCurrent, noting } from './fingerprint.mjs';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const require = createRequire(import.meta.url);
const PROGRESS =
  /^\[ *\d+(\/\d+|%)\]|^-- |^ninja: |^(gmake|make)(\[\d+\])?: |^(Consolidate|Scanning) |^\/\S*(c\+\+|g\+\+|clang\+\+)\S* -D|^Not searching for unused|^ERROR OMG|^\s*$/;

function requireTools() {
  if (!existsSync(join(root, 'dist/internal.js'))) throw new Error('dist/ is missing: run `npm run build:js` first.');
  const missing = [
    runs('cmake') || 'cmake',
    runs('c++') || runs('g++') || runs('clang++') || 'g++',
    runs('ninja') || runs('make') || 'ninja-build',
  ].filter((tool) => tool !== true);
  if (missing.length === 0) return;
  throw new Error(
    `Cannot compile the native addon: this machine lacks ${missing.join(', ')}.\n` +
      `Install what is missing (Debian, Ubuntu: apt-get install ${missing.join(' ')}), then run \`npm run build:native\`.`,
  );
}

function runs(tool) {
  return spawnSync(tool, ['--version'], { stdio: 'ignore' }).status === 0;
}

/** The libtorch the build folder was configured for; undefined if there is none, or for another source folder. */
function configuredFor() {
  const file = join(root, 'build/CMakeCache.txt');
  if (!existsSync(file)) return undefined;
  const cache = readFileSync(file, 'utf8');
  const value = (name) => cache.match(new RegExp(`^${name}:\\w+=(.*)$`, 'm'))?.[1];
  return value('CMAKE_HOME_DIRECTORY') === root && existsSync(value('CMAKE_COMMAND') ?? '')
    ? value('LIBTORCH')
    : undefined;
}

/** Runs cmake-js and shows its output without the progress lines. */
function cmakeJs(command, option) {
  const script = join(dirname(require.resolve('cmake-js/package.json')), 'bin/cmake-js');
  const child = spawn(process.execPath, [script, command, '--log-level', 'error', '--config', 'Release', option], {
    cwd: root,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  for (const stream of [child.stdout, child.stderr]) {
    createInterface({ input: stream }).on('line', (line) => {
      if (!isProgress(line)) console.error(line);
    });
  }
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code) =>
      code === 0 ? resolve() : reject(new Error(`The native build failed (cmake-js ${command}).`)),
    );
  });
}

function isProgress(line) {
  return PROGRESS.test(line);
}

try {
  requireTools();
  const { findLibtorchToBuild } = await import('../dist/internal.js');
  const libtorch = findLibtorchToBuild();
  if (configuredFor() !== libtorch.path) {
    console.error(
      `Compiling the native addon against libtorch ${libtorch.version}+${libtorch.variant} (takes minutes, only once).`,
    );
    await cmakeJs('reconfigure', `--CDLIBTORCH=${libtorch.path}`);
  }
  const note = noting('native');
  if (!isCurrent('native')) console.error('Compiling the changed parts of the native addon.');
  await cmakeJs('build', `--parallel=${availableParallelism()}`);
  note();
} catch (error) {
  console.error(error.message);
  process.exitCode = 1;
}
