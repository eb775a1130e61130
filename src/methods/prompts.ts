/** Prompts, the model that answers them and the one that scores the answers, for the methods that learn from that. */
import { path } from '../config/fields.ts';
import type { PpoConfig } from '../config/ppo.ts';
import { loadPrompts } from '../data/prompts.ts';
import { ArgumentError } from '../errors.ts';
import { MODEL_KINDS } from '../models/registry.ts';
import { findModelOf, type ModelFile, tokenizerOf, withoutNote } from '../runs/model-file.ts';
import { stopSequences } from '../tokenizer/stop-sequences.ts';
import { cutRows, skippedRows, warning } from './notices.ts';

/** Fields that name the files. */
export const promptFiles = {
  model: path.describe('the model to train: the folder of its run, or its file'),
  reward: path.describe('the reward model: the folder of its run, or its file'),
  data: path.describe('.jsonl with {prompt}, or with preferences, whose prompts are used'),
};

/** What is read of a configuration. */
type PromptConfig = Pick<PpoConfig, 'maxPromptLength'> & {
  model: string;
  reward: string;
  data: string;
  tokenizer?: string | undefined;
  stop?: string | undefined;
};

/** Finds the models of `config`, which are not made yet, and reads its prompts. @throws FileError, DataError, ArgumentError */
export async function loadPromptsAndJudge(config: PromptConfig) {
  const policy = await findModelOf(config.model, MODEL_KINDS);
  const judge = await findModelOf(config.reward, ['RewardModel']);
  checkVocabularies(policy, judge);
  const tokenizer = await tokenizerOf(config.tokenizer, policy, judge);
  const stop = stopSequences(config.stop, tokenizer);
  const { maxPromptLength } = config;
  const { prompts, skipped, cut } = await loadPrompts(config.data, tokenizer, { maxPromptLength });
  return {
    policy,
    judge,
    tokenizer,
    stop,
    prompts,
    /** Tokens of the longest. */
    promptLength: prompts.reduce((most, { length }) => Math.max(most, length), 0),
    rows: { prompts: prompts.length, skipped: skipped.length, promptsCut: cut },
    notices: [
      ...withoutNote(config.tokenizer, policy, judge).map(warning),
      ...skippedRows(skipped),
      ...cutRows({ prompts: cut }, prompts.length),
    ],
  };
}

/** @throws ArgumentError where the policy may draw tokens that the reward model cannot read. */
function checkVocabularies({ decoder: policy }: ModelFile, { decoder: judge }: ModelFile): void {
  if (judge.numTokens >= policy.numTokens) return;
  throw new ArgumentError({
    argument: '--reward',
    received: `a model of ${judge.numTokens} tokens`,
    expected: `at least the policy's ${policy.numTokens}`,
    fix: 'Train both on the same tokenizer.',
  });
}
