/** Models and tokenizers that belong together, however their files are called and wherever they lie. */
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { exportCommand } from '../src/cli/export.ts';
import { generateCommand } from '../src/cli/generate.ts';
import { inspectCommand } from '../src/cli/inspect.ts';
import { findModel, tokenizerOf } from '../src/runs/model-file.ts';
import { trainingCommand } from '../src/cli/train.ts';
import { saveTensors } from '../src/tensor/tensor-files.ts';
import { PaLM } from '../src/models/palm.ts';
import { TOKENIZER_KEY } from '../src/models/model-file.ts';
import { RewardModel } from '../src/models/reward-model.ts';
import { loadTokenizer } from '../src/tokenizer/load.ts';
import { capturePrinted, palm, printed } from './command-line.ts';
import { device } from './device.ts';

const folder = mkdtempSync(join(tmpdir(), 'palm-model-file-'));
afterAll(() => rmSync(folder, { recursive: true }));
capturePrinted();

const at = (...names: string[]) => join(folder, ...names);
const fixture = readFileSync('test/fixtures/tokenizer/byte-level/tokenizer.json', 'utf8');

/** Another tokenizer of as many tokens: two of them have each other's ids. */
function swapped(): string {
  const json = JSON.parse(fixture) as { model: { vocab: Record<string, number> } };
  const { vocab } = json.model;
  [vocab.a, vocab.b] = [vocab.b as number, vocab.a as number];
  return JSON.stringify(json);
}

function writeTokenizer(name: string, text = fixture): string {
  mkdirSync(at(name), { recursive: true });
  writeFileSync(at(name, 'tokenizer.json'), text);
  return at(name, 'tokenizer.json');
}

const SIZES = { dim: 16, depth: 1, heads: 2, dimHead: 8, ffMult: 2, device };
const pairs = at('pairs.jsonl');
const text = at('text.txt');
writeFileSync(text, 'Tiger, tiger, burning bright\nin the forests of the night,\n'.repeat(20));
writeFileSync(
  pairs,
  Array.from({ length: 20 }, (_, i) =>
    JSON.stringify({ prompt: `${i}?`, chosen: ` yes${'!'.repeat(i % 3)}`, rejected: ' no' }),
  ).join('\n'),
);

const pretrain = (out: string, ...args: string[]) => {
  const model = '--model.dim 16 --model.depth 1 --model.heads 2 --model.dimHead 8 --model.ffMult 2'.split(' ');
  const run = ['--steps', '2', '--sequenceLength', '16', '--batchSize', '2', '--device', device];
  return palm(trainingCommand('pretrain'), '--data', text, '--out', at(out), ...model, ...run, ...args);
};
const reward = (model: string, out: string, ...args: string[]) =>
  palm(
    trainingCommand('reward'),
    '--model',
    model,
    '--data',
    pairs,
    '--out',
    at(out),
    '--epochs',
    '1',
    '--device',
    device,
    ...args,
  );
const ppo = (model: string, judge: string, out: string, ...args: string[]) => {
  const run = '--steps 1 --rolloutBatch 4 --minibatchSize 4 --epochs 1 --sampling.maxNewTokens 4'.split(' ');
  const models = ['--model', model, '--reward', judge, '--data', pairs, '--out', at(out)];
  return palm(trainingCommand('ppo'), ...models, ...run, '--device', device, ...args);
};
const generate = async (model: string, ...args: string[]) => {
  printed.stdout = '';
  await palm(generateCommand(), model, '--maxNewTokens', '5', '--seed', '1', '--device', device, ...args);
  return printed.stdout;
};
const refused = (code: string, argument?: string) =>
  expect.objectContaining({ code, ...(argument && { argument: expect.stringContaining(argument) }) });

