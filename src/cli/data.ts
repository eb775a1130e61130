/** `palm data inspect | convert`: what is in files of feedback, and the same in another form. */
import { createWriteStream } from 'node:fs';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { Command } from 'commander';
import * as z from 'zod';
import { path, paths } from '../config/fields.ts';
import { checkVacant } from '../files/file-error.ts';
import { chatTemplate, reading } from '../config/inputs.ts';
import { pairs } from '../config/pairs.ts';
import { convertRecords } from '../data/forms/convert-records.ts';
import { formOptions } from '../data/forms/read.ts';
import { inspectData } from '../data/inspect.ts';
import type { Skipped } from '../data/row.ts';
import { writeAtomically } from '../files/atomic-write.ts';
import { chatBeside } from '../runs/model-file.ts';
import { loadTokenizer } from '../tokenizer/load.ts';
import { wantsColor } from './columns.ts';
import { inspectionText } from './data-text.ts';
import { configuredCommand } from './options.ts';

const inspectSchema = z.strictObject({
  files: paths.describe('files of feedback: JSONL, JSON, CSV or Parquet, packed with gzip or not'),
  ...reading,
  as: z
    .enum(['text', 'turns', 'prompt', 'completion', 'pair', 'ranking', 'rating', 'label', 'steps'])
    .optional()
    .describe('kind of rows to look at (default: the first that the form gives)'),
  tokenizer: path.default('byte').describe('byte, or the path of a tokenizer.json, its folder or a .gguf file'),
  chatTemplate,
  maxLength: pairs.maxLength,
  maxPromptLength: pairs.maxPromptLength,
  overlong: z
    .enum(['drop', 'cut'])
    .default('drop')
    .describe('what happens to responses that do not fit; those of pairs are always cut'),
  json: z.boolean().default(false).describe('print JSON'),
});

const convertSchema = z.strictObject({
  files: inspectSchema.shape.files,
  form: z.string().min(1).describe('form to write'),
  out: path.describe('file to write, as JSONL'),
  from: reading.form.describe('form of the files (default: the one that the first row has)'),
  map: reading.map,
});

/** The `data` command with its two subcommands. */
export function dataCommand(): Command {
  const inspect = configuredCommand('inspect', inspectSchema, inspectFiles, 'files');
  const convert = configuredCommand('convert', convertSchema, convertFiles, 'files');
  return new Command('data')
    .description('look at files of feedback, or convert them')
    .addCommand(inspect.description('show what training would make of some files'))
    .addCommand(convert.description('write the rows of some files in another form, without loss'));
}

async function inspectFiles({ files, as: kind, tokenizer: place, json, ...rest }: z.output<typeof inspectSchema>) {
  const { maxLength, maxPromptLength, overlong, chatTemplate } = rest;
  const tokenizer = await loadTokenizer(place);
  const chat = chatBeside(tokenizer, chatTemplate);
  const found = await inspectData(
    files,
    tokenizer,
    { maxLength, maxPromptLength, overlong },
    { kind, ...formOptions(rest), chat },
  );
  if (json) console.log(JSON.stringify(found));
  else console.log(inspectionText(found, tokenizer, { color: wantsColor() }));
  if (found.tokens.targets === 0 && found.kind !== 'prompt') process.exitCode = 1;
}

async function convertFiles({ files, form, out, from, map }: z.output<typeof convertSchema>): Promise<void> {
  checkVacant(out);
  const skipped: Skipped[] = [];
  let written = 0;
  async function* lines(): AsyncGenerator<string> {
    for await (const result of convertRecords(files, form, formOptions({ form: from, map }))) {
      if ('skipped' in result) skipped.push(result.skipped);
      else {
        written++;
        yield `${JSON.stringify(result.record)}\n`;
      }
    }
  }
  await writeAtomically(out, async (aside) => await pipeline(Readable.from(lines()), createWriteStream(aside)));
  console.error(`${out}: ${written} rows of the form ${form}`);
  const [first] = skipped;
  if (first !== undefined) console.error(`skipped ${skipped.length}, the first at ${first.place}: ${first.reason}`);
}
