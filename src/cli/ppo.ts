/** `palm ppo`: a policy from a pretrained model, prompts, and a reward model. */
import type { Command } from 'commander';
import { z } from 'zod';
import { ActorCritic } from '../models/actor-critic.ts';
import { path } from '../config/fields.ts';
import { ppoBefore, ppoConfig } from '../config/ppo.ts';
import { Batches } from '../data/batches.ts';
import { loadPrompts } from '../data/prompts.ts';
import { ArgumentError } from '../errors.ts';
import { planPpo } from '../models/memory-plan.ts';
import { AdamW } from '../optim.ts';
import { loadModel, MODEL_KINDS } from '../models/registry.ts';
import { TRUNK } from '../models/reward-file.ts';
import { RewardModel } from '../models/reward-model.ts';
import { ppo } from '../trainers/ppo.ts';
import { AdaptiveKl, defaultPpoRate } from '../trainers/schedule.ts';
import { RunningScores, scoreNormOf } from '../trainers/score-norm.ts';
import { checkFits, modelIn, printPlan } from './dry-run.ts';
import { findModelOf, type ModelFile, tokenizerOf } from './model-file.ts';
import { rulesOption, runCommand, stopOption, stopSequences, tokenizerOption } from './options.ts';
import { countParameters, note, noteCut, noteSkipped, type Resume, runTraining } from './run.ts';
import { checkFree, makeOut } from './run-directory.ts';
import { warn } from './warn.ts';

const schema = z.strictObject({
  model: path.describe('the model to train: the folder of its run, or its file'),
  reward: path.describe('the reward model: the folder of its run, or its file'),
  data: path.describe('.jsonl with {prompt}, or with preferences, whose prompts are used'),
  out: path.describe('folder of the run'),
  tokenizer: tokenizerOption,
  stop: stopOption,
  rules: rulesOption,
  ...ppoConfig.shape,
});
type Config = z.output<typeof schema>;

/** The `ppo` command. */
export function ppoCommand(): Command {
  return runCommand('ppo', schema, run, { ...ppoBefore, rules: 'v1' }).description(
    'train a policy by feedback from a reward model',
  );
}

async function run(config: Config, resume: Resume, dryRun: boolean): Promise<void> {
  checkFree(config.out, resume !== false);
  const { device, seed, lora, klWeight, maxPromptLength } = config;
  const adaptiveKl = config.adaptiveKl && new AdaptiveKl(klWeight, config.adaptiveKl);
  const policy = await findModelOf(config.model, MODEL_KINDS);
  const judge = await findModelOf(config.reward, ['RewardModel']);
  checkTokens(policy, judge);
  const tokenizer = await tokenizerOf(config.tokenizer, policy, judge);
  const { eosToken } = tokenizer;
  const padToken = config.rules === 'v1' ? undefined : tokenizer.padToken; // a policy of 0.1.0 could draw it
  const { prompts, skipped, cut } = await loadPrompts(config.data, tokenizer, { maxPromptLength });
  noteSkipped(skipped);
  noteCut({ prompts: cut }, prompts.length);

  const rolloutBatch = Math.min(config.rolloutBatch, prompts.length);
  const promptLength = prompts.reduce((most, { length }) => Math.max(most, length), 0);
  const sizes = { ...config, ...config.sampling, rolloutBatch, promptLength, reference: klWeight > 0 };
  const plan = planPpo(await modelIn(policy.path), { ...sizes, reward: await modelIn(judge.path, TRUNK) });
  if (dryRun) return printPlan(plan);
  checkFits(plan, device);
  makeOut(config.out);
  const reward = await RewardModel.load(judge.path, { device });
  const model = await loadModel(policy.path, { device });
  const actorCritic = new ActorCritic(model, { lora, seed, reference: klWeight > 0 });
  const { lr = defaultPpoRate(actorCritic) } = config;
  const score = { norm: scoreNormOf(reward, config.score) };
  const optimizer = new AdamW(actorCritic.parameters(), { lr, weightDecay: 0 });
  const batches = new Batches({ size: prompts.length, batchSize: rolloutBatch, seed });
  const runningScores = score.norm === 'running' ? new RunningScores() : undefined;
  const chosen = { ...config, lr, score };
  note({ 'parameters to train': countParameters(actorCritic.parameters()), prompts: prompts.length });
  if (config.steps <= config.criticWarmup) {
    warn(
      `criticWarmup: ${config.criticWarmup} iterations, of ${config.steps} in all: the critic learns, the policy stays`,
    );
  }
  const state = { optimizer, batches, adaptiveKl, runningScores };
  const stop = stopSequences(config.stop, tokenizer);
  const parts = { ...state, actorCritic, reward, prompts, eosToken, stop, padToken, tokenizer };
  await runTraining(
    {
      steps: config.steps,
      parts: { weights: actorCritic, ...state },
      tokenizer,
      inputs: { data: config.data, reward: judge.path, model: policy.path },
      rows: { prompts: prompts.length, skipped: skipped.length, promptsCut: cut },
      train: (start, signal) => ppo({ ...parts, signal }, chosen, start),
    },
    chosen,
    resume,
  );
}

/** @throws ArgumentError where the policy may draw tokens that the reward model cannot read. */
function checkTokens(policy: ModelFile, judge: ModelFile): void {
  if (judge.numTokens >= policy.numTokens) return;
  throw new ArgumentError({
    argument: '--reward',
    received: `a model of ${judge.numTokens} tokens`,
    expected: `at least the policy's ${policy.numTokens}`,
    fix: 'Train both on the same tokenizer.',
  });
}
