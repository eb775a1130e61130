/** Whether a build is up to date, judged by file contents: in a copied clone all modification times are new. */
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = dirname(dirname(fileURLToPath(import.meta.url)));

/** For each build: its main file, its sources, and the file that stores their fingerprint. */
const BUILT = {
  typescript: {
    file: 'dist/cli/main.js',
    sources: ['src', 'tsconfig.json', 'package-lock.json', 'scripts/bundle.mjs'],
    kept: 'build/typescript.sha256',
  },
  native: { file: 'build/Release/palm.node', sources: ['native', 'CMakeLists.txt'], kept: 'build/native.sha256' },
};

/** Whether `what` (`typescript` or `native`) was ever built. */
export function isBuilt(what) {
  return existsSync(join(root, BUILT[what].file));
}

/** Whether `what` is built and up to date. */
export function isCurrent(what) {
  const kept = join(root, BUILT[what].kept);
  return isBuilt(what) && existsSync(kept) && readFileSync(kept, 'utf8') === fingerprint(what);
}

/** Takes the fingerprint of the sources of `what` before a build; call the result after the build to record it. */
export function noting(what) {
  const before = fingerprint(what);
  return () => {
    mkdirSync(join(root, 'build'), { recursive: true });
    writeFileSync(join(root, BUILT[what].kept), before);
  };
}

function fingerprint(what) {
  const hash = createHash('sha256');
  for (const path of BUILT[what].sources.flatMap(filesIn)) {
    hash.update(`${path}\0`).update(readFileSync(join(root, path)));
  }
  return hash.digest('hex');
}

function filesIn(path) {
  if (!statSync(join(root, path)).isDirectory()) return [path];
  const names = readdirSync(join(root, path)).sort();
  return names.flatMap((name) => filesIn(join(path, name)));
}
