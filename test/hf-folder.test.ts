/** Hugging Face folders: what config.json may say, which weights are found, and what is refused in words. */
import { cpSync, existsSync, mkdtempSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it, vi } from 'vitest';
import { MODEL_TYPES, hfEntry } from '../src/families/registry.ts';
import { withMembers } from '../src/files/json-edit.ts';
import { LanguageModel, PaLM } from '../src/index.ts';
import { openFolder } from '../src/models/hf-folder.ts';
import { loadModel } from '../src/models/registry.ts';
import { bytesIn, logitsOf, RECORDED } from './parity/families/case.ts';
import { device } from './device.ts';

const folder = mkdtempSync(join(tmpdir(), 'palm-hf-'));
afterAll(() => rmSync(folder, { recursive: true }));
let made = 0;

/** A copy of a recorded case whose config.json `change` changes. */
function copyOf(name: string, change: (config: Record<string, unknown>) => object = (config) => config): string {
  const path = join(folder, `${name}-${made++}`);
  cpSync(join(RECORDED, name), path, { recursive: true });
  const config = JSON.parse(readFileSync(join(path, 'config.json'), 'utf8')) as Record<string, unknown>;
  writeFileSync(join(path, 'config.json'), JSON.stringify(change(config)));
  return path;
}

async function messageOf(promise: Promise<unknown>): Promise<string> {
  return await promise.then(
    () => 'no error',
    (error: Error) => error.message,
  );
}

const load = (path: string, options: object = {}) => LanguageModel.load(path, { device, ...options });

describe('config.json', () => {
  it('is refused by name for a kind of model that is not known', async () => {
    const path = copyOf('llama', (config) => ({ ...config, model_type: 't5' }));
    expect(await messageOf(load(path))).toContain('this model says `model_type` "t5", which palm-rlhf does not know');
    expect(MODEL_TYPES).toHaveLength(25);
  });

  it('is refused for keys that are not known, unless they are named', async () => {
    const path = copyOf('llama', (config) => ({ ...config, attention_sinks: 4, note: 'x' }));
    const message = await messageOf(load(path));
    expect(message).toContain('this model says `attention_sinks`: 4 and `note`: "x", which palm-rlhf does not know');
    expect(message).toContain('ignoreConfigKeys: ["attention_sinks", "note"]');
    using model = await load(path, { ignoreConfigKeys: ['attention_sinks', 'note'] });
    expect(model.config).toMatchObject({ ignoreConfigKeys: ['attention_sinks', 'note'] });
  });

  it('is not misread by ignoring what is known or not there', async () => {
    for (const key of ['hidden_size', 'nothing']) {
      await expect(load(copyOf('llama'), { ignoreConfigKeys: [key] })).rejects.toMatchObject({ code: 'ERR_CONFIG' });
    }
  });

  it.each([
    ['llama', { hidden_act: 'quick_gelu' }, '`hidden_act` "quick_gelu"'],
    ['llama', { rope_parameters: { rope_type: 'spiral' } }, '`rope_type` "spiral"'],
    ['llama', { rope_parameters: { rope_type: 'llama3' } }, 'without `factor`'],
    ['llama', { rope_parameters: { rope_type: 'default', mrope_section: [1] } }, '`rope_parameters.mrope_section`'],
    ['llama', { is_encoder_decoder: true }, '`is_encoder_decoder`: true'],
    ['llama', { num_attention_heads: 5 }, '5 heads, which 2 keys cannot share'],
    ['llama', { quantization_config: { quant_method: 'awq' } }, '`quant_method` "awq"'],
    ['llama', { architectures: ['LlamaForTokenClassification'] }, 'whose head palm-rlhf does not know'],
    ['smollm3', { layer_types: ['full_attention'] }, 'this model says 3 layers and describes 1'],
    ['starcoder2', { norm_type: 'rms' }, '`norm_type`: "rms"'],
    ['gemma', { use_bidirectional_attention: true }, '`use_bidirectional_attention`: true'],
  ])('%s is refused for %j', async (name, change, words) => {
    expect(await messageOf(load(copyOf(name, (config) => ({ ...config, ...change }))))).toContain(words);
  });

  it('may name code, which is not run and is said', async () => {
    const said = vi.spyOn(process, 'emitWarning').mockImplementation(() => undefined);
    using model = await load(copyOf('llama', (config) => ({ ...config, auto_map: { AutoModel: 'evil.Model' } })));
    expect(model.decoder.dim).toBe(24);
    expect(said).toHaveBeenCalledWith(expect.stringContaining('never run'), 'PalmWarning');
    said.mockRestore();
  });

  it('says which tokens of the vocabulary can be drawn', async () => {
    using model = await load(copyOf('llama'), { usedTokens: 60 });
    using out = await model.forward([[3, 4, 5]]);
    expect(out.logits.shape).toEqual([1, 3, 60]);
    await expect(load(copyOf('llama'), { usedTokens: 72 })).rejects.toMatchObject({ code: 'ERR_CONFIG' });
  });

  it('tells which modules adapters can be put on', () => {
    expect(hfEntry('qwen3')?.family).toMatchObject({ kind: 'qwen3', targets: ['q_proj', 'v_proj'] });
    expect(hfEntry('qwen3')?.family.modules).toMatchObject({ q_proj: 'query', down_proj: 'down' });
    expect(hfEntry('phi3')?.family.modules).toMatchObject({ qkv_proj: 'query_key_value', gate_up_proj: 'up_gate' });
    expect(hfEntry('gpt2')?.family.modules).toMatchObject({ 'attn.c_proj': 'output', 'mlp.c_proj': 'down' });
  });
});

