/** RFT: a policy from a pretrained model, prompts, and what judges the answers, by rejection sampling. */
import * as z from 'zod';
import { chatTemplate, out, stop, tokenizer } from '../config/inputs.ts';
import { type RftConfig, rftConfig } from '../config/rft.ts';
import type { EosToken } from '../config/sampling.ts';
import { Batches } from '../data/batches.ts';
import { planPpo } from '../models/memory-plan.ts';
import { Policy } from '../models/policy.ts';
import { loadModel } from '../models/registry.ts';
import { trunksOf } from '../rewards/judge.ts';
import { loadingOf } from '../runs/model-file.ts';
import { endTokens } from '../tokenizer/tokenizer.ts';
import { type RftParts, rft } from '../trainers/rft.ts';
import { defaultPolicyRate } from '../trainers/schedule.ts';
import type { Method, Opened } from './method.ts';
import type { AnswerTokenizer } from './on-policy.ts';
import { countNumbers, optimizerOf } from './optimizer.ts';
import { loadPromptsAndReward, promptFiles, SAMPLES } from './prompts.ts';

const schema = z.strictObject({ ...promptFiles, out, tokenizer, chatTemplate, stop, ...rftConfig.shape });
type Config = z.output<typeof schema>;

/** The ingredients of rejection sampling. */
export interface RftIngredients extends Pick<RftParts, 'policy' | 'reward' | 'prompts' | 'meta' | 'stop' | 'samples'> {
  /** Gives reward functions the texts, and eos and padding unless they are given. */
  tokenizer?: AnswerTokenizer | undefined;
  /** Ends a response. */
  eosToken?: EosToken | undefined;
  padToken?: number | undefined;
}

export const rftMethod = {
  summary: 'train a policy on the best of its own responses',
  schema,
  watched: ['scoreAll', 'scoreKept', 'keptShare', 'loss', 'responseLength'],
  open,
  assemble,
} satisfies Method<typeof schema>;

/** `config` has the learning rate that was chosen. */
function assemble<C extends RftConfig>(given: C, ingredients: RftIngredients) {
  const { policy, reward, prompts, meta, stop, samples, tokenizer } = ingredients;
  const { eosToken = tokenizer && endTokens(tokenizer), padToken = tokenizer?.padToken } = ingredients;
  const config = { ...given, lr: given.lr ?? defaultPolicyRate(policy) };
  const batchSize = Math.min(given.rolloutBatch, prompts.length);
  const batches = new Batches({ size: prompts.length, batchSize, seed: given.seed });
  const state = { optimizer: optimizerOf(policy.parameters(), config), batches };
  const parts = { ...state, policy, reward, prompts, meta, eosToken, stop, padToken, samples, tokenizer };
  return {
    config,
    steps: config.steps,
    parts: { weights: policy, ...state },
    train: (start = 0, signal?: AbortSignal) => rft({ ...parts, signal }, config, start),
  };
}

async function open(config: Config): Promise<Opened> {
  const { device, lora, seed, numLayersUnfrozen } = config;
  const { policy: file, reward: opened, ...read } = await loadPromptsAndReward(config);
  const { tokenizer, stop, prompts, meta, promptLength, rows, notices } = read;
  const rolloutBatch = Math.min(config.rolloutBatch, prompts.length);
  const sizes = { ...config, ...config.sampling, rolloutBatch, promptLength, reference: false, critic: false };
  return {
    plan: planPpo(file.decoder, { ...sizes, reward: trunksOf(opened.models) }),
    notices,
    async start() {
      const { reward } = await opened.load(device);
      const model = await loadModel(file.path, loadingOf(file, tokenizer, device));
      const policy = new Policy(model, { lora, seed, numLayersUnfrozen });
      return {
        ...assemble(config, { policy, reward, prompts, meta, stop, samples: SAMPLES, tokenizer }),
        tokenizer,
        inputs: { data: config.data, ...opened.inputs, model: file.path },
        rows,
        sizes: { 'trainable parameters': countNumbers(policy.parameters()), prompts: prompts.length },
      };
    },
  };
}
