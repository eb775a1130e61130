/** PPO: trains a policy from a pretrained model, prompts and a reward. */
import * as z from 'zod';
import { file } from '../config/fields.ts';
import { type PpoConfig, ppoBefore, ppoConfig } from '../config/ppo.ts';
import { Batches } from '../data/batches.ts';
import { loadText, type Sequences, Windows } from '../data/text.ts';
import { ConfigError } from '../errors.ts';
import { ActorCritic } from '../models/actor-critic.ts';
import { AveragedPolicy } from '../models/averaged-policy.ts';
import type { LanguageModel } from '../models/language-model.ts';
import { planPpo } from '../models/memory-plan.ts';
import { withExtras } from '../models/ppo-extras-plan.ts';
import { loadModel } from '../models/registry.ts';
import { trunksOf } from '../rewards/judge.ts';
import { loadingOf } from '../runs/model-file.ts';
import type { Tokenizer } from '../tokenizer/tokenizer.ts';
import { ppo } from '../trainers/ppo.ts';
import { AdaptiveKl } from '../trainers/schedule.ts';
import type { Method, Opened } from './method.ts';
import { warning } from './notices.ts';
import { assembleOnPolicy, type OnPolicyIngredients, onPolicyFiles, WATCHED } from './on-policy.ts';
import { countNumbers } from './optimizer.ts';
import { loadPromptsAndReward, SAMPLES } from './prompts.ts';

const schema = z.strictObject({
  ...onPolicyFiles,
  pretrainingText: file.optional().describe('text that each update also learns to predict, with loss.pretraining'),
  ...ppoConfig.shape,
});
type Config = z.output<typeof schema>;

/** The ingredients of PPO. */
export interface PpoIngredients extends OnPolicyIngredients {
  actorCritic: ActorCritic;
  /** Text to mix in, for `loss.pretraining`. */
  text?: Sequences | undefined;
}

export const ppoMethod = {
  summary: 'train a policy with PPO and a reward model',
  watched: WATCHED,
  schema,
  before: (saved) => ({ rules: 'v1', ...ppoBefore(saved) }),
  open,
  assemble,
} satisfies Method<typeof schema>;

/** Policy and critic over `model`, with a reference policy if the configuration needs one. */
export function actorCriticOf(model: LanguageModel, config: PpoConfig): ActorCritic {
  const { lora, seed } = config;
  const { histogram } = config.critic;
  const { numLayersUnfrozen } = config.optimisation;
  return new ActorCritic(model, { lora, seed, reference: needsReference(config), numLayersUnfrozen, histogram });
}

/** Whether the KL penalty has a weight, or a guard a limit of the KL. */
function needsReference({ klWeight, evaluation }: PpoConfig): boolean {
  return klWeight > 0 || evaluation.guard?.kl !== undefined;
}

/** The controller of the KL penalty's weight, if configured. @throws ArgumentError for a weight of 0, which would stay 0. */
export function adaptiveKlOf({ klWeight, adaptiveKl }: PpoConfig): AdaptiveKl | undefined {
  return adaptiveKl && new AdaptiveKl(klWeight, adaptiveKl);
}

/**
 * The returned `config` has the learning rate and the score norm filled in. `train` ends after `steps`, which defaults to
 * `config.steps`.
 */
function assemble<C extends PpoConfig>(given: C, { actorCritic, text, ...ingredients }: PpoIngredients) {
  const { config, state: shared, parts } = assembleOnPolicy(given, actorCritic, ingredients);
  const adaptiveKl = adaptiveKlOf(given);
  const pretraining = text && pretrainingOf(text, given);
  const average = given.optimisation.ema === undefined ? undefined : new AveragedPolicy(actorCritic);
  // With an average, that is the result, and the policy itself is only needed to go on.
  const weights = average ? { weights: average, policy: actorCritic } : { weights: actorCritic };
  return {
    config,
    steps: config.steps,
    parts: { ...weights, ...shared, adaptiveKl, textBatches: pretraining?.batches },
    train: (start = 0, signal?: AbortSignal, steps = config.steps) =>
      ppo({ ...parts, actorCritic, adaptiveKl, pretraining, average, signal }, { ...config, steps }, start),
  };
}