describe('a model that scores texts', () => {
  it.each(['llama', 'gpt2', 'neox', 'qwen2'])('%s has a head beside its trunk', async (name) => {
    const path = join(RECORDED, '..', 'rewards', name);
    await using opened = await openFolder(path, { device });
    expect(opened.score?.labels).toBe(1);
    using trunk = LanguageModel.of(opened.family, opened.config, []);
    await opened.read(trunk.parameters());
    expect((await logitsOf(trunk, [[3, 4, 5]])).every(Number.isFinite)).toBe(true);
    expect(await messageOf(load(path))).toContain('which scores texts');
  });

  it('needs that head', async () => {
    const path = copyOf('qwen3', (config) => ({ ...config, architectures: ['Qwen3ForSequenceClassification'] }));
    expect(await messageOf(load(path))).toContain('score.weight');
  });
});

describe('weights', () => {
  it.each([
    ['missing', () => copyOf('llama', (config) => ({ ...config, num_hidden_layers: 3 })), 'without "model.layers.2.'],
    [
      'left over',
      () => copyOf('llama', (config) => ({ ...config, num_hidden_layers: 1 })),
      'with unknown "model.layers.1.',
    ],
    ['of another shape', () => copyOf('llama', (config) => ({ ...config, intermediate_size: 41 })), 'shape [40, 24]'],
    [
      'untied and without a head',
      () => copyOf('qwen3', (c) => ({ ...c, tie_word_embeddings: false })),
      'lm_head.weight',
    ],
  ])('that are %s are refused by name', async (_, make, words) => {
    expect(await messageOf(load(make()))).toContain(words);
  });

  it('are wanted, and so is a folder', async () => {
    const path = copyOf('llama');
    rmSync(join(path, 'model.safetensors'));
    expect(await messageOf(load(path))).toContain('model.safetensors');
    await expect(load(join(folder, 'nowhere'))).rejects.toMatchObject({ code: 'ERR_FILE' });
  });

  it.each([
    ['../../etc/passwd', 'names of files beside it'],
    ['/etc/passwd', 'names of files beside it'],
    ['..', 'names of files beside it'],
    ['model-00009-of-00009.safetensors', 'no such file'],
    [7, 'names of files beside it'],
  ])('are not looked for in %s', async (file, words) => {
    const path = join(folder, `shards-${made++}`);
    using model = await load(copyOf('llama'));
    await model.export(path, { shardBytes: 20_000 });
    const index = join(path, 'model.safetensors.index.json');
    const read = JSON.parse(readFileSync(index, 'utf8')) as { weight_map: Record<string, unknown> };
    read.weight_map[Object.keys(read.weight_map)[0] as string] = file;
    writeFileSync(index, JSON.stringify(read));
    expect(await messageOf(load(path))).toContain(words);
  });

  it('come from a pickle only where it is asked for, or nothing else is there', async () => {
    const path = copyOf('opt-350m');
    using pickled = await load(path, { dtype: 'float32' });
    await pickled.export(join(path, 'out'));
    renameSync(join(path, 'out', 'model.safetensors'), join(path, 'model.safetensors'));
    using both = await load(path, { dtype: 'float32' });
    using again = await load(path, { dtype: 'float32', bin: true });
    const want = await logitsOf(pickled, [[3, 4, 5]]);
    for (const model of [both, again]) expect(await logitsOf(model, [[3, 4, 5]])).toEqual(want);
  });
});

