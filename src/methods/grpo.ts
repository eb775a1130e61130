/** GRPO: a policy from a pretrained model, prompts, and what judges the answers. */
import { z } from 'zod';
import { type GrpoConfig, grpoConfig } from '../config/grpo.ts';
import { out, rules, stop, tokenizer } from '../config/inputs.ts';
import { Batches } from '../data/batches.ts';
import { planPpo } from '../models/memory-plan.ts';
import { Policy } from '../models/policy.ts';
import { loadModel } from '../models/registry.ts';
import type { Tokenizer } from '../tokenizer/tokenizer.ts';
import { type GrpoParts, grpo } from '../trainers/grpo.ts';
import { defaultPolicyRate } from '../trainers/schedule.ts';
import { RunningScores, scoreNormOf } from '../trainers/score-norm.ts';
import type { Method, Opened } from './method.ts';
import { countNumbers, optimizerOf } from './optimizer.ts';
import { loadPromptsAndReward, promptFiles, SAMPLES } from './prompts.ts';

const schema = z.strictObject({ ...promptFiles, out, tokenizer, stop, rules, ...grpoConfig.shape });
type Config = z.output<typeof schema>;

/** The ingredients of GRPO. */
export interface GrpoIngredients
  extends Pick<GrpoParts, 'policy' | 'reward' | 'prompts' | 'meta' | 'stop' | 'samples'> {
  /** Gives reward functions the texts, and eos and padding unless they are given. */
  tokenizer?: (Pick<Tokenizer, 'decode'> & Partial<Pick<Tokenizer, 'eosToken' | 'padToken'>>) | undefined;
  /** Ends a response. */
  eosToken?: number | undefined;
  padToken?: number | undefined;
}

export const grpoMethod = {
  summary: 'train a policy by feedback, without a critic',
  watched: ['score', 'kl', 'entropy', 'responseLength', 'eosShare'],
  schema,
  open,
  assemble,
} satisfies Method<typeof schema>;

/** `config` has the learning rate and the norm of scores that were chosen. */
function assemble<C extends GrpoConfig>(given: C, ingredients: GrpoIngredients) {
  const { policy, reward, prompts, meta, stop, samples, tokenizer } = ingredients;
  const { eosToken = tokenizer?.eosToken, padToken = tokenizer?.padToken } = ingredients;
  const { seed, lr = defaultPolicyRate(policy) } = given;
  const config = { ...given, lr, score: { ...given.score, norm: scoreNormOf(reward, given.score) } };
  const batchSize = Math.min(given.rolloutBatch, prompts.length);
  const batches = new Batches({ size: prompts.length, batchSize, seed });
  const state = {
    optimizer: optimizerOf(policy.parameters(), { ...given.optimisation, lr }),
    batches,
    runningScores: config.score.norm === 'running' ? new RunningScores() : undefined,
  };
  const parts = { ...state, policy, reward, prompts, meta, eosToken, stop, padToken, samples, tokenizer };
  return {
    config,
    steps: config.steps,
    parts: { weights: policy, ...state },
    train: (start = 0, signal?: AbortSignal) => grpo({ ...parts, signal }, config, start),
  };
}

async function open(config: Config): Promise<Opened> {
  const { device, klWeight, lora, seed } = config;
  const {
    policy: file,
    reward: opened,
    tokenizer,
    stop,
    prompts,
    meta,
    promptLength,
    rows,
    notices,
  } = await loadPromptsAndReward(config);
  const reference = klWeight > 0;
  const rolloutBatch = Math.min(config.rolloutBatch, prompts.length);
  const sizes = { ...config, ...config.sampling, rolloutBatch, promptLength, reference, critic: false };
  return {
    plan: planPpo(file.decoder, { ...sizes, reward: opened.models.map(({ decoder }) => decoder) }),
    notices,
    async start() {
      const reward = await opened.load(device);
      const policy = new Policy(await loadModel(file.path, { device }), { lora, seed, reference });
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
