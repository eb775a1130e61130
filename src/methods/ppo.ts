/** PPO: trains a policy from a pretrained model, prompts and a reward. */
import { z } from 'zod';
import { out, rules, stop, tokenizer } from '../config/inputs.ts';
import { type PpoConfig, ppoBefore, ppoConfig } from '../config/ppo.ts';
import { Batches } from '../data/batches.ts';
import { ActorCritic } from '../models/actor-critic.ts';
import type { LanguageModel } from '../models/language-model.ts';
import { planPpo } from '../models/memory-plan.ts';
import { loadModel } from '../models/registry.ts';
import type { Tokenizer } from '../tokenizer/tokenizer.ts';
import { type PpoParts, ppo } from '../trainers/ppo.ts';
import { AdaptiveKl, defaultPolicyRate } from '../trainers/schedule.ts';
import { RunningScores, scoreNormOf } from '../trainers/score-norm.ts';
import type { Method, Opened } from './method.ts';
import { warning } from './notices.ts';
import { countNumbers, optimizerOf } from './optimizer.ts';
import { loadPromptsAndReward, promptFiles, SAMPLES } from './prompts.ts';

const schema = z.strictObject({
  ...promptFiles,
  out,
  tokenizer,
  stop,
  rules,
  ...ppoConfig.shape,
});
type Config = z.output<typeof schema>;

/** The ingredients of PPO. */
export interface PpoIngredients
  extends Pick<PpoParts, 'actorCritic' | 'reward' | 'prompts' | 'meta' | 'stop' | 'samples'> {
  /** Decodes texts for reward functions; also the default source of `eosToken` and `padToken`. */
  tokenizer?: (Pick<Tokenizer, 'decode'> & Partial<Pick<Tokenizer, 'eosToken' | 'padToken'>>) | undefined;
  /** Token that ends a response. */
  eosToken?: number | undefined;
  padToken?: number | undefined;
}

export const ppoMethod = {
  summary: 'train a policy with PPO and a reward model',
  watched: ['score', 'kl', 'entropy', 'responseLength', 'eosShare'],
  schema,
  before: (saved) => ({ rules: 'v1', ...ppoBefore(saved) }),
  open,
  assemble,
} satisfies Method<typeof schema>;

/** Policy and critic over `model`, with a reference policy if the KL penalty has a weight. */
export function actorCriticOf(model: LanguageModel, { lora, seed, klWeight }: PpoConfig): ActorCritic {
  return new ActorCritic(model, { lora, seed, reference: klWeight > 0 });
}

/** The controller of the KL penalty's weight, if configured. @throws ArgumentError for a weight of 0, which would stay 0. */
export function adaptiveKlOf({ klWeight, adaptiveKl }: PpoConfig): AdaptiveKl | undefined {
  return adaptiveKl && new AdaptiveKl(klWeight, adaptiveKl);
}

/**
 * The returned `config` has the learning rate and the score norm filled in. `train` ends after `steps`, which defaults to
 * `config.steps`.
 */
function assemble<C extends PpoConfig>(given: C, ingredients: PpoIngredients) {
  const { actorCritic, reward, prompts, meta, stop, samples, tokenizer } = ingredients;
  const { eosToken = tokenizer?.eosToken, padToken = tokenizer?.padToken } = ingredients;
  const { seed, lr = defaultPolicyRate(actorCritic) } = given;
  const config = { ...given, lr, score: { ...given.score, norm: scoreNormOf(reward, given.score) } };
  const batchSize = Math.min(given.rolloutBatch, prompts.length);
  const state = {
    batches: new Batches({ size: prompts.length, batchSize, seed }),
    adaptiveKl: adaptiveKlOf(given),
    runningScores: config.score.norm === 'running' ? new RunningScores() : undefined,
    optimizer: optimizerOf(actorCritic.parameters(), { ...given.optimisation, lr }),
  };
  const parts = { ...state, actorCritic, reward, prompts, meta, eosToken, stop, padToken, samples, tokenizer };
  return {
    config,
    steps: config.steps,
    parts: { weights: actorCritic, ...state },
    train: (start = 0, signal?: AbortSignal, steps = config.steps) =>
      ppo({ ...parts, signal }, { ...config, steps }, start),
  };
}

async function open(config: Config): Promise<Opened> {
  adaptiveKlOf(config); // reports a bad configuration before anything is created
  const { device, klWeight, steps, critic } = config;
  const { reward: opened, ...loaded } = await loadPromptsAndReward(config);
  const { policy, tokenizer, stop, prompts, meta, promptLength, rows, notices } = loaded;
  const rolloutBatch = Math.min(config.rolloutBatch, prompts.length);
  const sizes = { ...config, ...config.sampling, rolloutBatch, promptLength, reference: klWeight > 0, critic: true };
  const idle = steps > critic.warmup ? [] : [warning(onlyCriticTrains(critic.warmup, steps))];
  return {
    plan: planPpo(policy.decoder, { ...sizes, reward: opened.models.map(({ decoder }) => decoder) }),
    notices: [...idle, ...notices],
    async start() {
      const reward = await opened.load(device);
      const actorCritic = actorCriticOf(await loadModel(policy.path, { device }), config);
      // A policy of 0.1.0 could sample the padding token.
      const answering = config.rules === 'v1' ? { ...tokenizer, padToken: undefined } : tokenizer;
      const assembled = assemble(config, {
        actorCritic,
        reward,
        prompts,
        meta,
        stop,
        samples: SAMPLES,
        tokenizer: answering,
      });
      return {
        ...assembled,
        tokenizer,
        inputs: { data: config.data, ...opened.inputs, model: policy.path },
        rows,
        sizes: { 'trainable parameters': countNumbers(actorCritic.parameters()), prompts: prompts.length },
      };
    },
  };
}

function onlyCriticTrains(warmup: number, steps: number): string {
  return `critic.warmup (${warmup}) covers all ${steps} steps: only the critic is trained, never the policy`;
}