/** Text with the batches that are learned from it. */
function pretrainingOf(text: Sequences, { loss: { pretraining }, seed }: PpoConfig) {
  const batchSize = Math.min(pretraining?.batchSize ?? 1, text.size);
  return { text, batches: new Batches({ size: text.size, batchSize, seed }) };
}

/** Sizes of what the run has beyond plain PPO. */
function extrasOf({ lora, minibatchSize, optimisation, loss: { pretraining } }: PpoConfig) {
  const text = pretraining && {
    rows: Math.min(pretraining.batchSize, minibatchSize),
    length: pretraining.sequenceLength,
  };
  const { ema, numLayersUnfrozen } = optimisation;
  return { lora, numLayersUnfrozen, average: ema !== undefined, text };
}

/** Reads the text to mix in. @throws ConfigError for text or settings alone. */
async function loadPretraining(
  { pretrainingText, loss: { pretraining } }: Config,
  tokenizer: Tokenizer,
): Promise<Sequences | undefined> {
  if (pretrainingText === undefined && pretraining === undefined) return undefined;
  if (pretrainingText === undefined || pretraining === undefined)
    throw new ConfigError({
      argument: pretraining === undefined ? 'ppo.loss.pretraining' : 'ppo.pretrainingText',
      received: 'nothing',
      expected: 'both a text and its settings',
      fix: 'Pass --pretrainingText FILE and, for example, --loss.pretraining.weight 27.8.',
    });
  const tokens = await loadText(pretrainingText, tokenizer);
  return new Windows(tokens, pretraining.sequenceLength, pretrainingText);
}

async function open(config: Config): Promise<Opened> {
  adaptiveKlOf(config); // reports a bad configuration before anything is created
  const { device, steps, critic } = config;
  const { reward: opened, ...loaded } = await loadPromptsAndReward(config);
  const { policy, tokenizer, stop, prompts, meta, promptLength, rows, notices } = loaded;
  const text = await loadPretraining(config, tokenizer);
  const rolloutBatch = Math.min(config.rolloutBatch, prompts.length);
  const sizes = {
    ...config,
    ...config.sampling,
    rolloutBatch,
    promptLength,
    reference: needsReference(config),
    numLayersUnfrozen: config.optimisation.numLayersUnfrozen,
    critic: true,
  };
  const idle = steps > critic.warmup ? [] : [warning(onlyCriticTrains(critic.warmup, steps))];
  return {
    plan: withExtras(
      planPpo(policy.decoder, { ...sizes, reward: trunksOf(opened.models) }),
      policy.decoder,
      extrasOf(config),
    ),
    notices: [...idle, ...notices],
    async start() {
      const { reward, heldOut } = await opened.load(device);
      const actorCritic = actorCriticOf(await loadModel(policy.path, loadingOf(policy, tokenizer, device)), config);
      // A policy of 0.1.0 could sample the padding token.
      const answering = config.rules === 'v1' ? { ...tokenizer, padToken: undefined } : tokenizer;
      const found = { prompts, meta, stop, samples: SAMPLES, tokenizer: answering };
      const assembled = assemble(config, { actorCritic, reward, heldOut, text, ...found });
      return {
        ...assembled,
        tokenizer,
        inputs: { data: config.data, ...opened.inputs, model: policy.path, pretrainingText: config.pretrainingText },
        rows,
        sizes: { 'trainable parameters': countNumbers(actorCritic.parameters()), prompts: prompts.length },
      };
    },
  };
}

function onlyCriticTrains(warmup: number, steps: number): string {
  return `critic.warmup (${warmup}) covers all ${steps} steps: only the critic is trained, never the policy`;
}
