/** Whether what was built here is of the sources that are here now: by their contents, as a copied clone has new times. */
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = dirname(dirname(fileURLToPath(import.meta.url)));

/** The file to start with, what it is made of, and where the fingerprint of that is kept. */
const BUILT = {
  typescript: { file: 'dist/cli/main.js', sources: ['src', 'tsconfig.json'], kept: 'build/typescript.sha256' },
  native: { file: 'build/Release/palm.node', sources: ['native', 'CMakeLists.txt'], kept: 'build/native.sha256' },
};

/** Whether `what`, `typescript` or `native`, was ever built. */
export function isBuilt(what) {
  return existsSync(join(root, BUILT[what].file));
}

/** Whether `what` need not be built. */
export function isCurrent(what) {
  const kept = join(root, BUILT[what].kept);
  return isBuilt(what) && existsSync(kept) && readFileSync(kept, 'utf8') === fingerprint(what);
}

/** To be called before `what` is built; what it gives, after that: it notes that the sources of before were built. */
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
