/** `palm export`: writes a model as one safetensors file, with our tensor names or those of palm-rlhf-pytorch. */
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
  model: filePath.describe('run folder or model file'),
  out: filePath.describe('safetensors file to write'),
  tokenizer,
  names: z
    .enum(['palm', 'python'])
    .default('palm')
    .describe('tensor names: ours, or those of a palm-rlhf-pytorch state_dict'),
});

/** The `export` command. */
export function exportCommand(): Command {
  return configuredCommand('export', schema, exportModel, 'model').description(
    'write a model as a safetensors file, for this package or palm-rlhf-pytorch',
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

/** The kind of model in a file, and the metadata that describes its tokenizer. */
async function look({ path }: ModelFile): Promise<{ isReward: boolean; notes: ReadonlyMap<string, string> }> {
  await using file = await openSafetensors(path);
  return { isReward: kindIn(file) === 'RewardModel', notes: file.metadata };
}
