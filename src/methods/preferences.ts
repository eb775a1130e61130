/** Loads preference files, for methods that learn from pairs. */
import { paths } from '../config/fields.ts';
import { reading } from '../config/inputs.ts';
import type { RewardConfig } from '../config/reward.ts';
import { holdOutPrompts, type Split } from '../data/hold-out.ts';
import { loadPreferences, type Preference, type Preferences } from '../data/preferences.ts';
import { loadPreferencesV1 } from '../data/preferences-v1.ts';
import { formOptions } from '../data/forms/read.ts';
import type { Paths } from '../data/records.ts';
import type { Tokenizer } from '../tokenizer/tokenizer.ts';
import { cutRows, skippedRows } from './notices.ts';

/** The fields that name the files. */
export const pairFiles = {
  data: paths.describe('files with {prompt, chosen, rejected} or any form that gives pairs; repeatable'),
  validation: paths.optional().describe('files with held-out pairs (default: some prompts of data)'),
  ...reading,
};

/** The fields of a configuration that are used here. */
type PairConfig = Pick<RewardConfig, 'maxLength' | 'maxPromptLength' | 'validationFraction' | 'seed'> & {
  data: Paths;
  validation?: Paths | undefined;
  form?: string | undefined;
  map?: string | undefined;
  rules: 'v1' | 'v2';
};

/** Tokens of the longest prompt plus response. */
function longest(pairs: readonly Preference[]): number {
  return pairs.reduce((max, { prompt, chosen, rejected }) => {
    return Math.max(max, prompt.length + Math.max(chosen.length, rejected.length));
  }, 0);
}

/** Training and held-out pairs, and how many rows were used, skipped and truncated. */
interface Loaded {
  pairs: Preference[];
  validation: Preference[];
  rows: Record<string, number>;
  notices: string[];
  /** Tokens of the longest prompt plus response. */
  longest: number;
}

/** Reads the files that `config` names, and holds out pairs as configured. @throws DataError, FileError */
export async function loadPairs(config: PairConfig, tokenizer: Tokenizer): Promise<Loaded> {
  const all = await read(config.data, config, tokenizer);
  const other = config.validation === undefined ? undefined : await read(config.validation, config, tokenizer);
  const { train, validation } = other ? { train: all.pairs, validation: other.pairs } : holdOut(all, config);
  const { skipped, cut } = all;
  const became = { skipped: skipped.length, promptsCut: cut.prompts, responsesCut: cut.responses };
  return {
    pairs: train,
    validation,
    rows: { pairs: train.length, heldOut: validation.length, ...became },
    notices: [...noticesOf(all), ...(other ? noticesOf(other) : [])],
    longest: longest([...train, ...validation]),
  };
}

function noticesOf({ skipped, cut, pairs }: Preferences): string[] {
  return [...skippedRows(skipped), ...cutRows({ ...cut }, pairs.length)];
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
