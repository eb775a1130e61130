/** SmolLM2's file through our reader: every number is the one that Python decodes, every text gets the tokens of Python. */
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { beforeAll, describe, expect, it } from 'vitest';
import { bytesOf } from '../../src/files/number-formats.ts';
import { openGgufModel } from '../../src/import/gguf/model.ts';
import { decodeNumbers } from '../decode-numbers.ts';
import { readGgufTokenizer } from '../../src/tokenizer/gguf/gguf-tokenizer.ts';
import { loadTokenizer } from '../../src/tokenizer/load.ts';
import type { Tokenizer } from '../../src/tokenizer/tokenizer.ts';
import { smollm2 } from '../smollm2.ts';

const recorded = <T>(name: string) =>
  JSON.parse(readFileSync(new URL(`../fixtures/smollm2/${name}`, import.meta.url), 'utf8')) as T;

describe('the model', () => {
  it('is described as its config.json describes it', async () => {
    await using model = await openGgufModel(smollm2());
    expect(model.config).toEqual({
      architectures: ['LlamaForCausalLM'],
      model_type: 'llama',
      vocab_size: 49_152,
      hidden_size: 576,
      intermediate_size: 1536,
      num_hidden_layers: 30,
      num_attention_heads: 9,
      num_key_value_heads: 3,
      head_dim: 64,
      max_position_embeddings: 8192,
      rope_theta: 100_000,
      rms_norm_eps: 1e-5,
      attention_bias: false,
      mlp_bias: false,
      tie_word_embeddings: true,
      bos_token_id: 1,
      eos_token_id: 2,
      pad_token_id: 2,
    });
  });

  it('has the numbers that Python decodes, bit for bit, by the names of transformers', async () => {
    const expected = recorded<Record<string, [shape: number[], sha256: string]>>('tensors.json');
    await using model = await openGgufModel(smollm2());
    const found: typeof expected = {};
    for (const { name, shape, dtype, reader } of model.tensors.values()) {
      const bytes = new Uint8Array(
        bytesOf(
          dtype,
          shape.reduce((product, size) => product * size, 1),
        ),
      );
      await reader()(bytes);
      using tensor = await decodeNumbers(dtype, bytes, shape);
      const numbers = (await tensor.data()) as Float32Array;
      found[name] = [[...shape], createHash('sha256').update(numbers).digest('hex')];
    }
    expect(Object.keys(found)).toHaveLength(272);
    expect(found).toEqual(expected);
  });
});

describe('the tokenizer', () => {
  let tokenizer: Tokenizer;
  beforeAll(async () => {
    tokenizer = await loadTokenizer(smollm2());
  });

  it('gives every text the tokens that transformers gives it', () => {
    const texts = recorded<[text: string, ids: number[]][]>('tokens.json');
    expect(texts.length).toBeGreaterThanOrEqual(500);
    const wrong = texts.filter(([text, ids]) => tokenizer.encode(text).join() !== ids.join());
    expect(wrong).toEqual([]);
  });

  it('has the special tokens of the file: padding is eos', async () => {
    expect(tokenizer).toMatchObject({ vocabSize: 49_152, eosToken: 2, padToken: 2 });
    const { config } = await readGgufTokenizer(smollm2());
    expect(config).toMatchObject({
      ...{ bos_token: '<|im_start|>', eos_token: '<|im_end|>', pad_token: '<|im_end|>', unk_token: '<|endoftext|>' },
      ...{ add_bos_token: false, add_eos_token: false },
    });
    expect(config.chat_template).toMatch(/You are a helpful AI assistant named SmolLM/);
  });
});
