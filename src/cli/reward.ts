/** `palm reward`: a reward model from preferences, on a pretrained PaLM. */
import type { Command } from 'commander';
import { z } from 'zod';
import { rewardConfig } from '../config/reward.ts';
import { Batches } from '../data/batches.ts';
import { loadPreferences, type Preference } from '../data/preferences.ts';
import { planReward } from '../memory-plan.ts';
import { AdamW } from '../optim.ts';
import { PaLM } from '../palm.ts';
import { RewardModel } from '../reward-model.ts';
import type { Tokenizer } from '../tokenizer/tokenizer.ts';
import { reward, rewardSteps } from '../trainers/reward.ts';
import { rewardSchedule } from '../trainers/schedule.ts';
import { checkFits, modelIn, printPlan } from './dry-run.ts';
import { findModelOf, tokenizerOf, withTokenizer } from './model-file.ts';
import { runCommand } from './options.ts';
import { countParameters, note, noteSkipped, type Resume, runTraining } from './run.ts';
import { checkFree } from './run-directory.ts';

const schema = z.strictObject({
  model: z.string().min(1).describe('the PaLM to build on: the folder of its run, or its file'),
  data: z.string().min(1).describe('.jsonl with {prompt, chosen, rejected} or dialogues {chosen, rejected}'),
  validation: z.string().min(1).optional().describe('the same, held out; a share of data unless given'),
  out: z.string().min(1).describe('folder of the run'),
  tokenizer: z
    .string()
    .min(1)
    .optional()
    .meta({ description: 'byte, or the path of a tokenizer.json; that of the model unless given' }),
  ...rewardConfig.shape,
});
type Config = z.output<typeof schema>;

/** The `reward` command. */
export function rewardCommand(): Command {
  return runCommand('reward', schema, run).description('train a reward model on preferences');
}

async function run(config: Config, resume: Resume, dryRun: boolean): Promise<void> {
  checkFree(config.out, resume !== false);
  const { device, seed, lora, dropout, pooling, batchSize, betas, weightDecay } = config;
  const file = await findModelOf(config.model, ['PaLM']);
  const tokenizer = await tokenizerOf(file, config.tokenizer);
  const { pairs, validation } = await load(config, tokenizer);
  const length = longest([...pairs, ...validation]);
  const plan = planReward(await modelIn(file.path), { batchSize, length, lora, dropout });
  if (dryRun) return printPlan(plan);
  checkFits(plan, device);
  const palm = await PaLM.load(file.path, { device });
  const rewardModel = new RewardModel(palm, { lora, dropout, pooling, seed });
  const parameters = rewardModel.parameters();
  const steps = rewardSteps(pairs.length, config);
  const { lr, warmupSteps } = rewardSchedule(rewardModel, steps, config);
  const chosen = { ...config, lr, warmupSteps };
  const optimizer = new AdamW(parameters, { lr, betas, weightDecay });
  const batches = new Batches({ size: pairs.length, batchSize, seed });
  const { padToken } = tokenizer;
  note({ 'parameters to train': countParameters(parameters), pairs: pairs.length, 'held out': validation.length });
  await runTraining(
    {
      steps,
      parts: { weights: withTokenizer(rewardModel, tokenizer), optimizer, batches },
      train: (start) => reward({ rewardModel, optimizer, pairs, batches, validation, padToken }, chosen, start),
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

async function load(config: Config, tokenizer: Tokenizer): Promise<{ pairs: Preference[]; validation: Preference[] }> {
  const all = await loadPairs(config.data, config, tokenizer);
  if (config.validation !== undefined) {
    return { pairs: all, validation: await loadPairs(config.validation, config, tokenizer) };
  }
  const train = all.length - Math.floor(all.length * config.validationFraction);
  return { pairs: all.slice(0, train), validation: all.slice(train) };
}

/** Pairs whose responses end with the eos, as those do that a policy will be scored for. */
async function loadPairs(path: string, config: Config, tokenizer: Tokenizer): Promise<Preference[]> {
  const end = tokenizer.eosToken === undefined ? [] : [tokenizer.eosToken];
  const { maxPromptLength } = config;
  const limits = { maxLength: config.maxLength - end.length, maxPromptLength };
  const { pairs, skipped } = await loadPreferences(path, tokenizer, limits);
  noteSkipped(skipped);
  return pairs.map(({ prompt, chosen, rejected }) => {
    return { prompt, chosen: [...chosen, ...end], rejected: [...rejected, ...end] };
  });
}
