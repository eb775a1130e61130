/** What a plan says of models with sequential blocks is what the allocator measured, within 15 %. */
import { describe, it } from 'vitest';
import { ppoConfig } from '../../src/config/ppo.ts';
import { pretrainConfig } from '../../src/config/pretrain.ts';
import { parseConfig } from '../../src/config/schema.ts';
import { Batches } from '../../src/data/batches.ts';
import { Windows } from '../../src/data/text.ts';
import { gpt2 } from '../../src/families/gpt2.ts';
import { familyOf, type HfFamily } from '../../src/families/hugging-face.ts';
import { llama } from '../../src/families/llama.ts';
import { qwen3 } from '../../src/families/qwen3.ts';
import { ActorCritic } from '../../src/models/actor-critic.ts';
import { LanguageModel } from '../../src/models/language-model.ts';
import { planPpo, planPretraining } from '../../src/models/memory-plan.ts';
import type { Trained } from '../../src/models/trained.ts';
import { addon } from '../../src/native/addon.ts';
import { handleOf } from '../../src/native/resource.ts';
import { AdamW } from '../../src/optim.ts';
import { ppo } from '../../src/trainers/ppo.ts';
import { pretrain } from '../../src/trainers/pretrain.ts';
import { drain, expectNear, peakOf } from './peak.ts';

const VOCABULARY = 260;
const LLAMA = {
  ...{ model_type: 'llama', vocab_size: VOCABULARY, hidden_size: 256, intermediate_size: 640, num_hidden_layers: 3 },
  ...{ num_attention_heads: 8, num_key_value_heads: 2, tie_word_embeddings: true },
};
const MODELS = {
  llama: familyWith(llama, LLAMA),
  untied: familyWith(llama, { ...LLAMA, vocab_size: 8 * VOCABULARY, tie_word_embeddings: false }),
  qwen3: familyWith(qwen3, { ...LLAMA, model_type: 'qwen3', head_dim: 32 }),
  gpt2: familyWith(gpt2, { model_type: 'gpt2', vocab_size: VOCABULARY, n_embd: 256, n_layer: 3, n_head: 8 }),
};
interface Options {
  dtype?: 'float32' | 'bfloat16';
  recompute?: 'none' | 'selective' | 'full';
}

function familyWith(table: HfFamily, config: { model_type: string; [key: string]: unknown }) {
  const family = familyOf(table, config.model_type);
  return { family, configured: (options: Options) => family.resolve({ text: JSON.stringify(config), ...options }) };
}

/** Such a model with random weights. */
async function create(name: keyof typeof MODELS, options: Options): Promise<LanguageModel> {
  const { family, configured } = MODELS[name];
  const model = LanguageModel.of(family, configured(options), []);
  await addon().modelInitialise(handleOf(model), 1);
  return model;
}

const EVERY = ['llama', 'qwen3', 'gpt2'].flatMap((name) =>
  [
    { dtype: 'float32', recompute: 'selective' },
    { dtype: 'bfloat16', recompute: 'none' },
    { dtype: 'bfloat16', recompute: 'full' },
  ].map((options) => ({ name, ...options }) as Options & { name: keyof typeof MODELS }),
);

describe('the plan of a model with sequential blocks matches the memory used', () => {
  const run = { batchSize: 4, length: 256 };

  it.each(EVERY)('pretraining of $name, $dtype, recompute $recompute', async ({ name, ...options }) => {
    const measured = await peakOf(async () => {
      using model = await create(name, options);
      using optimizer = new AdamW(model.parameters());
      const tokens = Int32Array.from({ length: run.length * run.batchSize * 2 + 1 }, (_, i) => (i * i) % VOCABULARY);
      const text = new Windows(tokens, run.length);
      const batches = new Batches({ size: text.size, batchSize: run.batchSize, seed: 0 });
      const config = parseConfig(pretrainConfig, { steps: 1, batchSize: run.batchSize }, 'test');
      await drain(pretrain({ model, optimizer, text, batches }, config));
    });
    using model = await create(name, options);
    expectNear(planPretraining(model.decoder, run), measured);
  });

  /** Compares the plan of PPO with what it needs. */
  async function expectPlanned(name: keyof typeof MODELS, options: Options, trained: Trained): Promise<void> {
    const { lora, numLayersUnfrozen } = trained;
    const prompts = Array.from({ length: 8 }, (_, i) => Array(32).fill(i));
    const sampling = { samplesPerPrompt: 2, maxNewTokens: 96 };
    const shape = { rolloutBatch: 8, minibatchSize: 8 };
    const config = { ...shape, sampling, steps: 1, epochs: 1, critic: { warmup: 0 }, lora };
    const parsed = parseConfig(ppoConfig, config, 'test');
    const measured = await peakOf(async () => {
      using model = await create(name, options);
      using actorCritic = new ActorCritic(model, { lora, numLayersUnfrozen, reference: true });
      using optimizer = new AdamW(actorCritic.parameters());
      const batches = new Batches({ size: prompts.length, batchSize: 8, seed: 0 });
      await drain(ppo({ actorCritic, optimizer, prompts, batches, reward: () => Array(16).fill(1) }, parsed));
    });
    using model = await create(name, options);
    const planned = { ...shape, ...sampling, ...trained, promptLength: 32, reference: true };
    expectNear(planPpo(model.decoder, planned), measured);
  }

  const one = EVERY.filter((_, i) => i % 4 === 0); // each model, each precision, each level
  it.each(one)('PPO of $name with adapters, $dtype, recompute $recompute', async ({ name, ...options }) => {
    await expectPlanned(name, options, { lora: 8 });
  });

  it.each(['llama', 'untied'] as const)('PPO of %s with the top layer trained', async (name) => {
    await expectPlanned(name, { dtype: 'float32', recompute: 'selective' }, { lora: false, numLayersUnfrozen: 1 });
  });
});
