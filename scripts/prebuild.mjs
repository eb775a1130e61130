/**
 * Fills prebuilds/<platform>-<arch> for the tarball: the addon, under the name node-gyp-build looks for, and
 * libpalm.so, both stripped. They must be compiled against the libtorch release that `palm libtorch install` fetches.
 */
import { execFileSync } from 'node:child_process';
import { copyFileSync, readdirSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { findLibtorchToBuild, LIBTORCH_VERSION } from '../dist/internal.js';

const prebuildify = promisify(createRequire(import.meta.url)('prebuildify'));
const root = dirname(dirname(fileURLToPath(import.meta.url)));
const folder = join(root, 'prebuilds', `${process.platform}-${process.arch}`);

try {
  const { version, path } = findLibtorchToBuild();
  if (version !== LIBTORCH_VERSION) {
    throw new Error(`Prebuilds must be compiled against libtorch ${LIBTORCH_VERSION}; ${path} contains ${version}.`);
  }
  rmSync(folder, { recursive: true, force: true });
  await prebuildify({ cwd: root, napi: true, nodeGyp: join(root, 'scripts/cmake-js-shim.mjs') });
  // prebuildify moves the addon out of the build folder, where this clone loads it from: copy it back.
  copyFileSync(join(folder, 'palm-rlhf.node'), join(root, 'build/Release/palm.node'));
  rmSync(join(folder, 'libpalm-cuda.so'), { force: true }); // CUDA kernels are only built in clones, with nvcc
  // Not prebuildify's own --strip: it would strip libpalm.so in the build folder, where a process may have it loaded.
  const files = readdirSync(folder);
  execFileSync('strip', ['--strip-all', ...files], { cwd: folder });
  console.log(`prebuilds/${process.platform}-${process.arch}: ${files.join(', ')}`);
} catch (error) {
  console.error(error.message);
  process.exitCode = 1;
}
