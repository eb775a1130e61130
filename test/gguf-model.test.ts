/** Models in GGUF files: what config.json would say, and tensors by the names and in the order of Hugging Face. */
import { createHash } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, describe, expect, it } from 'vitest';
import { GgufError } from '../src/errors.ts';
import { bytesOf, NUMBER_FORMATS } from '../src/files/number-formats.ts';
import { openGgufModel } from '../src/import/gguf/model.ts';
import type { GgufTensor } from '../src/import/gguf/stored.ts';
import { decodeNumbers } from './decode-numbers.ts';
import { gguf, type GgufContent, list, type Pair, value } from './gguf-file.ts';

const fixtures = fileURLToPath(new URL('fixtures/gguf/', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'palm-gguf-model-'));
afterAll(() => rmSync(folder, { recursive: true }));
const path = join(folder, 'model.gguf');

interface Recorded {
  model_type: string;
  class: string;
  config: Record<string, unknown>;
  tensors: Record<string, [shape: number[], sha256: string]>;
}
const RECORDED = JSON.parse(readFileSync(join(fixtures, 'expected.json'), 'utf8')) as Record<string, Recorded>;

/** The numbers of a tensor, read in pieces of `rows` rows. */
async function numbersOf({ shape, dtype, transposed, reader }: GgufTensor, rows: number): Promise<Float32Array> {
  const count = shape.reduce((product, size) => product * size, 1);
  const bytes = new Uint8Array(bytesOf(dtype, count));
  const piece = rows * bytesOf(dtype, shape.at(-1) as number);
  const next = reader();
  for (let at = 0; at < bytes.length; at += piece) await next(bytes.subarray(at, at + piece));
  using tensor = await decodeNumbers(dtype, bytes, shape);
  const numbers = (await tensor.data()) as Float32Array;
  const [height = 1, width = 1] = shape;
  if (!transposed) return numbers;
  return numbers.map((_, i) => numbers[(i % height) * width + Math.floor(i / height)] as number);
}

describe.each(Object.entries(RECORDED))('%s', (name, expected) => {
  it('has the config that it was written with', async () => {
    await using model = await openGgufModel(join(fixtures, `${name}.gguf`));
    const { config } = model;
    expect(config).toMatchObject({ model_type: expected.model_type, architectures: [expected.class] });
    expect(config).toMatchObject({ bos_token_id: 1, eos_token_id: 2 });
    // Keys that only one of the two has: what follows from the others, or stands for the default.
    const shared = Object.entries(expected.config).filter(([key]) => Object.hasOwn(config, key));
    expect(Object.fromEntries(shared.map(([key]) => [key, config[key]]))).toEqual(Object.fromEntries(shared));
    expect(shared.length).toBeGreaterThanOrEqual(7);
  });

  it.each([1, 3, 1000])('has the tensors that transformers reads, %i rows at a time', async (rows) => {
    await using model = await openGgufModel(join(fixtures, `${name}.gguf`));
    const found: Recorded['tensors'] = {};
    for (const tensor of model.tensors.values()) {
      const numbers = await numbersOf(tensor, rows);
      const shape = tensor.transposed ? tensor.shape.toReversed() : [...tensor.shape];
      found[tensor.name] = [shape, createHash('sha256').update(numbers).digest('hex')];
    }
    expect(found).toEqual(expected.tensors);
  });
});

const TEXT = (key: string, content: string): Pair => [key, value('text', content)];
const COUNT = (key: string, content: number): Pair => [key, value('u32', content)];
const LLAMA: Pair[] = [
  TEXT('general.architecture', 'llama'),
  ...Object.entries({
    block_count: 1,
    context_length: 64,
    embedding_length: 8,
    feed_forward_length: 16,
    'attention.head_count': 2,
  }).map(([key, count]) => COUNT(`llama.${key}`, count)),
  ['llama.attention.layer_norm_rms_epsilon', value('f32', 1e-6)],
];
const EMBEDDING = { name: 'token_embd.weight', sizes: [8, 3] };