describe('a tokenizer is recognised by its content (tokenizer-by-path)', () => {
  let original: string;

  it('when the run, which keeps its own copy, is moved', async () => {
    await pretrain('base', '--tokenizer', writeTokenizer('a'));
    await reward(at('base'), 'judge');
    original = await generate(at('base'), '--prompt', 'bab');
    expect(original).toMatch(/^bab/);
    renameSync(at('a'), at('gone'));
    await ppo(at('base'), at('judge'), 'policy');
    cpSync(at('base'), at('moved'), { recursive: true });
    expect(await generate(at('moved'), '--prompt', 'bab')).toBe(original);
    rmSync(at('moved', 'model.safetensors'));
    expect(await generate(at('moved'), '--prompt', 'bab')).toBe(original);
    expect(await generate(at('moved', 'checkpoints', 'step-000002'), '--prompt', 'bab')).toBe(original);
  });

  it('when a copy is named by its file or its folder', async () => {
    writeTokenizer('copy');
    await reward(at('base'), 'judge-2', '--tokenizer', at('copy', 'tokenizer.json'));
    await ppo(at('base'), at('judge-2'), 'policy-2', '--tokenizer', at('copy'));
  });

  it('and refused when another one has the old path', async () => {
    const path = writeTokenizer('a', swapped());
    expect(await generate(at('base'), '--prompt', 'bab')).toBe(original);
    await expect(generate(at('base'), '--tokenizer', path)).rejects.toEqual(refused('ERR_ARGUMENT', '--tokenizer'));
    await expect(reward(at('base'), 'no', '--tokenizer', path)).rejects.toEqual(refused('ERR_ARGUMENT', '--tokenizer'));
    await expect(ppo(at('base'), at('judge'), 'no', '--tokenizer', path)).rejects.toEqual(refused('ERR_ARGUMENT'));
    writeFileSync(at('base', 'tokenizer.json'), swapped());
    await expect(generate(at('base'))).rejects.toEqual(refused('ERR_FILE', at('base', 'tokenizer.json')));
    writeFileSync(at('base', 'tokenizer.json'), fixture);
    expect(existsSync(at('no'))).toBe(false);
  });

  it('and refused when bytes and a file are mixed', async () => {
    await expect(reward(at('base'), 'no', '--tokenizer', 'byte')).rejects.toEqual(refused('ERR_ARGUMENT'));
    await pretrain('bytes');
    await expect(generate(at('bytes'), '--tokenizer', at('gone'))).rejects.toEqual(refused('ERR_ARGUMENT'));
    await reward(at('bytes'), 'byte-judge');
    await expect(ppo(at('base'), at('byte-judge'), 'no')).rejects.toEqual(refused('ERR_ARGUMENT'));
  });

  it('in an export, which copies its files or records their path', async () => {
    mkdirSync(at('out'));
    await palm(exportCommand(), at('base'), '--out', at('out', 'model.safetensors'));
    expect(existsSync(at('out', 'tokenizer.json'))).toBe(true);
    cpSync(at('out'), at('elsewhere'), { recursive: true });
    expect(await generate(at('elsewhere', 'model.safetensors'), '--prompt', 'bab')).toBe(original);
    writeTokenizer('taken', swapped());
    await palm(exportCommand(), at('base'), '--out', at('taken', 'model.safetensors'), '--names', 'python');
    expect(await generate(at('taken', 'model.safetensors'), '--prompt', 'bab')).toBe(original);
    expect(readFileSync(at('taken', 'tokenizer.json'), 'utf8')).toBe(swapped());
  });
});

describe('a file of 0.1.0, which records a path without a hash,', () => {
  async function old(name: string, path: string): Promise<string> {
    using model = new PaLM({
      ...SIZES,
      numTokens: (await loadTokenizer('test/fixtures/tokenizer/byte-level')).vocabSize,
    });
    const { tensors, metadata } = model.contents();
    const note = JSON.stringify({ type: 'hugging-face', path });
    await saveTensors(at(name), { tensors, metadata: new Map([...metadata, [TOKENIZER_KEY, note]]) });
    return at(name);
  }

  it('is compared by content while the path exists, and accepts any tokenizer otherwise', async () => {
    const path = writeTokenizer('old');
    const file = await findModel(await old('old.safetensors', path));
    expect((await tokenizerOf(undefined, file)).encode('bab')).toEqual((await loadTokenizer(path)).encode('bab'));
    expect((await tokenizerOf(writeTokenizer('same'), file)).hash).toBe((await loadTokenizer(path)).hash);
    await expect(tokenizerOf(writeTokenizer('other', swapped()), file)).rejects.toEqual(refused('ERR_ARGUMENT'));
    rmSync(at('old'), { recursive: true });
    await expect(tokenizerOf(undefined, file)).rejects.toEqual(refused('ERR_FILE', path));
    expect((await tokenizerOf(at('same'), file)).hash).toBe((await loadTokenizer(at('same'))).hash);
    await expect(tokenizerOf('byte', file)).rejects.toEqual(refused('ERR_ARGUMENT'));
  });
});

