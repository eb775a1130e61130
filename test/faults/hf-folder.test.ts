/** Hugging Face folders changed by somebody who means no good: a typed error or a good model, in little time and memory. */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { Random } from '../../src/data/random.ts';
import { PalmError } from '../../src/errors.ts';
import { LanguageModel } from '../../src/index.ts';
import { openFolder } from '../../src/models/hf-folder.ts';
import { RECORDED } from '../parity/families/case.ts';
import { device } from '../device.ts';
import { mutated } from './mutate.ts';
import { record, times } from './report.ts';

const folder = mkdtempSync(join(tmpdir(), 'palm-hostile-hf-'));
afterAll(() => rmSync(folder, { recursive: true }));

let made = 0;

/** The folder of a recorded case, with several files of weights. */
async function shards(name: string): Promise<string> {
  const path = join(folder, `${name}-${made++}`);
  using model = await LanguageModel.load(join(RECORDED, name), { device });
  await model.export(path, { shardBytes: 20_000 });
  return path;
}

/** Opens the folder; true if it is good. Anything but a typed error, or much time, is a failure. */
async function survives(what: string, path: string): Promise<boolean> {
  const before = process.cpuUsage();
  let refused: unknown;
  try {
    await using _opened = await openFolder(path);
  } catch (error) {
    refused = error;
  }
  const { user, system } = process.cpuUsage(before);
  if (refused !== undefined && !(refused instanceof PalmError)) throw new Error(what, { cause: refused });
  if (user + system > 2e6) throw new Error(`${what} took ${(user + system) / 1e6} seconds`);
  return refused === undefined;
}

describe('a folder whose files were changed at random', () => {
  const count = times(60, 25_000);

  it.each([
    ['llama', 'config.json'],
    ['llama', 'model.safetensors.index.json'],
    ['gemma3', 'config.json'],
    ['gpt-neo', 'config.json'],
    ['stablelm-parallel', 'config.json'],
  ])('%s: %s is read or refused', { timeout: times(120_000, 3_600_000) }, async (name, file) => {
    const path = await shards(name);
    const original = readFileSync(join(path, file));
    const random = new Random(11);
    let good = 0;
    for (let i = 0; i < count; i++) {
      const content = mutated(original, random);
      writeFileSync(join(path, file), content);
      if (await survives(`change ${i} of ${name}: ${content.toString('latin1')}`, path)) good++;
    }
    rmSync(path, { recursive: true });
    expect(({} as { polluted?: number }).polluted).toBeUndefined();
    expect(good).toBeGreaterThan(0);
    expect(good).toBeLessThan(count);
    record({
      promise: `a damaged Hugging Face folder is refused with a typed error in less than two seconds: ${file} of ${name}`,
      fault: 'one to four random changes to a valid file: bytes, parts, values',
      times: count,
      outcome: `${count - good} refused with typed errors, ${good} still valid, no prototype changed`,
    });
  });
});

it('sizes that no file has are refused before anything is allocated', async () => {
  const path = join(folder, 'large');
  mkdirSync(path);
  writeFileSync(join(path, 'model.safetensors'), readFileSync(join(RECORDED, 'llama', 'model.safetensors')));
  const config = JSON.parse(readFileSync(join(RECORDED, 'llama', 'config.json'), 'utf8')) as object;
  const sizes = [
    'vocab_size',
    'hidden_size',
    'intermediate_size',
    'num_hidden_layers',
    'num_attention_heads',
    'head_dim',
  ];
  const before = process.memoryUsage.rss();
  for (const key of sizes) {
    for (const size of [1e3, 4096, 2 ** 20, 2 ** 31, 1e300]) {
      writeFileSync(join(path, 'config.json'), JSON.stringify({ ...config, [key]: size }));
      await expect(LanguageModel.load(path), `${key} ${size}`).rejects.toBeInstanceOf(PalmError);
    }
  }
  expect(process.memoryUsage.rss() - before).toBeLessThan(256 * 2 ** 20);
});
