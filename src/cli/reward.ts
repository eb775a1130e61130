/** `palm reward`: a reward model from preferences, on a pretrained model. */
import type { Command } from 'commander';
import { z } from 'zod';
import { path } from '../config/fields.ts';
import { rewardConfig } from '../config/reward.ts';
import { Batches } from '../data/batches.ts';
import { holdOutPrompts, type Split } from '../data/hold-out.ts';
import { loadPreferences, type Preference, type Preferences } from '../data/preferences.ts';
import { loadPreferencesV1 } from '../data/preferences-v1.ts';
import { planReward } from '../models/memory-plan.ts';
import { AdamW } from '../optim.ts';
import { loadModel, MODEL_KINDS } from '../models/registry.ts';
import { RewardModel } from '../models/reward-model.ts';
import type { Tokenizer } from '../tokenizer/tokenizer.ts';
import { reward, rewardSteps } from '../trainers/reward.ts';
import { rewardSchedule } from '../trainers/schedule.ts';
import { checkFits, modelIn, printPlan } from './dry-run.ts';
import { findModelOf, tokenizerOf } from './model-file.ts';
import { rulesOption, runCommand, tokenizerOption } from './options.ts';
import { countParameters, note, noteCut, noteSkipped, type Resume, runTraining } from './run.ts';
import { checkFree, makeOut } from './run-directory.ts';

const schema = z.strictObject({
  model: path.describe('the model to build on: the folder of its run, or its file'),
  data: path.describe('.jsonl with {prompt, chosen, rejected} or dialogues {chosen, rejected}'),
  validation: path.optional().describe('the same, held out; some prompts of data unless given'),
  out: path.describe('folder of the run'),
  tokenizer: tokenizerOption,
  rules: rulesOption,
  ...rewardConfig.shape,
});
type Config = z.output<typeof schema>;

/** The `reward` command. */
export function rewardCommand(): Command {
  return runCommand('reward', schema, run, { rules: 'v1' }).description('train a reward model on preferences');
}

async function run(config: Config, resume: Resume, dryRun: boolean): Promise<void> {
  checkFree(config.out, resume !== false);
  const { device, seed, lora, dropout, pooling, batchSize, betas, weightDecay } = config;
  const file = await findModelOf(config.model, MODEL_KINDS);
  const tokenizer = await tokenizerOf(config.tokenizer, file);
  const { pairs, validation, rows } = await load(config, tokenizer);
  const length = longest([...pairs, ...validation]);
  const plan = planReward(await modelIn(file.path), { batchSize, length, lora, dropout });
  if (dryRun) return printPlan(plan);
  checkFits(plan, device);
  makeOut(config.out);
  const model = await loadModel(file.path, { device });
  const rewardModel = new RewardModel(model, { lora, dropout, pooling, seed });
  const parameters = rewardModel.parameters();
  const steps = rewardSteps(pairs.length, config);
  const { lr } = rewardSchedule(rewardModel, steps, config);
  const chosen = { ...config, lr };
  const optimizer = new AdamW(parameters, { lr, betas, weightDecay });
  const batches = new Batches({ size: pairs.length, batchSize, seed });
  note({ 'parameters to train': countParameters(parameters), pairs: pairs.length, 'held out': validation.length });
  await runTraining(
    {
      steps,
      parts: { weights: rewardModel, optimizer, batches },
      tokenizer,
      inputs: { data: config.data, validation: config.validation, model: file.path },
      rows,
      train: (start) => reward({ rewardModel, optimizer, pairs, batches, validation }, chosen, start),
    },
    chosen,
    resume,
  );
}

/** The tokens of the longest prompt with a response. */
function longest(pairs: readonly Preference[]): number {
  return pairs.reduce((most, { prompt, chosen, rejected }) => {
    return Math.max(most, prompt.length + Math.max(chosen.length, rejected.length));
  }, 0);
}

/** Pairs to learn from and pairs that are held out, and how many rows became what. */
interface Loaded {
  pairs: Preference[];
  validation: Preference[];
  rows: Record<string, number>;
}

async function load(config: Config, tokenizer: Tokenizer): Promise<Loaded> {
  const all = await read(config.data, config, tokenizer);
  const { train, validation } =
    config.validation === undefined
      ? holdOut(all, config)
      : { train: all.pairs, validation: (await read(config.validation, config, tokenizer)).pairs };
  const { skipped, cut } = all;
  const rows = { skipped: skipped.length, promptsCut: cut.prompts, responsesCut: cut.responses };
  return { pairs: train, validation, rows: { pairs: train.length, heldOut: validation.length, ...rows } };
}

async function read(path: string, config: Config, tokenizer: Tokenizer): Promise<Preferences> {
  const { maxLength, maxPromptLength } = config;
  const limits = { maxLength, maxPromptLength };
  const found = await (config.rules === 'v1' ? loadPreferencesV1 : loadPreferences)(path, tokenizer, limits);
  noteSkipped(found.skipped);
  noteCut(found.cut, found.pairs.length);
  return found;
}

function holdOut(
  { pairs, groups }: Preferences,
  { rules, seed, validationFraction: fraction }: Config,
): Split<Preference> {
  if (rules === 'v2') return holdOutPrompts(pairs, groups, { fraction, seed });
  const train = pairs.length - Math.floor(pairs.length * fraction);
  return { train: pairs.slice(0, train), validation: pairs.slice(train) };
}
