/** `palm import`: converts a palm-rlhf-pytorch checkpoint (.pt) to a model file. */
import type { Command } from 'commander';
import * as z from 'zod';
import { describeImported, untoldConfig } from '../import/palm-rlhf-pytorch/config.ts';
import { checkDerived, convertStateDict, meanGamma } from '../import/palm-rlhf-pytorch/convert.ts';
import { findLayout, type PythonLayout } from '../import/palm-rlhf-pytorch/layouts.ts';
import { StateDict } from '../import/palm-rlhf-pytorch/state-dict.ts';
import { openTorchFile } from '../import/torch/torch-file.ts';
import { path as filePath } from '../config/fields.ts';
import { checkVacant } from '../files/file-error.ts';
import { FileError, printable } from '../errors.ts';
import { writeMetadata } from '../models/model-file.ts';
import { loadTokenizer } from '../tokenizer/load.ts';
import { noteBeside } from '../runs/kept-tokenizer.ts';
import { configuredCommand } from './options.ts';
import { type Row, table } from './table.ts';

const schema = z.strictObject({
  file: filePath.describe('a .pt file with a state_dict, written by torch.save'),
  out: filePath.describe('safetensors file to write'),
  tokenizer: filePath.optional().describe('byte, or a tokenizer.json or its folder, to record in the file'),
  layout: z
    .string()
    .regex(/^\d{1,4}\.\d{1,4}\.\d{1,4}$/)
    .optional()
    .meta({
      description: 'palm-rlhf-pytorch version that wrote the file; needed if the tensor names do not tell',
      expected: 'a three-part version, such as 0.2.4',
    }),
  model: untoldConfig.prefault({}),
});

/** The `import` command. */
export function importCommand(): Command {
  return configuredCommand('import', schema, importFile, 'file').description(
    'convert a palm-rlhf-pytorch checkpoint (.pt) to a model file',
  );
}

async function importFile({ file: path, out, layout: asked, model, ...given }: z.output<typeof schema>): Promise<void> {
  checkVacant(out);
  const tokenizer = given.tokenizer === undefined ? undefined : await loadTokenizer(given.tokenizer);
  await using file = await openTorchFile(path);
  const state = new StateDict(file);
  await checkDerived(file, state);
  const gamma = await meanGamma(file, state);
  const layout = findLayout(state.signs(), asked, gamma);
  checkLogits(state, layout);
  const { kind, description } = describeImported(state, layout, model);
  const notes = tokenizer === undefined ? [] : await noteBeside(tokenizer, out);
  const metadata = new Map([...writeMetadata(kind, description), ...notes]);
  await convertStateDict({ file, state, gammaOffset: layout.gammaPlusOne ? 0 : 1 }, out, metadata);
  console.log(table(summary({ state, layout, gamma, asked }, out)));
}

function checkLogits({ kind, path }: StateDict, { normedLogits }: PythonLayout): void {
  if (kind === 'RewardModel' || normedLogits) return;
  throw new FileError({
    argument: path,
    received: `a ${kind} written before 0.2.1, whose logits skip the final norm`,
    expected: 'a reward model, or a file written by 0.2.1 or later',
    fix: 'If a later version wrote it, pass that version to --layout.',
  });
}

function summary(
  { state, layout, gamma, asked }: { state: StateDict; layout: PythonLayout; gamma: number; asked: string | undefined },
  out: string,
): Row[] {
  const parameters = [...state.parameters().values()];
  const size = parameters.reduce((sum, shape) => sum + shape.reduce((product, length) => product * length, 1), 0);
  const how = asked === undefined ? 'from its tensor names and' : 'as requested, with';
  const left = [...new Set(state.leftOut.map((name) => name.split('.')[0] as string))].map(printable);
  return [
    ['model', state.kind],
    ['layout', `${layout.version}, ${how} a mean norm weight of ${gamma.toFixed(2)}`],
    ['parameters', size.toLocaleString('en-US')],
    ['scopes', [...state.model.scopes].map(([name, rank]) => `${name} (rank ${rank})`).join(', ') || 'none'],
    ['left out', left.length === 0 ? undefined : left.join(', ')],
    ['written', out],
  ];
}
