/**
 * Bundles src/ into dist/, where `tsc` has put the types: one file instead of hundreds is what makes the package start fast.
 * What several entries share goes into chunks, so that each class exists once. Packages stay outside, but for zod, of which
 * a quarter is used (NOTICE has its licence).
 */
import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const dist = join(root, 'dist');
const { dependencies, peerDependencies } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));

/** What programs import, what users run, what the package itself starts, and what scripts of a clone import. */
const ENTRIES = ['index', 'cli/main', 'tokenizer/chat/rendering-process', 'internal'];

const { metafile } = await build({
  absWorkingDir: root,
  entryPoints: ENTRIES.map((entry) => `src/${entry}.ts`),
  outbase: 'src',
  outdir: 'dist',
  chunkNames: 'chunks/[name]-[hash]',
  bundle: true,
  splitting: true,
  external: Object.keys({ ...dependencies, ...peerDependencies }).filter((name) => name !== 'zod'),
  format: 'esm',
  platform: 'node',
  target: 'node20.19',
  metafile: true,
  logLevel: 'warning',
});
const written = Object.keys(metafile.outputs).map((path) => join(root, path));
written.forEach(restoreNames);
removeOthers(new Set([...written, ...(await bundlePages())]));

/** The scripts and styles of pages: src/NAME/browser/ becomes dist/browser/NAME.js and NAME.css. Returns their paths. */
async function bundlePages() {
  const inputs = readdirSync(join(root, 'src')).flatMap((name) =>
    ['main.ts', 'main.tsx', 'style.css']
      .map((file) => ({ in: join(root, 'src', name, 'browser', file), out: name }))
      .filter(({ in: path }) => existsSync(path)),
  );
  if (inputs.length === 0) return [];
  const { metafile } = await build({
    absWorkingDir: root,
    entryPoints: inputs,
    outdir: 'dist/browser',
    bundle: true,
    format: 'esm',
    target: ['chrome109', 'firefox115', 'safari16'],
    jsx: 'automatic',
    jsxImportSource: 'hono/jsx/dom',
    metafile: true,
    logLevel: 'warning',
  });
  return Object.keys(metafile.outputs).map((path) => join(root, path));
}

/** Gives classes that mention themselves their name back: the bundler writes `var Tensor = class _Tensor`. */
function restoreNames(path) {
  let text = readFileSync(path, 'utf8');
  for (const [, name] of text.matchAll(/^var (\w+) = class _\1\b/gm)) {
    text = text.replaceAll(new RegExp(`\\b_${name}\\b`, 'g'), name);
  }
  writeFileSync(path, text);
}

/** Removes what earlier builds left in dist/: other chunks, and the types of sources that are gone. */
function removeOthers(written) {
  const files = readdirSync(dist, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
  for (const path of files.map((file) => join(file.parentPath, file.name))) {
    const source = join(root, 'src', relative(dist, path).replace(/\.d\.ts$/, '.ts'));
    const isType = path.endsWith('.d.ts') && existsSync(source);
    if (!isType && !written.has(path)) rmSync(path);
  }
}
