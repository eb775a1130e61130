/**
 * `palm export`: writes a model as one safetensors file, with our tensor names or those of palm-rlhf-pytorch, as a Hugging Face
 * folder, or its adapters as PEFT has them.
 */
import type { Command } from 'commander';
import * as z from 'zod';
import { openSafetensors } from '../files/safetensors/safetensors.ts';
import { checkVacant } from '../files/file-error.ts';
import { saveTensors } from '../tensor/tensor-files.ts';
import { path as filePath } from '../config/fields.ts';
import { tokenizer } from '../config/inputs.ts';
import { ArgumentError } from '../errors.ts';
import { ImplicitPRM } from '../models/implicit-prm.ts';
import type { LanguageModel } from '../models/language-model.ts';
import { adapterOf, loadScoped } from '../models/registry.ts';
import { RewardModel } from '../models/reward-model.ts';
import { keepTokenizer, noteBeside } from '../runs/kept-tokenizer.ts';
import { findModel, findTokenizer, type ModelFile, tokenizerOf } from '../runs/model-file.ts';
import type { Tokenizer } from '../tokenizer/tokenizer.ts';
import { configuredCommand } from './options.ts';

const schema = z.strictObject({
  model: filePath.describe('run folder or model file'),
  out: filePath.describe('file or folder to write'),
  tokenizer,
  format: z
    .enum(['file', 'hugging-face', 'peft'])
    .default('file')
    .describe('one safetensors file, a Hugging Face folder, or a folder with the adapters alone, as PEFT has them'),
  names: z
    .enum(['palm', 'python'])
    .default('palm')
    .describe('tensor names in a file: ours, or those of a palm-rlhf-pytorch state_dict'),
  merge: z.boolean().default(false).describe('fold the adapters of a policy into its weights'),
  scope: z.string().min(1).optional().describe('adapters to merge or write (default: actor, or the only ones)'),
});

/** The `export` command. */
export function exportCommand(): Command {
  return configuredCommand('export', schema, exportModel, 'model').description(
    'write a model for this package, palm-rlhf-pytorch, transformers or PEFT',
  );
}

async function exportModel(config: z.output<typeof schema>): Promise<void> {
  const { model: path, out, format, tokenizer: asked } = config;
  checkVacant(out);
  const file = await findModel(path);
  const tokenizer = asked === undefined ? await findTokenizer(file) : await tokenizerOf(asked, file);
  checkOptions(config, file);
  using model = await load(file, config);
  if (format === 'peft') return await exportAdapter(model as LanguageModel, config, file);
  const merged = config.merge ? await mergeAdapters(model as LanguageModel, config, file) : undefined;
  if (format === 'file') await writeFile(model, config, file, tokenizer);
  else await writeFolder(model as LanguageModel | RewardModel, out, tokenizer);
  console.log(`wrote ${out}${merged === undefined ? '' : `, with the adapters ${merged} merged into the weights`}`);
}

async function writeFile(
  model: LanguageModel | RewardModel | ImplicitPRM,
  { out, names }: z.output<typeof schema>,
  file: ModelFile,
  tokenizer: Tokenizer | undefined,
): Promise<void> {
  const found = await metadataOf(file);
  const noted = tokenizer === undefined ? [] : await noteBeside(tokenizer, out);
  if (names === 'palm') {
    const { tensors, metadata } = model.contents();
    await saveTensors(out, { tensors, metadata: new Map([...found, ...metadata, ...noted]) });
  } else {
    using contents = await (model as RewardModel | LanguageModel).pythonContents();
    await saveTensors(out, {
      tensors: contents.tensors,
      metadata: new Map([...found, ...contents.metadata, ...noted]),
    });
  }
}

/** A folder that transformers reads, with the files of the tokenizer. */
async function writeFolder(
  model: LanguageModel | RewardModel,
  out: string,
  tokenizer: Tokenizer | undefined,
): Promise<void> {
  await model.export(out);
  if (tokenizer !== undefined) await keepTokenizer(tokenizer, out);
}

async function exportAdapter(
  model: LanguageModel,
  { out, scope }: z.output<typeof schema>,
  { path }: ModelFile,
): Promise<void> {
  const written = scope ?? (adapterOf(model.scopes, path) as string);
  await model.exportAdapter(written, out);
  console.log(`wrote ${out}: the adapters ${written}`);
}

/** @throws ArgumentError for options that would have no effect, or that the model does not fit. */
function checkOptions(
  { format, merge, names, scope }: z.output<typeof schema>,
  { path, kind, scopes }: ModelFile,
): void {
  const useless = (argument: string, received: string, expected: string) =>
    new ArgumentError({ argument, received, expected, fix: `Leave out ${argument}.` });
  if (names === 'python' && format !== 'file') throw useless('--names', names, `nothing with --format ${format}`);
  if (merge && format === 'peft') throw useless('--merge', 'true', 'nothing with --format peft');
  if (!merge && format !== 'peft' && scope !== undefined)
    throw useless('--scope', scope, 'nothing without --merge or --format peft');
  const isPolicy = kind !== 'RewardModel' && scopes.length > 0;
  if (format === 'hugging-face' && isPolicy && !merge) {
    const fix = 'Add --merge to fold its adapters into the weights, or write them alone with --format peft.';
    throw new ArgumentError({ argument: path, received: 'a policy with adapters', expected: '--merge', fix });
  }
  if (isPolicy || (!merge && format !== 'peft')) return;
  const received = kind === 'RewardModel' ? 'a RewardModel' : 'a model without adapters';
  const fix = `Leave out ${merge ? '--merge' : '--format peft'}.`;
  throw new ArgumentError({ argument: path, received, expected: 'a policy with adapters', fix });
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

/** The model in a file. An ImplicitPRM stays one, unless its adapters are merged or it is written for others. */
async function load({ path, kind }: ModelFile, { format, merge, names }: z.output<typeof schema>) {
  if (kind === 'RewardModel') return await RewardModel.load(path);
  const own = format === 'file' && names === 'palm' && !merge;
  return kind === 'ImplicitPRM' && own ? await ImplicitPRM.load(path) : await loadScoped(path);
}

/** What a file says besides its tensors: of its tokenizer, for example. */
async function metadataOf({ path, outside }: ModelFile): Promise<ReadonlyMap<string, string>> {
  if (outside) return new Map();
  await using file = await openSafetensors(path);
  return file.metadata;
}
