/** Loads prompts and finds what answers them and scores the answers, for methods that learn from scores. */
import { path, paths } from '../config/fields.ts';
import type { EvaluationConfig } from '../config/evaluation.ts';
import { loadedDtype, MODEL, reading } from '../config/inputs.ts';
import { type RewardSource, rewardSource } from '../config/reward-source.ts';
import type { PpoConfig } from '../config/ppo.ts';
import { loadPrompts } from '../data/prompts.ts';
import { ArgumentError } from '../errors.ts';
import { type LoadedDtype, MODEL_KINDS } from '../models/registry.ts';
import { type AnyRewardSource, openReward } from '../rewards/open.ts';
import { findModelOf, type ModelFile, textOf, withoutNote } from '../runs/model-file.ts';
import { stopSequences } from '../tokenizer/stop-sequences.ts';
import { formOptions } from '../data/forms/read.ts';
import type { Paths } from '../data/records.ts';
import { cutRows, skippedRows, warning } from './notices.ts';

/** Number of answers that a run shows of an iteration. */
export const SAMPLES = 4;

/** The fields that name the files. */
export const promptFiles = {
  model: path.describe(`model to train: ${MODEL}`),
  dtype: loadedDtype,
  reward: rewardSource,
  data: paths.describe('files with {prompt}, or any form, whose prompts are used; repeatable'),
  ...reading,
};

/** The fields of a configuration that are used here. */
type PromptConfig = Pick<PpoConfig, 'maxPromptLength'> & {
  evaluation: EvaluationConfig;
  /** The held-out reward that a program gives, in place of the one that `evaluation` names. */
  heldOut?: AnyRewardSource | undefined;
  score: Pick<PpoConfig['score'], 'timeout' | 'combine' | 'disagreement'>;
  model: string;
  dtype?: LoadedDtype | undefined;
  reward: RewardSource;
  data: Paths;
  form?: string | undefined;
  map?: string | undefined;
  tokenizer?: string | undefined;
  chatTemplate?: string | undefined;
  stop?: string | undefined;
};

/** Finds the models and the reward of `config`, without loading models, and reads its prompts. @throws FileError, DataError, ArgumentError */
export async function loadPromptsAndReward(config: PromptConfig) {
  const policy = await findModelOf(config.model, MODEL_KINDS, config);
  const reward = await openRewards(config);
  for (const judge of reward.models) checkVocabularies(policy, judge);
  const tokenizer = await textOf(config, policy, ...reward.models);
  const stop = stopSequences(config.stop, tokenizer);
  const { maxPromptLength } = config;
  const found = await loadPrompts(
    config.data,
    tokenizer,
    { maxPromptLength },
    { ...formOptions(config), chat: tokenizer.chat },
  );
  const { prompts, meta, skipped, cut } = found;
  return {
    policy,
    reward,
    tokenizer,
    stop,
    prompts,
    meta,
    /** Tokens of the longest prompt. */
    promptLength: prompts.reduce((max, { length }) => Math.max(max, length), 0),
    rows: { prompts: prompts.length, skipped: skipped.length, promptsCut: cut },
    notices: [
      ...withoutNote(config.tokenizer, policy, ...reward.models).map(warning),
      ...skippedRows(skipped),
      ...cutRows({ prompts: cut }, prompts.length),
    ],
  };
}

/** What scores the answers, and the held-out reward of a guard, if there is one. */
async function openRewards({ reward: source, score, evaluation, heldOut: given }: PromptConfig) {
  const reward = await openReward(source, score);
  const from = given ?? evaluation.guard?.reward;
  const heldOut = from === undefined ? undefined : await openReward(from, { timeout: score.timeout });
  const noted = Object.values(heldOut?.inputs ?? {}).map((file) => ['evaluation.guard.reward', file]);
  return {
    models: [...reward.models, ...(heldOut?.models ?? [])],
    inputs: { ...reward.inputs, ...(Object.fromEntries(noted) as Record<string, string>) },
    load: async (device: string) => ({ reward: await reward.load(device), heldOut: await heldOut?.load(device) }),
  };
}

/** @throws ArgumentError if the policy can sample tokens that the reward model does not have. */
function checkVocabularies({ decoder: policy }: ModelFile, { decoder: judge }: ModelFile): void {
  if (judge.numTokens >= policy.numTokens) return;
  throw new ArgumentError({
    argument: '--reward',
    received: `a model with ${judge.numTokens} tokens`,
    expected: `at least the policy's ${policy.numTokens}`,
    fix: 'Train both models with the same tokenizer.',
  });
}
