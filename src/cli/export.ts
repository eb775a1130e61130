/** `palm export`: one safetensors file of a model, under our names or those of palm-rlhf-pytorch. */
import type { Command } from 'commander';
import { z } from 'zod';
import { openSafetensors } from '../files/safetensors/safetensors.ts';
import { saveTensors } from '../tensor/tensor-files.ts';
import { path as filePath } from '../config/fields.ts';
import { tokenizer } from '../config/inputs.ts';
import { kindIn, loadModel } from '../models/registry.ts';
import { RewardModel } from '../models/reward-model.ts';
import { findModel, findTokenizer, type ModelFile, noteBeside, tokenizerOf } from '../runs/model-file.ts';
import { configuredCommand } from './options.ts';

const schema = z.strictObject({
  model: filePath.describe('the folder of a run, or a model file'),
  out: filePath.describe('the safetensors file to write'),
  tokenizer,
  names: z
    .enum(['palm', 'python'])
    .default('palm')
    .describe('whose names the tensors get: ours, or those of a state_dict of palm-rlhf-pytorch'),
});

/** The `export` command. */
export function exportCommand(): Command {
  return configuredCommand('export', schema, exportModel, 'model').description(
    'write a model as one safetensors file, for here or for palm-rlhf-pytorch',
  );
}

async function exportModel({ model: path, out, names, tokenizer: asked }: z.output<typeof schema>): Promise<void> {
  const file = await findModel(path);
  const tokenizer = asked === undefined ? await findTokenizer(file) : await tokenizerOf(asked, file);
  const { isReward, notes } = await look(file);
  const own = tokenizer === undefined ? [] : noteBeside(tokenizer, out);
  using model = isReward ? await RewardModel.load(file.path) : await loadModel(file.path);
  if (names === 'palm') {
    const { tensors, metadata } = model.contents();
    await saveTensors(out, { tensors, metadata: new Map([...notes, ...metadata, ...own]) });
  } else {
    using contents = await model.pythonContents();
    await saveTensors(out, { tensors: contents.tensors, metadata: new Map([...notes, ...contents.metadata, ...own]) });
  }
  console.log(`wrote ${out}`);
}

/** What the model in a file is, and what stands beside it: how text became its tokens. */
async function look({ path }: ModelFile): Promise<{ isReward: boolean; notes: ReadonlyMap<string, string> }> {
  await using file = await openSafetensors(path);
  return { isReward: kindIn(file) === 'RewardModel', notes: file.metadata };
}
