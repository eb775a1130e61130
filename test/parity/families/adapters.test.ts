/** Adapters of PEFT: recorded ones compute what PEFT computes and go back as they came; what is not supported is refused by name. */
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { ConfigError, LanguageModel, loadTensors, PaLM, saveTensors, type Tensor } from '../../../src/index.ts';
import { openStored } from '../../../src/files/stored-tensors.ts';
import { device } from '../../device.ts';
import { distance } from '../numbers.ts';
import { FamilyCase, logitsOf, RECORDED, type Stored } from './case.ts';

const ADAPTERS = join(import.meta.dirname, 'adapters');
const REFUSED = join(import.meta.dirname, 'refused');
const folder = mkdtempSync(join(tmpdir(), 'palm-adapters-'));
afterAll(() => rmSync(folder, { recursive: true }));

interface AdapterJson {
  [key: string]: unknown;
  base_model_name_or_path: string;
}

function configIn(path: string): AdapterJson {
  return JSON.parse(readFileSync(join(path, 'adapter_config.json'), 'utf8')) as AdapterJson;
}

/** The model that a recorded adapter is for. */
function baseOf(path: string): Promise<LanguageModel> {
  const [, base = ''] = /cases\/(.*)$/.exec(configIn(path).base_model_name_or_path) ?? [];
  return LanguageModel.load(join(RECORDED, base), { device, dtype: 'float32' });
}

/** All tensors of an adapter. */
async function tensorsIn(path: string): Promise<Stored> {
  await using stored = await openStored(join(path, 'adapter_model.safetensors'));
  const found: Stored = new Map();
  for (const [name, { shape, dtype, reader }] of stored.tensors) {
    const bytes = Buffer.alloc(shape.reduce((product, size) => product * size, 4));
    await reader()(bytes);
    found.set(name, { about: `${dtype} ${shape.join()}`, bytes });
  }
  return found;
}

/** A copy of a recorded adapter whose configuration says something else. */
function changed(name: string, change: object): string {
  const path = mkdtempSync(join(folder, 'changed-'));
  cpSync(join(ADAPTERS, name), path, { recursive: true });
  const config = { ...configIn(path), ...change };
  writeFileSync(join(path, 'adapter_config.json'), JSON.stringify(config));
  return path;
}

async function through(model: LanguageModel, scope: string | undefined, text: number[]): Promise<Float64Array> {
  using out = await model.forward([text], scope === undefined ? {} : { scope });
  return Float64Array.from(await out.logits.data(), Number);
}

describe.each(readdirSync(ADAPTERS))('%s', (name) => {
  const path = join(ADAPTERS, name);
  const recorded = new FamilyCase(name, ADAPTERS);
  const texts = recorded.texts;

  it('computes what peft computes, also merged, copied and from our own file', async () => {
    using model = await baseOf(path);
    await model.loadAdapter('tuned', path);
    const file = join(folder, `${name}.safetensors`);
    await model.save(file);
    using copy = model.clone();
    using saved = await LanguageModel.load(file, { device });
    for (const [i, text] of texts.entries()) {
      const want = recorded.logits(i);
      for (const one of [model, copy, saved])
        expect(distance(await through(one, 'tuned', text), want)).toBeLessThan(1e-5);
    }
    await model.mergeScope('tuned');
    for (const [i, text] of texts.entries())
      expect(distance(await logitsOf(model, [text]), recorded.logits(i))).toBeLessThan(2e-5);
  });

  it('goes back as it came once its folder is gone', async () => {
    using model = await baseOf(path);
    const [copied, written] = [join(folder, `${name}-in`), join(folder, `${name}-out`)];
    cpSync(path, copied, { recursive: true });
    await model.loadAdapter('tuned', copied);
    rmSync(copied, { recursive: true });
    await model.exportAdapter('tuned', written, { baseModel: 'somewhere' });
    expect(await tensorsIn(written)).toEqual(await tensorsIn(path));
    const [before, after] = [configIn(path), configIn(written)];
    for (const key of ['r', 'lora_alpha', 'use_rslora', 'fan_in_fan_out', 'task_type', 'peft_type', 'bias'])
      expect(after[key], key).toEqual(before[key]);
    expect(after.base_model_name_or_path).toBe('somewhere');
    using again = await baseOf(path);
    await again.loadAdapter('again', written);
    expect(again.description().scopes.again).toEqual(model.description().scopes.tuned);
    expect(await through(again, 'again', texts[0] as number[])).toEqual(
      await through(model, 'tuned', texts[0] as number[]),
    );
  });

  it('has the gradients of peft', async () => {
    using model = await baseOf(path);
    await model.loadAdapter('tuned', path);
    using loss = await model.loss([texts[0] as number[]], { scope: 'tuned' });
    await loss.backward();
    expect(Math.abs((await loss.item()) - (recorded.get('loss').data[0] as number))).toBeLessThan(1e-5);
    const parameters = model.parameters({ scope: 'tuned' });
    const grads = parameters.map(async (one) => ({ name: one.name, tensor: (await one.grad()) as Tensor }));
    const file = join(folder, `${name}-gradients.safetensors`);
    await saveTensors(file, { tensors: await Promise.all(grads), metadata: new Map() });
    const named = parameters.map((one) => ({ name: one.name, tensor: one }));
    await loadTensors(file, named); // in place of the values, so that the exporter puts them in the order of the file
    const written = join(folder, `${name}-gradients`);
    await model.exportAdapter('tuned', written);
    const exported = await tensorsIn(written);
    const wanted = recorded.gradients;
    expect([...exported.keys()].sort()).toEqual([...wanted.keys()].sort());
    const norm = (values: Iterable<number>) => Math.hypot(...values);
    const all = norm([...wanted.values()].map(norm));
    for (const [tensor, want] of wanted) {
      const { buffer, byteOffset, byteLength } = (exported.get(tensor) as { bytes: Buffer }).bytes;
      const got = new Float32Array(buffer.slice(byteOffset, byteOffset + byteLength));
      expect(norm(want.map((value, i) => value - (got[i] as number))), tensor).toBeLessThan(
        1e-4 * Math.max(norm(want), 1e-3 * all),
      );
    }
  });
});

