/**
 * Every type and option of the steps of a tokenizer.json, on texts that tokenizers go wrong with: the ids and texts of the Rust
 * library `tokenizers` 0.23 (test/fixtures/tokenizer/record.py), or a FileError. What is refused is named here.
 */
import { createHash } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, it } from 'vitest';
import { FileError } from '../../src/errors.ts';
import { loadTokenizer } from '../../src/tokenizer/load.ts';
import { decodeStream, type Tokenizer } from '../../src/tokenizer/tokenizer.ts';

interface Entry {
  name: string;
  model: [name: string, changes: object];
  /** Eight characters for each text; null where the library refuses the file, or gives other ids at every time. */
  digests: string | null;
  added_tokens?: object[];
  normalizer?: object;
  pre_tokenizer?: object;
  post_processor?: object;
  decoder?: object;
}

const recorded = new URL('../fixtures/tokenizer/options.json', import.meta.url);
const { texts, models, tokenizers } = JSON.parse(readFileSync(recorded, 'utf8')) as {
  texts: string[];
  models: Record<string, object>;
  tokenizers: Entry[];
};
const folder = mkdtempSync(join(tmpdir(), 'palm-recorded-'));
afterAll(() => rmSync(folder, { recursive: true }));

/** What is not supported, though the Rust library has it. */
const REFUSED = [
  'pre_tokenizer Split regex folded',
  'normalizer Replace regex folded',
  'pre_tokenizer Split regex any',
  'normalizer Replace regex any',
  'pre_tokenizer UnicodeScripts',
  'added_tokens numbered otherwise',
  'post_processor Template twice',
];

function write({ name, digests, model: [base, changes], ...steps }: Entry): string {
  const path = join(folder, 'tokenizer.json');
  const none = { added_tokens: [], normalizer: null, pre_tokenizer: null, post_processor: null, decoder: null };
  writeFileSync(path, JSON.stringify({ version: '1.0', ...none, ...steps, model: { ...models[base], ...changes } }));
  return path;
}

/** Ids and text of `text`, as record.py writes them down. */
function digest(tokenizer: Tokenizer, text: string): string {
  try {
    const tokens = tokenizer.encode(text);
    const content = `${tokens.join(',')}|${tokenizer.decode(tokens)}`;
    return createHash('sha256').update(content).digest('hex').slice(0, 8);
  } catch (error) {
    expect(error).toBeInstanceOf(FileError);
    return '   error';
  }
}

function streamed(tokenizer: Tokenizer, tokens: readonly number[]): string {
  const stream = decodeStream(tokenizer);
  return tokens.map((token) => stream.push(token)).join('') + stream.end();
}

const isRefused = ({ name, digests }: Entry) => digests === null || REFUSED.includes(name);
const taken = tokenizers.filter((entry) => !isRefused(entry));

it('has 325 texts', () => expect(new Set(texts).size).toBe(325));

it.each(taken)('gives the ids and texts of the Rust library: $name', async (entry) => {
  const tokenizer = await loadTokenizer(write(entry));
  const wrong = texts.filter((text, i) => {
    const right = entry.digests?.slice(8 * i, 8 * i + 8);
    return right !== '   panic' && digest(tokenizer, text) !== right;
  });
  expect(wrong).toEqual([]);
});

it.each(taken.filter(({ decoder }) => decoder))(
  'tok-decode-stream-cleanup: streams what it decodes: $name',
  async (entry) => {
    const tokenizer = await loadTokenizer(write(entry));
    const wrong = texts.filter((text) => {
      const tokens = tokenizer.encode(text);
      return streamed(tokenizer, tokens) !== tokenizer.decode(tokens);
    });
    expect(wrong).toEqual([]);
  },
);

it.each(tokenizers.filter(isRefused))('refuses $name', async (entry) => {
  await expect(loadTokenizer(write(entry))).rejects.toThrow(FileError);
});
