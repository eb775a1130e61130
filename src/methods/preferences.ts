/** Loads preferences and labelled responses, for methods that learn from recorded feedback. */
import { paths } from '../config/fields.ts';
import { reading } from '../config/inputs.ts';
import type { RewardConfig } from '../config/reward.ts';
import { holdOutPrompts, type Split } from '../data/hold-out.ts';
import { loadPreferences, type Preference, type Preferences } from '../data/preferences.ts';
import { loadPreferencesV1 } from '../data/preferences-v1.ts';
import { formOptions } from '../data/forms/read.ts';
import type { Label } from '../data/labels.ts';
import type { Paths } from '../data/records.ts';
import { loadRows } from '../data/token-rows.ts';
import type { Tokenizer } from '../tokenizer/tokenizer.ts';
import { cutRows, skippedRows } from './notices.ts';

/** The fields that name the files. */
export const pairFiles = {
  data: paths.describe('files with {prompt, chosen, rejected} or any form that gives pairs; repeatable'),
  validation: paths.optional().describe('files with held-out pairs (default: some prompts of data)'),
  ...reading,
};

/** The same for labelled responses. */
export const labelFiles = {
  data: paths.describe('files with {prompt, completion, label} or any form that gives labels; repeatable'),
  validation: paths.optional().describe('files with held-out rows (default: some prompts of data)'),
  ...reading,
};

/** The fields of a configuration that are used here. */
type RowConfig = Pick<RewardConfig, 'maxLength' | 'maxPromptLength' | 'validationFraction' | 'seed'> & {
  data: Paths;
  validation?: Paths | undefined;
  form?: string | undefined;
  map?: string | undefined;
};
type PairConfig = RowConfig & { rules: 'v1' | 'v2' };

/** Tokens of the longest prompt plus response. */
function longest(pairs: readonly Preference[]): number {
  return pairs.reduce((max, { prompt, chosen, rejected }) => {
    return Math.max(max, prompt.length + Math.max(chosen.length, rejected.length));
  }, 0);
}

/** How many rows were used, skipped and truncated, and what to tell about them. */
interface Read {
  rows: Record<string, number>;
  notices: string[];
  /** Tokens of the longest prompt plus response. */
  longest: number;
}
/** Training and held-out pairs. */
interface Loaded extends Read {
  pairs: Preference[];
  validation: Preference[];
}

/** Reads the files that `config` names, and holds out pairs as configured. @throws DataError, FileError */
export async function loadPairs(config: PairConfig, tokenizer: Tokenizer): Promise<Loaded> {
  const all = await read(config.data, config, tokenizer);
  const other = config.validation === undefined ? undefined : await read(config.validation, config, tokenizer);
  const { train, validation } = other ? { train: all.pairs, validation: other.pairs } : holdOut(all, config);
  return {
    pairs: train,
    validation,
    rows: { pairs: train.length, heldOut: validation.length, ...countsOf(all) },
    notices: [...noticesOf(all, all.pairs.length), ...(other ? noticesOf(other, other.pairs.length) : [])],
    longest: longest([...train, ...validation]),
  };
}

/** Reads the labelled responses that `config` names, and holds some out as configured. @throws DataError, FileError */
export async function loadLabels(
  config: RowConfig,
  tokenizer: Tokenizer,
): Promise<Read & { labels: Label[]; validation: Label[] }> {
  const { maxLength, maxPromptLength, seed, validationFraction: fraction } = config;
  const limits = { maxLength, maxPromptLength, overlong: 'cut' } as const;
  const readLabels = (paths: Paths) => loadRows('label', paths, tokenizer, limits, formOptions(config));
  const all = await readLabels(config.data);
  const other = config.validation === undefined ? undefined : await readLabels(config.validation);
  const { train, validation } = other
    ? { train: all.rows, validation: other.rows }
    : holdOutPrompts(all.rows, all.groups, { fraction, seed });
  const lengths = [...train, ...validation].map(({ prompt, response }) => prompt.length + response.length);
  return {
    labels: train,
    validation,
    rows: { labels: train.length, heldOut: validation.length, ...countsOf(all) },
    notices: [...noticesOf(all, all.rows.length), ...(other ? noticesOf(other, other.rows.length) : [])],
    longest: lengths.reduce((max, length) => Math.max(max, length), 0),
  };
}

function countsOf({ skipped, cut }: Pick<Preferences, 'skipped' | 'cut'>) {
  return { skipped: skipped.length, promptsCut: cut.prompts, responsesCut: cut.responses };
}

function noticesOf({ skipped, cut }: Pick<Preferences, 'skipped' | 'cut'>, rows: number): string[] {
  return [...skippedRows(skipped), ...cutRows({ ...cut }, rows)];
}

async function read(paths: Paths, config: PairConfig, tokenizer: Tokenizer): Promise<Preferences> {
  const { maxLength, maxPromptLength } = config;
  const limits = { maxLength, maxPromptLength };
  if (config.rules === 'v1') return await loadPreferencesV1(paths, tokenizer, limits);
  return await loadPreferences(paths, tokenizer, limits, formOptions(config));
}

function holdOut(
  { pairs, groups }: Preferences,
  { rules, seed, validationFraction: fraction }: PairConfig,
): Split<Preference> {
  if (rules === 'v2') return holdOutPrompts(pairs, groups, { fraction, seed });
  const train = pairs.length - Math.floor(pairs.length * fraction);
  return { train: pairs.slice(0, train), validation: pairs.slice(train) };
}