describe('an adapter that is not supported', () => {
  it.each([
    ['dora', /`use_dora` true/],
    ['saved-head', /`modules_to_save` \["lm_head"\]/],
    ['all-biases', /`bias` "all".*"none"/],
    ['embedding', /`target_modules` "embed_tokens".*q_proj/],
    ['ia3', /`peft_type` "IA3".*"LORA"/],
  ])('%s is refused by name', async (name, words) => {
    using model = await baseOf(join(REFUSED, name));
    const load = model.loadAdapter('tuned', join(REFUSED, name));
    await expect(load).rejects.toThrow(ConfigError);
    await expect(load).rejects.toThrow(words);
    expect(model.scopes).toEqual([]);
  });

  it.each([
    [{ target_modules: ['lm_head', 'q_proj', 'v_proj'] }, /`target_modules` "lm_head"/],
    [{ init_lora_weights: 'pissa' }, /`init_lora_weights` "pissa"/],
    [{ task_type: 'SEQ_CLS' }, /`task_type` "SEQ_CLS"/],
    [{ layer_replication: [[0, 2]] }, /`layer_replication`/],
    [{ trainable_token_indices: [1] }, /`trainable_token_indices`/],
    [{ lora_bias: true }, /`lora_bias` true/],
    [{ something_new: 3 }, /`something_new` 3/],
    [{ r: 0 }, /"r" 0/],
    [{ rank_pattern: { q_proj: 'many' } }, /"rank_pattern.q_proj" "many"/],
    [{ target_modules: '(q_proj|v_proj)(?=x)' }, /regular expression/],
    [{ target_modules: '.*(q|v)_proj\\1' }, /regular expression/],
    [{ target_modules: ['q_prj', 'v_proj'] }, /Did you mean q_proj/],
    [{ layers_to_transform: [7] }, /no module at all/],
  ])('%j is refused by name', async (change, words) => {
    using model = await baseOf(join(ADAPTERS, 'llama'));
    await expect(model.loadAdapter('tuned', changed('llama', change))).rejects.toThrow(words);
  });

  it('is refused where configuration and weights differ', async () => {
    using model = await baseOf(join(ADAPTERS, 'llama'));
    const load = (change: object) => model.loadAdapter('tuned', changed('llama', change));
    await expect(load({ target_modules: ['q_proj', 'k_proj'] })).rejects.toThrow(/without .*k_proj.* unknown .*v_proj/);
    await expect(load({ r: 8 })).rejects.toThrow(/shape \[8,.*adapter_config.json/);
    await expect(load({ layers_to_transform: 1 })).rejects.toThrow(/unknown/);
    const bare = changed('llama', {});
    rmSync(join(bare, 'adapter_model.safetensors'));
    await expect(model.loadAdapter('tuned', bare)).rejects.toThrow(/no such file/);
    expect(model.scopes).toEqual([]);
  });

  it('is for a model of a Hugging Face family', async () => {
    using model = new PaLM({ numTokens: 8, dim: 8, depth: 1, heads: 1, dimHead: 8 });
    model.addScope('tuned');
    await expect(model.loadAdapter('other', join(ADAPTERS, 'llama'))).rejects.toThrow(/got a PaLM/);
    await expect(model.exportAdapter('tuned', join(folder, 'palm'))).rejects.toThrow(/got a PaLM/);
  });
});

describe('the targets of an adapter', () => {
  it.each([
    [{ target_modules: 'all-linear', exclude_modules: ['k_proj', 'o_proj', 'gate_proj', 'up_proj', 'down_proj'] }],
    [{ target_modules: '.*', exclude_modules: '.*(mlp.*|[ko]_proj)' }],
    [{ target_modules: 'model\\.layers\\.\\d+\\.self_attn\\.(?:q|v)_proj' }],
    [{ target_modules: null }],
    [{ target_modules: ['q_proj', 'v_proj'], layers_to_transform: [0, 1], layers_pattern: 'layers' }],
    [{ target_modules: ['self_attn.q_proj', 'self_attn.v_proj'], layers_to_transform: [] }],
    [{ r: 2, rank_pattern: { '(q|v)_proj': 4 }, alpha_pattern: { proj: 1, '[qv]_proj': 8 } }],
  ])('%j are those of the recorded adapter', async (change) => {
    using model = await baseOf(join(ADAPTERS, 'llama'));
    await model.loadAdapter('tuned', changed('llama', change));
    const recorded = new FamilyCase('llama', ADAPTERS);
    expect(distance(await through(model, 'tuned', recorded.texts[0] as number[]), recorded.logits(0))).toBeLessThan(
      1e-5,
    );
  });
});
