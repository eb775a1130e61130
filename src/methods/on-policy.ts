/** Assembles and opens training runs of methods that learn from the scores of their own answers. */
import type { CriticFreeConfig } from '../config/critic-free.ts';
import { chatTemplate, out, rules, stop, tokenizer } from '../config/inputs.ts';
import type { PpoConfig } from '../config/ppo.ts';
import type { EosToken } from '../config/sampling.ts';
import { Batches } from '../data/batches.ts';
import type { DecoderDescription, LanguageModel } from '../models/language-model.ts';
import type { MemoryPlan } from '../models/memory-items.ts';
import { planPpo } from '../models/memory-plan.ts';
import { Policy, type PolicyOptions } from '../models/policy.ts';
import { loadModel } from '../models/registry.ts';
import { trunksOf } from '../rewards/judge.ts';
import { loadingOf } from '../runs/model-file.ts';
import { endTokens, type Tokenizer } from '../tokenizer/tokenizer.ts';
import type { PolicyParts } from '../trainers/critic-free.ts';
import type { OnPolicyParts } from '../trainers/on-policy.ts';
import { defaultPolicyRate } from '../trainers/schedule.ts';
import { needsRunningScores, RunningScores, scoreNormOf } from '../trainers/score-norm.ts';
import type { Assembled, Opened, RunConfig } from './method.ts';
import { countNumbers, optimizerOf } from './optimizer.ts';
import { loadPromptsAndReward, promptFiles, SAMPLES } from './prompts.ts';

/** What is used of a tokenizer for answers. */
export type AnswerTokenizer = Pick<Tokenizer, 'decode' | 'stopTokens'> &
  Partial<Pick<Tokenizer, 'eosToken' | 'padToken'>>;

/** What such a method learns from, besides the policy. */
export interface OnPolicyIngredients
  extends Pick<OnPolicyParts, 'reward' | 'heldOut' | 'prompts' | 'meta' | 'stop' | 'samples'> {
  /** Decodes texts for reward functions; also the default source of `eosToken` and `padToken`. */
  tokenizer?: AnswerTokenizer | undefined;
  /** Token that ends a response. */
  eosToken?: EosToken | undefined;
  padToken?: number | undefined;
}

/** The ingredients of a method without a critic. */
export interface PolicyIngredients<Who extends Policy = Policy> extends OnPolicyIngredients {
  policy: Who;
}

/** The metrics to watch while such a method runs. */
export const WATCHED = ['score', 'kl', 'entropy', 'responseLength', 'eosShare'];

/** The fields of the command of such a method that are not settings. */
export const onPolicyFiles = { ...promptFiles, out, tokenizer, chatTemplate, stop, rules };

/** The settings that are used here. */
type OnPolicyConfig = Pick<PpoConfig, 'seed' | 'lr' | 'rolloutBatch' | 'optimisation' | 'score' | 'steps'>;

/**
 * What is the same in the runs of all such methods: the configuration with the learning rate and the score norm filled in, the
 * `state` that changes from step to step, and the parts of the trainer, apart from the policy. `learner` is what is trained.
 */
export function assembleOnPolicy<C extends OnPolicyConfig>(
  given: C,
  learner: Policy,
  { reward, heldOut, prompts, meta, stop, samples, tokenizer, ...tokens }: OnPolicyIngredients,
) {
  const { eosToken = tokenizer && endTokens(tokenizer), padToken = tokenizer?.padToken } = tokens;
  const { seed, lr = defaultPolicyRate(learner) } = given;
  const config = { ...given, lr, score: { ...given.score, norm: scoreNormOf(reward, given.score) } };
  const batchSize = Math.min(given.rolloutBatch, prompts.length);
  const state = {
    batches: new Batches({ size: prompts.length, batchSize, seed }),
    runningScores: needsRunningScores(reward, config.score) ? new RunningScores() : undefined,
    optimizer: optimizerOf(learner.parameters(), { ...given.optimisation, lr }),
  };
  return {
    config,
    state,
    parts: { ...state, reward, heldOut, prompts, meta, eosToken, stop, padToken, samples, tokenizer },
  };
}

/** A run of a method without a critic; `train` is its trainer. `config` is filled in as by `assembleOnPolicy`. */
export function assemblePolicy<C extends OnPolicyConfig, Step extends { readonly step: number }, Who extends Policy>(
  given: C,
  { policy, ...ingredients }: PolicyIngredients<Who>,
  train: (parts: PolicyParts & { policy: Who }, config: C, start: number) => AsyncGenerator<Step>,
) {
  const { config, state, parts } = assembleOnPolicy(given, policy, ingredients);
  return {
    config,
    steps: config.steps,
    parts: { weights: policy, ...state },
    train: (start = 0, signal?: AbortSignal) => train({ ...parts, policy, signal }, config, start),
  };
}

/** The settings and files that are used to open such a run. */
type CommandConfig = Omit<CriticFreeConfig, 'approxKlStop'> & Parameters<typeof loadPromptsAndReward>[0] & RunConfig;

/** How the policy of a method is made, and what it needs in memory beyond others. */
interface Learner<Who extends Policy> {
  create(model: LanguageModel, options: Pick<PolicyOptions, 'lora' | 'seed' | 'reference' | 'numLayersUnfrozen'>): Who;
  planned(plan: MemoryPlan, decoder: DecoderDescription): MemoryPlan;
}

const PLAIN: Learner<Policy> = { create: (model, options) => new Policy(model, options), planned: (plan) => plan };

/** Opens a run of a method without a critic, with a reference policy if the method `refers` to one or a guard does. */
export async function openPolicy<C extends CommandConfig>(
  config: C,
  refers: boolean,
  assemble: (config: C, ingredients: PolicyIngredients) => Assembled & { config: C },
): Promise<Opened> {
  return await openLearner(config, refers, assemble, PLAIN);
}

/** The same for a policy that `create` makes. */
export async function openLearner<C extends CommandConfig, Who extends Policy>(
  config: C,
  refers: boolean,
  assemble: (config: C, ingredients: PolicyIngredients<Who>) => Assembled & { config: C },
  { create, planned }: Learner<Who>,
): Promise<Opened> {
  const { device, lora, seed } = config;
  const { numLayersUnfrozen } = config.optimisation;
  const reference = refers || config.evaluation.guard?.kl !== undefined;
  const { policy: file, reward: opened, ...loaded } = await loadPromptsAndReward(config);
  const { tokenizer, stop, prompts, meta, promptLength, rows, notices } = loaded;
  const rolloutBatch = Math.min(config.rolloutBatch, prompts.length);
  const sizes = {
    ...config,
    ...config.sampling,
    rolloutBatch,
    promptLength,
    reference,
    numLayersUnfrozen,
    critic: false,
  };
  return {
    plan: planned(planPpo(file.decoder, { ...sizes, reward: trunksOf(opened.models) }), file.decoder),
    notices,
    async start() {
      const { reward, heldOut } = await opened.load(device);
      const model = await loadModel(file.path, loadingOf(file, tokenizer, device));
      const policy = create(model, { lora, seed, reference, numLayersUnfrozen });
      return {
        ...assemble(config, { policy, reward, heldOut, prompts, meta, stop, samples: SAMPLES, tokenizer }),
        tokenizer,
        inputs: { data: config.data, ...opened.inputs, model: file.path },
        rows,
        sizes: { 'trainable parameters': countNumbers(policy.parameters()), prompts: prompts.length },
      };
    },
  };
}
