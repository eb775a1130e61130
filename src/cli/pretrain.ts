/** `palm pretrain`: a new model from text. */
import type { Command } from 'commander';
import { z } from 'zod';
import { path } from '../config/fields.ts';
import { pretrainConfig } from '../config/pretrain.ts';
import { Batches } from '../data/batches.ts';
import { loadDocuments } from '../data/documents.ts';
import { kindOfText, type TextKind } from '../data/jsonl.ts';
import { holdOut, loadText, Windows } from '../data/text.ts';
import { planPretraining } from '../models/memory-plan.ts';
import { AdamW } from '../optim.ts';
import { createModel, describeModel } from '../models/registry.ts';
import { loadTokenizer } from '../tokenizer/load.ts';
import type { Tokenizer } from '../tokenizer/tokenizer.ts';
import { pretrain } from '../trainers/pretrain.ts';
import { checkFits, printPlan } from './dry-run.ts';
import { rulesOption, runCommand } from './options.ts';
import { countParameters, note, noteSkipped, type Resume, runTraining } from './run.ts';
import { checkFree, makeOut } from './run-directory.ts';
import { warn } from './warn.ts';

const schema = z.strictObject({
  data: path.describe('text to learn, or .jsonl with preferences, whose chosen side is learned'),
  out: path.describe('folder of the run'),
  rules: rulesOption,
  ...pretrainConfig.shape,
});
type Config = z.output<typeof schema>;

/** The `pretrain` command. */
export function pretrainCommand(): Command {
  return runCommand('pretrain', schema, run, { rules: 'v1' }).description('train a new model on text');
}

async function run(config: Config, resume: Resume, dryRun: boolean): Promise<void> {
  checkFree(config.out, resume !== false);
  const { sequenceLength, batchSize, seed, device, dtype } = config;
  const tokenizer = await loadTokenizer(config.tokenizer);
  const tokens = await load(config, tokenizer);
  const { train, validation: held } = holdOut(tokens, config.validationFraction);
  const text = new Windows(train, sequenceLength, config.data);
  // A short text holds out less than a window: then that is the window.
  const validation = held.length < 2 ? undefined : new Windows(held, Math.min(sequenceLength, held.length - 1));
  const hyperparameters = { ...config.model, numTokens: tokenizer.vocabSize, device, dtype, seed };
  const plan = planPretraining(describeModel(hyperparameters), { batchSize, length: sequenceLength });
  if (dryRun) return printPlan(plan);
  checkFits(plan, device);
  makeOut(config.out);
  const model = createModel(hyperparameters);
  const { lr, betas, weightDecay } = config;
  const optimizer = new AdamW(model.parameters(), { lr, betas, weightDecay });
  const batches = new Batches({ size: text.size, batchSize, seed });
  note({ parameters: countParameters(model.parameters()), 'tokens to learn': train.length, 'held out': held.length });
  await runTraining(
    {
      steps: config.steps,
      parts: { weights: model, optimizer, batches },
      tokenizer,
      inputs: { data: config.data },
      rows: { tokens: train.length, heldOut: held.length },
      train: (start) => pretrain({ model, optimizer, text, batches, validation }, config, start),
    },
    config,
    resume,
  );
}

async function load({ data, rules }: Config, tokenizer: Tokenizer): Promise<Int32Array> {
  const kind = rules === 'v1' ? kindByName(data) : await kindOfText(data, 'chosen');
  if (kind === 'text like rows') {
    warn(
      `${data} has JSON, and is learned as plain text: if these are rows, write one on each line and name it .jsonl`,
    );
  }
  if (kind !== 'rows') return await loadText(data, tokenizer);
  const { tokens, skipped } = await loadDocuments(data, tokenizer);
  noteSkipped(skipped);
  return tokens;
}

function kindByName(path: string): TextKind {
  return path.endsWith('.jsonl') ? 'rows' : 'text';
}
