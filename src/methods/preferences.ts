/** Loads preference files, for methods that learn from pairs. */
import { path } from '../config/fields.ts';
import type { RewardConfig } from '../config/reward.ts';
import { holdOutPrompts, type Split } from '../data/hold-out.ts';
import { loadPreferences, type Preference, type Preferences } from '../data/preferences.ts';
import { loadPreferencesV1 } from '../data/preferences-v1.ts';
import type { Tokenizer } from '../tokenizer/tokenizer.ts';
import { cutRows, skippedRows } from './notices.ts';

/** The fields that name the files. */
export const pairFiles = {
  data: path.describe('.jsonl with {prompt, chosen, rejected} or dialogues {chosen, rejected}'),
  validation: path.optional().describe('held-out pairs in the same format (default: some prompts of data)'),
};

/** The fields of a configuration that are used here. */
type PairConfig = Pick<RewardConfig, 'maxLength' | 'maxPromptLength' | 'validationFraction' | 'seed'> & {
  data: string;
  validation?: string | undefined;
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

async function read(path: string, config: PairConfig, tokenizer: Tokenizer): Promise<Preferences> {
  const { maxLength, maxPromptLength } = config;
  const limits = { maxLength, maxPromptLength };
  return await (config.rules === 'v1' ? loadPreferencesV1 : loadPreferences)(path, tokenizer, limits);
}

function holdOut(
  { pairs, groups }: Preferences,
  { rules, seed, validationFraction: fraction }: PairConfig,
): Split<Preference> {
  if (rules === 'v2') return holdOutPrompts(pairs, groups, { fraction, seed });
  const train = pairs.length - Math.floor(pairs.length * fraction);
  return { train: pairs.slice(0, train), validation: pairs.slice(train) };
}
