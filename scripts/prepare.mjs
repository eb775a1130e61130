/**
 * What `npm ci` does in a clone: compiles the TypeScript, finds or installs a libtorch, and compiles the native addon
 * against it. Does nothing if all that is up to date. Does nothing under `npx` either, which runs it before a command
 * and hides its output: no moment to compile for minutes, or to fail because the clone belongs to another user.
 */
import { spawnSync } from 'node:child_process';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { isBuilt, isCurrent, noting } from './fingerprint.mjs';

const root = dirname(dirname(fileURLToPath(import.meta.url)));

try {
  if (process.env.npm_command === 'exec') checkBuilt();
  else await build();
} catch (error) {
  console.error(error.message);
  process.exitCode = 1;
}

function checkBuilt() {
  if (!isBuilt('typescript')) throw new Error('This clone of palm-rlhf is not built: run `npm ci` in it.');
}

async function build() {
  if (!isCurrent('typescript')) compileTypescript();
  if (isCurrent('native')) return;
  await ensureLibtorch();
  await import('./build-native.mjs');
}

function compileTypescript() {
  console.error('Compiling TypeScript.');
  const note = noting('typescript');
  const tsc = join(dirname(createRequire(import.meta.url).resolve('typescript/package.json')), 'bin/tsc');
  for (const program of [tsc, join(root, 'scripts/bundle.mjs')]) {
    const { status } = spawnSync(process.execPath, [program], { cwd: root, stdio: 'inherit' });
    if (status !== 0) throw new Error('TypeScript could not be compiled.');
  }
  note();
}

async function ensureLibtorch() {
  const { findLibtorchToBuild, installLibtorch } = await import('../dist/internal.js');
  try {
    findLibtorchToBuild();
  } catch (error) {
    // If the user chose a libtorch that is unusable, report it; install one only if none was found.
    if (error.argument !== 'libtorch') throw error;
    await installLibtorch({ cuda: false, note: console.error });
  }
}
