/** What methods without a critic are tested with: a model of milliseconds, and a reward that likes one token. */
import type { z } from 'zod';
import { flowrlConfig } from '../src/config/flowrl.ts';
import { grpoConfig } from '../src/config/grpo.ts';
import { reinforceConfig } from '../src/config/reinforce.ts';
import { remaxConfig } from '../src/config/remax.ts';
import { onlineDpoConfig } from '../src/config/online-dpo.ts';
import { rlooConfig } from '../src/config/rloo.ts';
import { targetPolicyConfig } from '../src/config/target-policy.ts';
import { parseConfig } from '../src/config/schema.ts';
import type { Sequences } from '../src/data/text.ts';
import type { Method } from '../src/methods/method.ts';
import type { PolicyIngredients } from '../src/methods/on-policy.ts';
import { methods } from '../src/methods.ts';
import { FlowrlPolicy } from '../src/models/flowrl-policy.ts';
import type { LanguageModel } from '../src/models/language-model.ts';
import { PaLM } from '../src/models/palm.ts';
import { Policy, type PolicyOptions } from '../src/models/policy.ts';
import type { Reward } from '../src/trainers/rollouts.ts';
import { ROLLOUT_READS, type Sizes } from './contracts/trainer.ts';
import { device } from './device.ts';

export const EOS = 1;
export const PROMPTS = [[2, 3], [4], [5, 6, 7], [8, 9], [10], [11, 12]];
/** Likes the token 5. */
export const fives: Reward = (answers) => answers.map(({ response }) => response.filter((token) => token === 5).length);

/** Scores that hardly any two answers share. */
export const sums: Reward = (answers) => answers.map(({ response }) => response.reduce((sum, token) => sum + token, 0));

/** 30 rows of a text that counts upwards. */
export const smallText: Sequences = {
  size: 30,
  rows(places) {
    const tokens = places.flatMap((place) => Array.from({ length: 8 }, (_, t) => 2 + ((place + t) % 12)));
    return { tokens: Int32Array.from(tokens), shape: [places.length, 8] };
  },
};

export function smallModel(): PaLM {
  return new PaLM({ numTokens: 16, dim: 16, depth: 1, heads: 2, dimHead: 8, seed: 3, device });
}

/** The settings of the methods without a critic. */
const SETTINGS = {
  grpo: grpoConfig,
  rloo: rlooConfig,
  'online-dpo': onlineDpoConfig,
  reinforce: reinforceConfig,
  remax: remaxConfig,
  'target-policy': targetPolicyConfig,
  flowrl: flowrlConfig,
};
export type CriticFree = keyof typeof SETTINGS;

/** Quick settings of `name`, with `options` in their place. */
export function configOf<Name extends CriticFree>(name: Name, options: object): z.output<(typeof SETTINGS)[Name]> {
  const quick = { epochs: 2, lr: 1e-2, lora: 4, warmupSteps: 0 };
  const sampling = { maxNewTokens: 6, samplesPerPrompt: 2 };
  return parseConfig(SETTINGS[name], { ...quick, sampling, ...options }, 'test') as z.output<(typeof SETTINGS)[Name]>;
}

type Learner<Name extends CriticFree> = Name extends 'flowrl' ? FlowrlPolicy : Policy;

/** A policy that `name` trains, with a reference. */
export function policyOf<Name extends CriticFree>(
  name: Name,
  model: LanguageModel,
  options: Pick<PolicyOptions, 'lora' | 'seed'>,
): Learner<Name> {
  const policy =
    name === 'flowrl' ? new FlowrlPolicy(model, options) : new Policy(model, { ...options, reference: true });
  return policy as Learner<Name>;
}

/** What the contract of a trainer needs to know of `name`: two responses to each prompt make the rows. */
export function policySubject<Name extends CriticFree>(name: Name, always: object = {}) {
  return {
    config({ rows, steps, batchSize: minibatchSize, accumulate }: Sizes, settings: object) {
      const rolloutBatch = Math.max(1, Math.ceil(rows / 2));
      const sizes = { steps, rolloutBatch, minibatchSize: Math.max(2, minibatchSize), accumulate };
      return configOf(name, { ...sizes, ...always, ...settings });
    },
    ingredients(
      { lora, seed }: { lora: number | false; seed: number },
      rows: number,
    ): PolicyIngredients<Learner<Name>> {
      const prompts = Array.from({ length: Math.ceil(rows / 2) }, (_, i) => PROMPTS[i % PROMPTS.length] as number[]);
      const policy = policyOf(name, smallModel(), { lora, seed });
      return { policy, reward: sums, prompts, eosToken: EOS };
    },
    otherReads: ROLLOUT_READS,
    takesSignal: true,
  };
}

/** The steps of a short run. */
export async function stepsOf(name: CriticFree, options: object, reward: Reward = fives): Promise<Step[]> {
  const config = configOf(name, { steps: 6, rolloutBatch: 6, minibatchSize: 12, ...options });
  const policy = policyOf(name, smallModel(), { lora: config.lora });
  const { assemble }: Method = methods[name];
  const ingredients: PolicyIngredients = { policy, reward, prompts: PROMPTS, eosToken: EOS };
  const { parts, train } = assemble(config as never, ingredients as never);
  using _policy = policy;
  using _optimizer = parts.optimizer as Disposable & typeof parts.optimizer;
  const steps: Step[] = [];
  for await (const step of train()) steps.push(step as object as Step);
  return steps;
}

/** A step of any of these methods. */
export interface Step extends Record<string, unknown> {
  step: number;
  score: number;
  gradNorm: number;
}

/** The mean score of some steps. */
export function scoreOf(steps: readonly Step[]): number {
  return steps.reduce((sum, { score }) => sum + score, 0) / steps.length;
}
