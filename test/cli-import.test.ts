/** `palm import` and `palm export`, with what versions of palm-rlhf-pytorch computed from the same weights. */
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, describe, expect, it, vi } from 'vitest';
import { openSafetensors } from '../src/files/safetensors/safetensors.ts';
import { saveTensors } from '../src/tensor/tensor-files.ts';
import { exportCommand } from '../src/cli/export.ts';
import { importCommand } from '../src/cli/import.ts';
import { findModel, findTokenizer } from '../src/runs/model-file.ts';
import { ArgumentError, ConfigError, FileError, type PalmError, TorchFileError } from '../src/errors.ts';
import { PaLM } from '../src/models/palm.ts';
import { RewardModel } from '../src/models/reward-model.ts';
import { device } from './device.ts';
import { distance, readTensors } from './parity/numbers.ts';
import { dictOf, finished, op, stateDictOf, tensorOf, torchArchive, torchFileOf } from './torch-archive.ts';

/** A line of fixtures/torch/recorded.jsonl, made by record.py there. */
interface Recording {
  version: string;
  kind: 'PaLM' | 'RewardModel' | 'ActorCritic';
  scope?: string | null;
  causal?: boolean;
  state: [name: string, shape: number[]][];
  parameters: string[];
  out: number[];
}

const fixtures = fileURLToPath(new URL('fixtures/torch', import.meta.url));
const recordings = readFileSync(join(fixtures, 'recorded.jsonl'), 'utf8')
  .trim()
  .split('\n')
  .map((line) => JSON.parse(line) as Recording);

const folder = mkdtempSync(join(tmpdir(), 'palm-import-'));
afterAll(() => rmSync(folder, { recursive: true }));
const out = join(folder, 'out.safetensors');
const [ours, theirs] = [join(folder, 'ours.safetensors'), join(folder, 'theirs.safetensors')];

/** The recorded model of that version and kind. */
function recording(version: string, kind: Recording['kind']): Recording {
  const found = recordings.find((one) => one.version === version && one.kind === kind);
  if (found === undefined) throw new Error(`no recording of ${kind} ${version}`);
  return found;
}

/** Its state_dict, filled as record.py did. */
function weightsOf({ state, parameters, version }: Recording): Map<string, { shape: number[]; data: Float32Array }> {
  const old = version < '0.2.4';
  const weights = new Map<string, { shape: number[]; data: Float32Array }>();
  for (const [name, shape] of state) {
    const length = shape.reduce((product, size) => product * size, 1);
    const k = parameters.indexOf(name);
    const one = old && name.endsWith('norm.gamma') ? 1 : 0;
    const tied = name.endsWith('to_logits.weight') ? name.replace('to_logits', 'token_emb') : undefined;
    const data =
      k < 0
        ? new Float32Array(length)
        : Float32Array.from({ length }, (_, j) => 0.3 * Math.sin(0.37 * j + 1.3 * k) + one);
    weights.set(name, { shape, data: tied === undefined ? data : (weights.get(tied)?.data ?? data) });
  }
  return weights;
}

function file(bytes: Uint8Array): string {
  const path = join(folder, 'model.pt');
  writeFileSync(path, bytes);
  return path;
}

/** What the command prints. */
async function run(command: ReturnType<typeof importCommand>, args: string[]): Promise<string> {
  const log = vi.spyOn(console, 'log').mockImplementation(() => {});
  try {
    await command.exitOverride().parseAsync(args, { from: 'user' });
    return log.mock.calls.flat().join('\n');
  } finally {
    log.mockRestore();
  }
}

/** Imports into `out`, in place of what is there. */
function imported(bytes: Uint8Array, ...args: string[]): Promise<string> {
  rmSync(out, { force: true });
  return run(importCommand(), [file(bytes), '--out', out, ...args]);
}

async function failure<E extends PalmError>(promise: Promise<unknown>, kind: new (...args: never[]) => E): Promise<E> {
  const error = await promise.then(
    () => expect.fail('this should have been refused'),
    (error: unknown) => error,
  );
  expect(error).toBeInstanceOf(kind);
  return error as E;
}

const tokens = [0, 1].map((row) => Array.from({ length: 7 }, (_, i) => ((7 * row + i) * 5) % 13));

