/** Loads texts to learn, for supervised fine-tuning. */
import type { SftConfig } from '../config/sft.ts';
import { type TrainingExample, targetsOf } from '../data/completions.ts';
import { firstForms, formOptions } from '../data/forms/read.ts';
import { loadPreferences } from '../data/preferences.ts';
import { isText, loadPassages } from '../data/passages.ts';
import { type Paths, pathsOf } from '../data/records.ts';
import { loadRows } from '../data/token-rows.ts';
import { nothingUsable } from '../data/rows.ts';
import type { ModelText } from '../runs/model-file.ts';
import type { Tokenizer } from '../tokenizer/tokenizer.ts';
import { type HeldOut, type ReadRows, readHoldingOut, rowFiles } from './held-out.ts';

/** The fields that name the files. */
export const exampleFiles = rowFiles(
  '{prompt, completion}, messages, {text}, plain text, or pairs, whose chosen side is used',
  'rows',
);

/** The fields of a configuration that are used here. */
type ExampleConfig = Pick<SftConfig, 'maxLength' | 'maxPromptLength' | 'validationFraction' | 'seed'> & {
  data: Paths;
  validation?: Paths | undefined;
  form?: string | undefined;
  map?: string | undefined;
};

/** The kinds of rows that can be learned, the first that a form gives is taken. */
const KINDS = ['completion', 'turns', 'pair', 'text'] as const;

/** Reads the files that `config` names, and holds out rows as configured. @throws DataError, FileError */
export async function loadExamples(config: ExampleConfig, tokenizer: ModelText): Promise<HeldOut<TrainingExample>> {
  const read = (paths: Paths) => readExamples(paths, config, tokenizer);
  return await readHoldingOut(config, read, (row) => targetsOf(row, 'all').tokens.length);
}

async function readExamples(
  paths: Paths,
  config: ExampleConfig,
  tokenizer: ModelText,
): Promise<ReadRows<TrainingExample>> {
  const options = { ...formOptions(config), chat: tokenizer.chat };
  const { maxLength, maxPromptLength } = config;
  const limits = { maxLength, maxPromptLength };
  const texts = await Promise.all(pathsOf(paths).map((path) => isText(path, formOptions(config))));
  if (options.form === undefined && !texts.includes(false)) return await readPassages(paths, tokenizer, maxLength);
  const [first] = await firstForms(paths, formOptions(config));
  const kind = KINDS.find((each) => first?.form?.gives.includes(each)) ?? 'completion';
  if (kind !== 'pair') return await loadRows(kind, paths, tokenizer, { ...limits, overlong: 'cut' }, options);
  const { pairs, ...about } = await loadPreferences(paths, tokenizer, limits, options);
  return { rows: pairs.map(({ prompt, chosen }) => ({ prompt, response: chosen })), ...about };
}

/** Plain text, each passage of which may be held out by itself. */
async function readPassages(paths: Paths, tokenizer: Tokenizer, maxLength: number): Promise<ReadRows<TrainingExample>> {
  const rows = (await loadPassages(paths, tokenizer, maxLength)).filter(({ tokens }) => tokens.length > 1);
  if (rows.length === 0) throw nothingUsable(paths, []);
  return { rows, groups: rows.map((_, i) => i), cut: { prompts: 0, responses: 0 }, skipped: [] };
}