describe('an exported folder', () => {
  it('has as many files as it needs, and reads the same', async () => {
    const out = join(folder, 'sharded');
    using model = await load(copyOf('llama'));
    await model.export(out, { shardBytes: 20_000 });
    const files = readdirSync(out).filter((name) => name.endsWith('.safetensors'));
    expect(files.length).toBeGreaterThan(2);
    expect(files).toContain(`model-00001-of-0000${files.length}.safetensors`);
    using again = await load(out);
    expect(await logitsOf(again, [[3, 4, 5]])).toEqual(await logitsOf(model, [[3, 4, 5]]));
  });

  it('can have another element type, which its config.json says', async () => {
    const out = join(folder, 'float16');
    using model = await load(copyOf('llama'));
    await model.export(out, { dtype: 'float16' });
    expect(JSON.parse(readFileSync(join(out, 'config.json'), 'utf8'))).toMatchObject({ dtype: 'float16' });
    for (const { about } of (await bytesIn(out)).values()) expect(about).toMatch(/^F16 /);
  });

  it('is whole or not there, and never in the place of another', async () => {
    const out = join(folder, 'there');
    using model = await load(copyOf('llama'));
    await model.export(out);
    await expect(model.export(out)).rejects.toMatchObject({ code: 'ERR_FILE' });
    await expect(model.export(join(out, 'config.json', 'x'))).rejects.toMatchObject({ code: 'ERR_FILE' });
    expect(readdirSync(folder).filter((name) => name.startsWith('.tmp'))).toEqual([]);
    using palm = new PaLM({ numTokens: 8, dim: 8, depth: 1, heads: 1, dimHead: 4, device });
    await expect(palm.export(join(folder, 'palm'))).rejects.toMatchObject({ code: 'ERR_ARGUMENT' });
    expect(existsSync(join(folder, 'palm'))).toBe(false);
  });

  it('keeps what config.json and generation_config.json say, to the letter', async () => {
    const path = copyOf('llama');
    const text = readFileSync(join(RECORDED, 'llama', 'config.json'), 'utf8').replace(
      '"rms_norm_eps": 1e-06',
      '"rms_norm_eps": 1.0e-06',
    );
    writeFileSync(join(path, 'config.json'), text);
    writeFileSync(join(path, 'generation_config.json'), '{"temperature": 1.0}');
    using model = await load(path);
    await model.export(join(path, 'out'));
    expect(readFileSync(join(path, 'out', 'config.json'), 'utf8')).toBe(text);
    expect(readFileSync(join(path, 'out', 'generation_config.json'), 'utf8')).toBe('{"temperature": 1.0}');
  });
});

it('is found by the commands, as a folder or as a file of ours, with its policy', async () => {
  const path = join(folder, 'own.safetensors');
  using model = await load(copyOf('llama'));
  model.addScope('actor', { rank: 2 });
  await model.save(path);
  using merged = await loadModel(path, { device });
  expect(merged.scopes).toEqual([]);
  using direct = await loadModel(copyOf('llama'), { device });
  expect(await logitsOf(direct, [[3, 4]])).toEqual(await logitsOf(model, [[3, 4]]));
  await expect(PaLM.load(path)).rejects.toMatchObject({ code: 'ERR_FILE', fix: 'Load it with LanguageModel.load.' });
  await expect(load(path, { bin: true })).rejects.toMatchObject({ code: 'ERR_ARGUMENT' });
});

it('JSON is changed where it has to be, and nowhere else', () => {
  const text = '{\n  "a": 1.0, "b": {"a": [1, "}"]},\n "c" : "x"\n}\n';
  expect(withMembers(text, { a: 2 })).toBe(text.replace('1.0', '2'));
  expect(withMembers(text, { b: false })).toBe(text.replace('{"a": [1, "}"]}', 'false'));
  expect(withMembers(text, { c: null, d: 3 })).toBe(text.replace('"x"\n}', 'null,\n  "d": 3\n}'));
  expect(JSON.parse(withMembers('{}', { d: 3 }))).toEqual({ d: 3 });
});
