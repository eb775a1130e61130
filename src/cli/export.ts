/** `palm export`: writes a model as one safetensors file, with our tensor names or those of palm-rlhf-pytorch. */
import type { Command } from 'commander';
import { z } from 'zod';
import { openSafetensors } from '../files/safetensors/safetensors.ts';
import { checkVacant } from '../files/file-error.ts';
import { saveTensors } from '../tensor/tensor-files.ts';
import { path as filePath } from '../config/fields.ts';
import { tokenizer } from '../config/inputs.ts';
import { ArgumentError } from '../errors.ts';
import { ImplicitPRM } from '../models/implicit-prm.ts';
import type { LanguageModel } from '../models/language-model.ts';
import { adapterOf, kindIn, loadScoped } from '../models/registry.ts';
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
  merge: z.boolean().default(false).describe('fold the adapters of a policy into its weights'),
  scope: z.string().min(1).optional().describe('adapters to merge (default: actor, or the only ones)'),
});

/** The `export` command. */
export function exportCommand(): Command {
  return configuredCommand('export', schema, exportModel, 'model').description(
    'write a model as a safetensors file, for this package or palm-rlhf-pytorch',
  );
}

async function exportModel(config: z.output<typeof schema>): Promise<void> {
  const { model: path, out, names, tokenizer: asked } = config;
  checkVacant(out);
  const file = await findModel(path);
  const tokenizer = asked === undefined ? await findTokenizer(file) : await tokenizerOf(asked, file);
  const { kind, notes } = await look(file);
  const own = tokenizer === undefined ? [] : await noteBeside(tokenizer, out);
  checkMerge(config, file, kind === 'RewardModel');
  using model = await load(file, kind, config);
  const merged = config.merge ? await mergeAdapters(model as LanguageModel, config, file) : undefined;
  if (names === 'palm') {
    const { tensors, metadata } = model.contents();
    await saveTensors(out, { tensors, metadata: new Map([...notes, ...metadata, ...own]) });
  } else {
    using contents = await (model as RewardModel | LanguageModel).pythonContents();
    await saveTensors(out, { tensors: contents.tensors, metadata: new Map([...notes, ...contents.metadata, ...own]) });
  }
  console.log(`wrote ${out}${merged === undefined ? '' : `, with the adapters ${merged} merged into the weights`}`);
}

/** @throws ArgumentError for options that would have no effect. */
function checkMerge({ merge, scope }: z.output<typeof schema>, { path, scopes }: ModelFile, isReward: boolean): void {
  if (!merge && scope !== undefined)
    throw new ArgumentError({ argument: '--scope', received: scope, expected: 'nothing without --merge' });
  if (!merge || (!isReward && scopes.length > 0)) return;
  const received = isReward ? 'a RewardModel' : 'a model without adapters';
  throw new ArgumentError({ argument: path, received, expected: 'a policy with adapters', fix: 'Leave out --merge.' });
}

/** Merges one scope, removes the others, and returns which was merged. @throws ArgumentError */
async function mergeAdapters(
  model: LanguageModel,
  { scope }: z.output<typeof schema>,
  { path }: ModelFile,
): Promise<string> {
  const merged = scope ?? (adapterOf(model.scopes, path) as string);
  await model.mergeScope(merged);
  for (const other of model.scopes) model.removeScope(other);
  return merged;
}

/** The model in a file. An ImplicitPRM stays one, unless its adapters are merged or the file is for palm-rlhf-pytorch. */
async function load({ path }: ModelFile, kind: string, { merge, names }: z.output<typeof schema>) {
  if (kind === 'RewardModel') return await RewardModel.load(path);
  if (kind === 'ImplicitPRM' && !merge && names === 'palm') return await ImplicitPRM.load(path);
  return await loadScoped(path);
}

/** The kind of model in a file, and the metadata that describes its tokenizer. */
async function look({ path }: ModelFile): Promise<{ kind: string; notes: ReadonlyMap<string, string> }> {
  await using file = await openSafetensors(path);
  return { kind: kindIn(file), notes: file.metadata };
}