/** What the recording computed, computed from the file at `path`. */
async function outputs(path: string, { kind, scope }: Recording): Promise<number[]> {
  if (kind === 'RewardModel') {
    using model = await RewardModel.load(path, { device });
    using scores = await model.forward(tokens, { promptLengths: [2, 4] });
    return [...(await scores.data())].map(Number);
  }
  using palm = await PaLM.load(path, { device });
  using output = await palm.forward(tokens, { scope: scope ?? undefined });
  const logits = [...(await output.logits.data())].map(Number);
  return logits.slice(11 * palm.config.numTokens);
}

const layoutOf = { '0.0.18': '0.0.18', '0.0.62': '0.0.36', '0.0.66': '0.0.63', '0.1.4': '0.1.0', '0.2.3': '0.2.1' };

describe('palm import', () => {
  it.each(recordings)('$kind of $version gives the same results as in the original', async (recorded) => {
    const { version, kind, causal = true } = recorded;
    const flags = causal ? [] : ['--no-model.causal'];
    const printed = await imported(torchFileOf(weightsOf(recorded)), '--layout', version, ...flags);
    expect(printed).toMatch(new RegExp(`^model +${kind}\nlayout +${layoutOf[version as '0.2.3'] ?? '0.2.4'},`));
    expect(distance(await outputs(out, recorded), recorded.out)).toBeLessThan(2e-5);
    if (kind !== 'ActorCritic') return;
    const critic = version === '0.2.3' ? 'critic_palm' : 'critic';
    expect(printed).toMatch(new RegExp(`left out +"${critic}", "value_head"\n`));
  });

  it('records the given tokenizer, and copies its files next to the model', async () => {
    const bytes = torchFileOf(weightsOf(recording('0.7.5', 'PaLM')));
    await imported(bytes, '--layout', '0.7.5', '--tokenizer', 'byte');
    expect((await findModel(out)).tokenizer).toEqual({ type: 'byte' });
    await imported(bytes, '--layout', '0.7.5', '--tokenizer', 'test/fixtures/tokenizer/metaspace');
    const found = await findModel(out);
    expect(found.tokenizer).toMatchObject({ type: 'hugging-face', path: 'tokenizer.json' });
    expect((await findTokenizer(found))?.encode('To be')).toHaveLength(3);
  });

  it('recognises the oldest layout and the newest ActorCritic by their tensor names', async () => {
    for (const recorded of [recording('0.0.18', 'RewardModel'), recording('0.7.5', 'ActorCritic')]) {
      const printed = await imported(torchFileOf(weightsOf(recorded)));
      expect(printed).toMatch(recorded.version === '0.7.5' ? /layout +0\.2\.4,/ : /layout +0\.0\.18,/);
      expect(distance(await outputs(out, recorded), recorded.out)).toBeLessThan(2e-5);
    }
  });

  it('asks for --layout if the names are ambiguous, with a hint', async () => {
    const error = await failure(imported(torchFileOf(weightsOf(recording('0.2.3', 'PaLM')))), ArgumentError);
    expect(error.expected).toMatch(/layouts changed in 0\.0\.36, 0\.2\.1, 0\.2\.4$/);
    expect(error.fix).toMatch(/near 0 since 0\.2\.4 and were near 1 before: here, (0\.9|1\.0)\d on average/);
    const scores = await failure(imported(torchFileOf(weightsOf(recording('0.0.66', 'RewardModel')))), ArgumentError);
    expect(scores.expected).toMatch(/0\.0\.63, 0\.1\.0, 0\.2\.4$/);
  });

  it.each([
    ['0.0.18', '0.0.36', /one of 0\.0\.18, judging by the tensor names/],
    ['0.2.3', '0.0.17', /one of 0\.0\.36, 0\.2\.1, 0\.2\.4/],
    ['0.2.3', '0.0.18', /one of 0\.0\.36/],
  ])('refuses, for a file of version %s, the layout %s', async (version, layout, expected) => {
    const recorded = recording(version, version === '0.2.3' ? 'PaLM' : 'RewardModel');
    const error = await failure(imported(torchFileOf(weightsOf(recorded)), '--layout', layout), ArgumentError);
    expect(error.expected).toMatch(expected);
  });

  it('refuses a malformed version', async () => {
    const promise = imported(torchFileOf(weightsOf(recording('0.2.3', 'PaLM'))), '--layout', 'new');
    expect((await failure(promise, ConfigError)).message).toMatch(
      /import\.layout: got "new", expected a three-part version/,
    );
  });

  it('refuses a language model whose logits skip the final norm', async () => {
    const promise = imported(torchFileOf(weightsOf(recording('0.2.3', 'PaLM'))), '--layout', '0.2.0');
    expect((await failure(promise, FileError)).received).toMatch(/a PaLM written before 0\.2\.1/);
  });

  it.each(['module.', '_orig_mod.', 'module._orig_mod.'])('accepts names with the prefix %s', async (prefix) => {
    const recorded = recording('0.2.3', 'PaLM');
    const weights = new Map([...weightsOf(recorded)].map(([name, tensor]) => [prefix + name, tensor]));
    await imported(torchFileOf(weights), '--layout', '0.2.3');
    expect(distance(await outputs(out, recorded), recorded.out)).toBeLessThan(2e-5);
  });

  it('finds a state_dict among other entries, and lists those', async () => {
    const recorded = recording('0.2.3', 'PaLM');
    const { pickle, storages } = stateDictOf(weightsOf(recorded));
    const wrapped = finished(
      dictOf([...pairs('model', pickle), ...pairs('optimizer', op.emptyDict), ...pairs('step', op.int(9))]),
    );
    const printed = await imported(torchArchive(wrapped, storages), '--layout', '0.2.3');
    expect(printed).toMatch(/left out +"optimizer", "step"/);
    expect(distance(await outputs(out, recorded), recorded.out)).toBeLessThan(2e-5);
  });

  it('finds a state_dict next to other tensors (import-loss-tensor)', async () => {
    const recorded = recording('0.2.3', 'PaLM');
    const { pickle, storages } = stateDictOf(weightsOf(recorded));
    const [key, bytes] = [...storages][0] as [string, Uint8Array];
    const loss = tensorOf({ key, elements: bytes.length / 4, shape: [] });
    const recipe = { epoch: op.int(3), model_state_dict: pickle, optimizer_state_dict: op.emptyDict, loss };
    const wrapped = finished(dictOf(Object.entries(recipe)));
    const printed = await imported(torchArchive(wrapped, storages), '--layout', '0.2.3');
    expect(printed).toMatch(/left out +"epoch", "optimizer_state_dict", "loss"/);
    expect(distance(await outputs(out, recorded), recorded.out)).toBeLessThan(2e-5);
  });

  it('names the entry that needs code (import-beside-globals)', async () => {
    const recorded = recording('0.2.3', 'PaLM');
    const { pickle, storages } = stateDictOf(weightsOf(recorded));
    const scalar = op.global('numpy._core.multiarray', 'scalar');
    const wrapped = finished(dictOf(Object.entries({ model: pickle, loss: scalar })));
    const error = await failure(imported(torchArchive(wrapped, storages)), TorchFileError);
    expect(error).toMatchObject({ code: 'ERR_TORCH_FILE', reason: 'pickle-global' });
    expect(error.received).toContain('numpy._core.multiarray.scalar');
    expect(error.received).toContain('"loss"');
    expect(error.fix).toContain('weights_only=True');
  });

  it('says that a safetensors file needs no import (import-safetensors-message)', async () => {
    const path = join(folder, 'whole.safetensors');
    using palm = new PaLM({ numTokens: 16, dim: 16, depth: 1, heads: 2, dimHead: 8, device });
    await palm.save(path);
    const error = await failure(run(importCommand(), [path, '--out', out]), TorchFileError);
    expect(error).toMatchObject({ reason: 'safetensors', received: 'a safetensors file' });
    expect(error.fix).not.toContain('again');
    rmSync(path);
  });

  it.each([
    ['PaLM', ''],
    ['RewardModel', 'palm.'],
  ] as const)(
    'import-save_model-safetensors: a %s whose tied weights have one name in the file',
    async (kind, prefix) => {
      const path = join(folder, 'tied.safetensors');
      using palm = new PaLM({ numTokens: 16, dim: 16, depth: 1, heads: 2, dimHead: 8, seed: 3, device });
      using model = kind === 'PaLM' ? undefined : new RewardModel(palm, { lora: false });
      using contents = await (model ?? palm).pythonContents();
      const [name, other] = [`${prefix}token_emb.weight`, `${prefix}to_logits.weight`];
      // As safetensors.torch.save_model writes it.
      const tensors = contents.tensors.filter((tensor) => tensor.name !== name);
      await saveTensors(path, { tensors, metadata: new Map([[name, other]]) });
      using loaded =
        kind === 'PaLM' ? await PaLM.load(path, { device }) : (await RewardModel.load(path, { device })).model;
      using before = await (model?.model ?? palm).forward([[1, 2, 3]]);
      using after = await loaded.forward([[1, 2, 3]]);
      expect(await after.logits.data()).toEqual(await before.logits.data());
      rmSync(path);
    },
  );

  it('chooses the newest layout for norm weights near 0, and says so', async () => {
    const recorded = recording('0.7.5', 'PaLM');
    const weights = weightsOf(recorded);
    for (const [name, { data }] of weights) if (name.endsWith('norm.gamma')) data.fill(0);
    expect(await imported(torchFileOf(weights))).toMatch(
      /layout +0\.2\.4, from its tensor names and a mean norm weight of 0\.00/,
    );
  });

  it('lists all unknown and missing names, and writes nothing', async () => {
    const weights = weightsOf(recording('0.2.3', 'PaLM'));
    weights.set('layers.0.fn.bias', { shape: [1], data: Float32Array.of(1) });
    weights.set('head.\u001b[2J', { shape: [1], data: Float32Array.of(1) });
    weights.delete('layers.1.fn.attn_out.weight');
    rmSync(out, { force: true });
    const error = await failure(imported(torchFileOf(weights), '--layout', '0.2.3'), FileError);
    expect(error.received).toBe(
      'unknown tensors "layers.0.fn.bias", "head.\\u001b[2J"; missing tensors "layers.1.fn.attn_out.weight"',
    );
    expect(readdirSync(folder).filter((name) => name.endsWith('.safetensors'))).toEqual([]);
  });

  it.each<[string, (weights: Map<string, { shape: number[]; data: Float32Array }>) => void, RegExp]>([
    ['no tensors', (weights) => weights.clear(), /an empty dict, expected tensors/],
    ['another model', (weights) => only(weights, 'norm.gamma'), /unknown tensors "norm\.gamma", expected a PaLM, Rew/],
    ['a layer too few', (weights) => rename(weights, 'layers.1.', 'layers.2.'), /2 layers without layer 1/],
    ['a number in place of a layer', (weights) => rename(weights, 'layers.1.', 'layers.987654321.'), /without layer 1/],
    [
      'biases that are used',
      (weights) => weights.get('norm.beta')?.data.fill(1),
      /norm\.beta": got values other than 0/,
    ],
    ['logits of their own', untie, /to_logits\.weight": got separate weights/],
    [
      'another shape',
      (weights) => reshape(weights, 'norm.gamma'),
      /"norm\.gamma": got shape \[6, 1\], expected shape \[6\]/,
    ],
    ['scopes and layers that only names claim', claim, /100 scopes and 52 layers in \d+ tensors/],
    ['a scope that cannot be named here', (weights) => rename(weights, 's.tune.', 's.t une.'), /a scope "t une"/],
  ])('refuses %s', async (_, change, message) => {
    const weights = weightsOf(recording('0.2.3', 'PaLM'));
    change(weights);
    expect((await failure(imported(torchFileOf(weights), '--layout', '0.2.3'), FileError)).message).toMatch(message);
  });

  it('leaves nothing behind on failure', async () => {
    await failure(imported(Buffer.from('nothing')), FileError);
    expect(readdirSync(folder).filter((name) => name.includes('out.safetensors'))).toEqual([]);
  });
});

describe('palm export', () => {
  it.each(['PaLM', 'RewardModel'] as const)(
    'gives the names, shapes and numbers of a state_dict of 0.7.5: %s',
    async (kind) => {
      const recorded = recording('0.7.5', kind);
      const weights = weightsOf(recorded);
      const causal = recorded.causal === false ? ['--no-model.causal'] : [];
      await imported(torchFileOf(weights), '--layout', '0.7.5', ...causal);
      for (const path of [ours, theirs]) rmSync(path, { force: true });
      await run(exportCommand(), [out, '--out', ours]);
      await run(exportCommand(), [ours, '--out', theirs, '--names', 'python']);
      const [model, other] = [readFileSync(out), readFileSync(theirs)];
      const refused = /safetensors: already exists\. Choose another name/;
      await expect(run(exportCommand(), [ours, '--out', theirs])).rejects.toThrow(refused);
      await expect(run(importCommand(), [file(torchFileOf(weights)), '--out', out])).rejects.toThrow(refused);
      expect([readFileSync(out), readFileSync(theirs)]).toEqual([model, other]);
      await using own = await openSafetensors(ours);
      expect([...own.entries.keys()].filter((name) => name.includes('layers.0.fn'))).toEqual([]);
      const tensors = readTensors(theirs);
      expect(new Map([...tensors].map(([name, { shape }]) => [name, shape]))).toEqual(new Map(recorded.state));
      for (const name of recorded.parameters) {
        expect(distance(tensors.get(name)?.data ?? [], weights.get(name)?.data ?? [0])).toBe(0);
      }
      expect(distance(await outputs(theirs, recorded), await outputs(ours, recorded))).toBe(0);
    },
  );

  it('writes the buffers that the library computes', async () => {
    using palm = new PaLM({ numTokens: 5, dim: 4, depth: 1, heads: 1, dimHead: 6, device });
    palm.addScope('tune', { rank: 2 });
    await palm.save(out, { names: 'python' });
    const tensors = readTensors(out);
    const data = (name: string) => [...(tensors.get(name)?.data ?? [])];
    // As torch 2.13 computes them in float32.
    expect(data('layers.0.fn.rotary_emb.inv_freq')).toEqual([1, 0.04641588404774666, 0.002154434332624078]);
    expect(data('layers.0.fn.rotary_emb.scale')).toEqual([0.2857142984867096, 0.523809552192688, 0.7619048357009888]);
    expect(data('to_logits.weight')).toEqual(data('token_emb.weight'));
    expect(data('norm.beta')).toEqual([0, 0, 0, 0]);
    using again = await PaLM.load(out, { device });
    expect(again.config).toEqual(palm.config);
    expect(again.scopes).toEqual(['tune']);
  });

  it('refuses models that the library would compute differently, and unknown naming schemes', async () => {
    using palm = new PaLM({ numTokens: 5, dim: 4, depth: 1, heads: 1, dimHead: 4, qkScale: 8, device });
    expect((await failure(palm.save(out, { names: 'python' }), ArgumentError)).message).toMatch(
      /qkScale: got 8, expected 0\.5/,
    );
    const names = 'rust' as 'python';
    expect((await failure(palm.save(out, { names }), ArgumentError)).message).toMatch(/got "rust", expected "palm" or/);
  });
});

function pairs(name: string, value: Uint8Array): [string, Uint8Array][] {
  return [[name, value]];
}

function only(weights: Map<string, unknown>, kept: string): void {
  for (const name of [...weights.keys()]) if (name !== kept) weights.delete(name);
}

function rename<T>(weights: Map<string, T>, from: string, to: string): void {
  for (const [name, tensor] of [...weights]) {
    weights.delete(name);
    weights.set(name.replace(from, to), tensor);
  }
}

function claim(weights: Map<string, { shape: number[]; data: Float32Array }>): void {
  const one = { shape: [1, 1], data: Float32Array.of(1) };
  for (let i = 2; i < 52; i++) weights.set(`layers.${i}.fn`, one);
  for (let i = 1; i < 100; i++) weights.set(`finetune_modules.s${i}.0.0.A`, one);
}

function untie(weights: Map<string, { shape: number[]; data: Float32Array }>): void {
  const tied = weights.get('to_logits.weight');
  if (tied !== undefined) weights.set('to_logits.weight', { ...tied, data: tied.data.map((value) => value + 1) });
}

function reshape(weights: Map<string, { shape: number[]; data: Float32Array }>, name: string): void {
  const tensor = weights.get(name);
  if (tensor !== undefined) weights.set(name, { ...tensor, shape: [...tensor.shape, 1] });
}