describe('a model that records no tokenizer', () => {
  async function save(name: string, numTokens: number, noted = false): Promise<string> {
    using model = new PaLM({ ...SIZES, numTokens });
    await model.save(at(name), noted ? { tokenizer: await loadTokenizer('byte') } : {});
    return at(name);
  }

  it('is trained by palm ppo with --tokenizer or the tokenizer of the reward model (ppo-policy-without-note)', async () => {
    const policy = await save('policy.safetensors', 258);
    await reward(policy, 'unnoted-judge', '--tokenizer', 'byte');
    await ppo(policy, at('unnoted-judge'), 'unnoted-1');
    expect(printed.stderr).toContain('warning: ');
    await ppo(policy, at('unnoted-judge'), 'unnoted-2', '--tokenizer', 'byte');

    using judge = new RewardModel(await PaLM.load(policy, { device }), { lora: 2 });
    await judge.save(at('judge.safetensors'));
    await ppo(policy, at('judge.safetensors'), 'unnoted-3', '--tokenizer', 'byte');
    const nothing = ppo(policy, at('judge.safetensors'), 'unnoted-4');
    await expect(nothing).rejects.toMatchObject({ code: 'ERR_ARGUMENT', fix: expect.stringContaining('--tokenizer') });
    await ppo(at('bytes'), at('judge.safetensors'), 'unnoted-5');
  });

  it('gets one from save and export', async () => {
    const noted = await findModel(await save('noted.safetensors', 258, true));
    expect(noted.tokenizer).toEqual({ type: 'byte' });
    using judge = new RewardModel(await PaLM.load(noted.path, { device }), { lora: 2 });
    const tokenizer = await loadTokenizer(at('gone'));
    for (const names of ['palm', 'python'] as const) {
      await judge.save(at('judge-noted.safetensors'), { names, tokenizer });
      const note = { type: 'hugging-face', path: at('gone', 'tokenizer.json'), hash: tokenizer.hash };
      expect((await findModel(at('judge-noted.safetensors'))).tokenizer).toEqual(note);
    }
    await expect(judge.save(at('x'), { tokenizer: 'byte' as never })).rejects.toEqual(refused('ERR_ARGUMENT'));

    await palm(exportCommand(), at('policy.safetensors'), '--out', at('exported.safetensors'), '--tokenizer', 'byte');
    expect((await findModel(at('exported.safetensors'))).tokenizer).toEqual({ type: 'byte' });
    printed.stdout = '';
    await palm(inspectCommand(), at('exported.safetensors'));
    expect(printed.stdout).toMatch(/^tokenizer +byte$/m);
  });

  it('ignores special tokens that it does not have (byte-model-of-256)', async () => {
    const model = await save('enwik8.safetensors', 256);
    expect(await generate(model, '--tokenizer', 'byte', '--prompt', 'hello')).toMatch(/^hello/);
    await reward(model, 'judge-256', '--tokenizer', 'byte');
    await ppo(model, at('judge-256'), 'policy-256');
    const tokenizer = await tokenizerOf('byte', await findModel(model));
    expect([tokenizer.eosToken, tokenizer.padToken]).toEqual([undefined, undefined]);
    const [eosAlone] = [await tokenizerOf('byte', await findModel(await save('257.safetensors', 257)))];
    expect([eosAlone.eosToken, eosAlone.padToken]).toEqual([256, undefined]);
  });

  it('may have fewer tokens than its tokenizer only as the policy', async () => {
    const judge = new RewardModel(await PaLM.load(at('enwik8.safetensors'), { device }), { lora: 2 });
    await judge.save(at('judge-256.safetensors'), { tokenizer: await loadTokenizer('byte') });
    await expect(ppo(at('bytes'), at('judge-256.safetensors'), 'no')).rejects.toEqual(
      refused('ERR_ARGUMENT', '--reward'),
    );
    judge.dispose();
  });
});
