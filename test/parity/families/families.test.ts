/**
 * Every family computes what transformers computes, and its files go back as they came. Runs any folder of such cases:
 * PALM_FAMILIES_DIR=DIR npx vitest run test/parity/families
 */
import { cpSync, existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { AdamW, LanguageModel, type Parameter, type Tensor } from '../../../src/index.ts';
import { distance } from '../numbers.ts';
import { device } from '../../device.ts';
import { openFolder } from '../../../src/models/hf-folder.ts';
import { bytesIn, caseNames, FamilyCase, logitsOf, placesOf, type Stored, storedNumbersOf } from './case.ts';

const folder = mkdtempSync(join(tmpdir(), 'palm-families-'));
afterAll(() => rmSync(folder, { recursive: true }));

function deviation(values: Float64Array): number {
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
  return Math.sqrt(values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / values.length);
}

function norm(values: Iterable<number>): number {
  let sum = 0;
  for (const value of values) sum += value * value;
  return Math.sqrt(sum);
}

function difference(a: Float64Array, b: Float64Array): Float64Array {
  return a.map((value, i) => value - (b[i] as number));
}

/** Log-probability of every token after the first, from the logits before it. */
function logProbs(logits: Float64Array, text: number[], vocabulary: number): number[] {
  return text.slice(1).map((token, t) => {
    const row = logits.subarray(t * vocabulary, (t + 1) * vocabulary);
    const most = Math.max(...row);
    return (row[token] as number) - most - Math.log(row.reduce((sum, logit) => sum + Math.exp(logit - most), 0));
  });
}

async function gradientsOf(
  model: LanguageModel,
  text: number[],
): Promise<{ loss: number; grads: Map<string, Float64Array> }> {
  using loss = await model.loss([text]);
  await loss.backward();
  const values = model.parameters().map((parameter) => {
    return { name: parameter.name, value: async () => (await parameter.grad()) as Tensor };
  });
  return { loss: await loss.item(), grads: await storedNumbersOf(model, values) };
}

describe.each(caseNames())('%s', (name) => {
  const recorded = new FamilyCase(name);
  const tolerance = (row: number) => 1e-5 * Math.max(1, deviation(recorded.logits(row)));
  const [first = []] = recorded.texts;
  let model: LanguageModel;
  beforeAll(async () => {
    model = await recorded.load();
  });
  afterAll(() => model.dispose());

  it('computes the logits of transformers, padded and alone', async () => {
    const padded = await logitsOf(model, recorded.ids);
    const width = (recorded.ids[0] as number[]).length * recorded.vocabulary;
    for (const [i, text] of recorded.texts.entries()) {
      const want = recorded.logits(i);
      expect(distance(padded.subarray(i * width, i * width + want.length), want)).toBeLessThan(tolerance(i));
      expect(distance(await logitsOf(model, [text]), want)).toBeLessThan(tolerance(i));
    }
  });

  it('has the loss and the gradients of transformers', async () => {
    const { loss, grads } = await gradientsOf(model, first);
    expect(Math.abs(loss - (recorded.get('loss').data[0] as number))).toBeLessThan(1e-5);
    const wanted = recorded.gradients;
    const all = norm([...wanted.values()].map(norm));
    const off = [...wanted].map(([tensor, want]) => {
      const got = grads.get(tensor) ?? new Float64Array();
      const gap = recorded.withoutPadding(tensor, difference(want, got), placesOf(model));
      return [tensor, norm(gap) / Math.max(norm(want), 1e-3 * all)] as const;
    });
    expect(off.filter(([, share]) => !(share <= 1e-4))).toEqual([]);
  });

  it('reads from its cache what it reads without', async () => {
    const prompts = recorded.texts.map((text) => text.slice(0, Math.ceil(text.length / 3)));
    const maxNewTokens = Math.max(1, recorded.longest - Math.max(...prompts.map((prompt) => prompt.length)));
    using drawn = await model.generate({ prompts, maxNewTokens, temperature: 1, seed: 3 });
    const [tokens, drawnProbs] = [await drawn.sequences.data(), await drawn.logProbs.data()];
    const width = tokens.length / prompts.length;
    for (const [i, prompt] of prompts.entries()) {
      const length = prompt.length + maxNewTokens;
      const text = Array.from(tokens.slice(i * width, i * width + length), Number);
      const read = logProbs(await logitsOf(model, [text]), text, recorded.vocabulary).slice(prompt.length - 1);
      const cached = Array.from(drawnProbs.slice(i * width + prompt.length, i * width + length), Number);
      expect(distance(cached, read)).toBeLessThan(2e-5);
    }
  });

  it.runIf(recorded.has('greedy.ids'))('continues as transformers does', async () => {
    const lengths = [...recorded.get('greedy.prompt_length').data];
    const prompts = recorded.ids.map((row, i) => row.slice(0, lengths[i]));
    const count = recorded.get('greedy.ids').shape[1] as number;
    using drawn = await model.generate({ prompts, maxNewTokens: count, temperature: 0 });
    const tokens = Array.from(await drawn.sequences.data(), Number);
    const width = tokens.length / prompts.length;
    const got = lengths.flatMap((length, i) => tokens.slice(i * width + length, i * width + length + count));
    expect(got).toEqual([...recorded.get('greedy.ids').data]);
  });

  it.runIf(recorded.has('bf16_error'))('is as near in bfloat16 as transformers is', async () => {
    using narrow = await recorded.load('bfloat16');
    const errors: number[] = [];
    for (const [i, text] of recorded.texts.entries()) {
      errors.push(...difference(await logitsOf(narrow, [text]), recorded.logits(i)).map(Math.abs));
    }
    const mean = errors.reduce((sum, error) => sum + error, 0) / errors.length;
    expect(mean).toBeLessThan(1.2 * (recorded.get('bf16_error').data[0] as number));
  });

  it('goes back as it came once its folder is gone, but for what was trained', async () => {
    const [copied, written, trained] = ['in', 'out', 'trained'].map((what) => join(folder, `${name}-${what}`)) as Three;
    cpSync(recorded.path, copied, { recursive: true });
    using stored = await recorded.load('stored', copied);
    rmSync(copied, { recursive: true });
    const places = placesOf(stored);
    const before = new Map(
      [...(await bytesIn(recorded.path))].filter(([one]) => places.some((place) => place.name === one)),
    );

    await stored.export(written);
    expect(await changed(before, written)).toEqual([]);
    const logits = await logitsOf(stored, [first]);
    using again = await recorded.load('stored', written);
    expect(await logitsOf(again, [first])).toEqual(logits);

    const parameter = stored.parameters().find((one) => one.name === 'layers.0.output') as Parameter;
    using optimizer = new AdamW([parameter], { lr: 0.1 });
    using loss = await stored.loss([first]);
    await loss.backward();
    await optimizer.step();
    await stored.export(trained);
    const holding = places.filter(({ parts }) => parts.some((part) => part.parameter === parameter.name));
    expect(await changed(before, trained)).toEqual(holding.map((place) => place.name).sort());
  });

  it('is kept in our own file, and copied', async () => {
    const path = join(folder, `${name}.safetensors`);
    using copy = model.clone();
    copy.addScope('tune', { rank: 2 });
    await copy.save(path);
    using again = await LanguageModel.load(path, { device });
    const want = await logitsOf(model, [first]);
    for (const other of [copy, again]) {
      expect(other.scopes).toEqual(['tune']);
      expect(await logitsOf(other, [first])).toEqual(want);
    }
  });

  const spellings = ['config.v4.json', 'config.minimal.json'].filter((file) => existsSync(join(recorded.path, file)));
  it.each(spellings)('is described by %s alike', async (file) => {
    const other = join(folder, `${name}-${file}`);
    cpSync(recorded.path, other, { recursive: true });
    cpSync(join(other, file), join(other, 'config.json'));
    await using opened = await openFolder(other, { dtype: 'float32', device, longest: recorded.longest });
    expect(opened.family.describe(opened.config)).toEqual(model.decoder);
  });
});

type Three = [string, string, string];

/** Names of tensors that differ in any way from what they were, or are only on one side. */
async function changed(before: Stored, folder: string): Promise<string[]> {
  const after = await bytesIn(folder);
  const same = (name: string) => {
    const [was, is] = [before.get(name), after.get(name)];
    return was !== undefined && is !== undefined && was.about === is.about && was.bytes.equals(is.bytes);
  };
  return [...new Set([...before.keys(), ...after.keys()])].filter((name) => !same(name)).sort();
}