async function configOf({ metadata = LLAMA, tensors = [EMBEDDING], data }: GgufContent = {}) {
  writeFileSync(path, gguf({ metadata, tensors, ...(data === undefined ? {} : { data }) }));
  await using model = await openGgufModel(path);
  return model.config;
}

async function refusal(content: GgufContent): Promise<GgufError> {
  const error = await configOf(content).catch((error: unknown) => error);
  expect(error).toBeInstanceOf(GgufError);
  return error as GgufError;
}

describe('what config.json would say', () => {
  it('is complete where the file leaves keys out', async () => {
    expect(await configOf()).toEqual({
      ...{ architectures: ['LlamaForCausalLM'], model_type: 'llama', vocab_size: 3, tie_word_embeddings: true },
      ...{ hidden_size: 8, intermediate_size: 16, num_hidden_layers: 1, num_attention_heads: 2 },
      ...{ num_key_value_heads: 2, head_dim: 4, max_position_embeddings: 64, rope_theta: 10_000, rms_norm_eps: 1e-6 },
      ...{ attention_bias: false, mlp_bias: false },
    });
  });

  it('lists every token that ends an answer', async () => {
    const ends = [COUNT('tokenizer.ggml.eos_token_id', 2), COUNT('tokenizer.ggml.eot_token_id', 1)];
    expect(await configOf({ metadata: [...LLAMA, ...ends] })).toMatchObject({ eos_token_id: [2, 1] });
  });

  it.each(['linear', 'yarn'])('says how positions are stretched: %s', async (type) => {
    const scaling: Pair[] = [
      TEXT('llama.rope.scaling.type', type),
      ['llama.rope.scaling.factor', value('f32', 2.5)],
      ...(type === 'yarn' ? [COUNT('llama.rope.scaling.original_context_length', 32)] : []),
    ];
    const original = type === 'yarn' ? { original_max_position_embeddings: 32 } : {};
    const expected = { rope_scaling: { rope_type: type, factor: 2.5, ...original } };
    expect(await configOf({ metadata: [...LLAMA, ...scaling] })).toMatchObject(expected);
  });

  // Factors as llama.cpp's converter writes them for Llama 3.2: theta 500,000, heads of 64, factor 32.
  const frequencies = Float32Array.from({ length: 32 }, (_, i) => {
    const wave = (2 * Math.PI) / 500_000 ** (-i / 32);
    if (wave < 8192 / 4) return 1;
    if (wave > 8192) return 32;
    const smooth = (8192 / wave - 1) / (4 - 1);
    return 1 / ((1 - smooth) / 32 + smooth);
  });
  const llama3 = (factors: Float32Array): GgufContent => ({
    metadata: [
      ...LLAMA.filter(([key]) => !key.endsWith('.embedding_length')),
      ...[COUNT('llama.embedding_length', 128), ['llama.rope.freq_base', value('f32', 500_000)] as const],
    ],
    tensors: [
      { name: 'rope_freqs.weight', sizes: [factors.length] },
      { name: 'token_embd.weight', sizes: [128, 3] },
    ],
    data: Buffer.concat([Buffer.from(factors.buffer), Buffer.alloc(128 * 3 * 4)]),
  });

  it("finds the numbers behind Llama 3's factors", async () => {
    expect((await configOf(llama3(frequencies))).rope_scaling).toEqual({
      ...{ rope_type: 'llama3', factor: 32, low_freq_factor: 1, high_freq_factor: 4 },
      original_max_position_embeddings: 8192,
    });
  });

  it('refuses factors that those numbers do not give', async () => {
    const other = frequencies.map((factor, i) => (i === 20 ? factor * 1.01 : factor));
    expect(await refusal(llama3(other))).toMatchObject({ reason: 'unsupported' });
    expect((await refusal(llama3(new Float32Array(0x10020)))).reason).toBe('bad-shape');
  });
});

