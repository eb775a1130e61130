/**
 * Formats native/ and the C++ of test/cuda with clang-format from npm, so that everyone uses the same version.
 * `--check` changes nothing: it lists unformatted files and exits with 1 if there are any.
 */
import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const { getNativeBinary } = createRequire(import.meta.url)('clang-format');
const clangFormat = getNativeBinary();
const files = ['native', 'test/cuda']
  .flatMap((folder) => readdirSync(join(root, folder), { recursive: true }).map((name) => join(folder, name)))
  .filter((name) => /\.(h|cc|cu)$/.test(name))
  .sort();

if (process.argv.includes('--check')) {
  const unformatted = files.filter((file) => formatted(file) !== readFileSync(join(root, file), 'utf8'));
  for (const file of unformatted) console.error(`${file} is not formatted: run \`npm run format\`.`);
  process.exitCode = unformatted.length === 0 ? 0 : 1;
} else if (files.length > 0) {
  execFileSync(clangFormat, ['-i', ...files], { cwd: root, stdio: 'inherit' });
}

function formatted(file) {
  return execFileSync(clangFormat, [file], { cwd: root, encoding: 'utf8' });
}