describe('a model that palm-rlhf cannot compute', () => {
  const changed = (key: string, encoded: Buffer): Pair[] => [...LLAMA.filter(([one]) => one !== key), [key, encoded]];

  it.each<[what: string, content: GgufContent, message: RegExp]>([
    [
      'of an unknown architecture',
      { metadata: changed('general.architecture', value('text', 'mamba')) },
      /"mamba", expected one of llama, qwen2/,
    ],
    [
      'in parts',
      { metadata: [...LLAMA, COUNT('split.count', 2)] },
      /one of 2 parts of a model.*llama-gguf-split --merge/,
    ],
    ['with experts', { metadata: [...LLAMA, COUNT('llama.expert_count', 8)] }, /a mixture of experts/],
    [
      'with an unknown key',
      { metadata: [...LLAMA, COUNT('llama.attention.sinks', 1)] },
      /llama\.attention\.sinks: got 1, which palm-rlhf does not know/,
    ],
    ['with unknown positions', { metadata: [...LLAMA, TEXT('llama.rope.scaling.type', 'longrope')] }, /"longrope"/],
    [
      'with heads that turn in part',
      { metadata: [...LLAMA, COUNT('llama.rope.dimension_count', 2)] },
      /2 of 4 dimensions/,
    ],
    [
      'with values of another width',
      { metadata: [...LLAMA, COUNT('llama.attention.value_length', 2)] },
      /heads of 4 and 2/,
    ],
    ['with heads of half a number', { metadata: changed('llama.attention.head_count', value('u32', 3)) }, /in 3 heads/],
    [
      'with an unknown tensor',
      { tensors: [EMBEDDING, { name: 'blk.0.attn_sinks.weight', sizes: [2] }] },
      /attn_sinks.*does not know/,
    ],
    [
      'with a tensor named as a property',
      { tensors: [EMBEDDING, { name: 'constructor.weight', sizes: [2] }] },
      /does not know/,
    ],
  ])('is refused in words: %s', async (_what, content, message) => {
    const error = await refusal(content);
    expect(error.reason).toBe('unsupported');
    expect(error.message).toMatch(message);
  });

  it.each<[what: string, content: GgufContent, message: RegExp]>([
    ['no architecture', { metadata: [] }, /general\.architecture: got nothing, expected a text/],
    ['no epsilon', { metadata: LLAMA.slice(0, -1) }, /layer_norm_rms_epsilon: got nothing/],
    [
      'a count for each layer',
      { metadata: changed('llama.feed_forward_length', list('u32', [16])) },
      /expected an integer/,
    ],
    ['a negative count', { metadata: changed('llama.block_count', value('i32', -1)) }, /got -1/],
    [
      'an infinite epsilon',
      { metadata: changed('llama.attention.layer_norm_rms_epsilon', value('f32', Number.POSITIVE_INFINITY)) },
      /finite/,
    ],
  ])('is refused by key: %s', async (_what, content, message) => {
    const error = await refusal(content);
    expect(error.reason).toBe('bad-metadata');
    expect(error.message).toMatch(message);
  });

  it('is refused where rows cannot be ordered', async () => {
    const query = (sizes: number[]) => ({ tensors: [EMBEDDING, { name: 'blk.0.attn_q.weight', sizes }] });
    expect((await refusal(query([8, 6]))).reason).toBe('bad-shape');
    expect((await refusal(query([8, 4, 2]))).reason).toBe('bad-shape');
    expect((await refusal({ metadata: LLAMA, tensors: [] })).reason).toBe('no-such-tensor');
  });
});

it('orders rows of pairs as two halves', async () => {
  const rows = Float32Array.from({ length: 64 }, (_, i) => Math.floor(i / 8));
  const data = Buffer.concat([Buffer.alloc(96), Buffer.from(rows.buffer)]);
  writeFileSync(
    path,
    gguf({ metadata: LLAMA, tensors: [EMBEDDING, { name: 'blk.0.attn_q.weight', sizes: [8, 8] }], data }),
  );
  await using model = await openGgufModel(path);
  const numbers = await numbersOf(model.tensors.get('model.layers.0.self_attn.q_proj.weight') as GgufTensor, 2);
  expect([0, 1, 2, 3, 4, 5, 6, 7].map((row) => numbers[8 * row])).toEqual([0, 2, 1, 3, 4, 6, 5, 7]);
  expect(NUMBER_FORMATS.F32.bytes).toBe(4);
});
