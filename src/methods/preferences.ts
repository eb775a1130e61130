/** Loads preferences and labelled responses, for methods that learn from recorded feedback. */
import type { RewardConfig } from '../config/reward.ts';
import type { Split } from '../data/hold-out.ts';
import { loadPreferences, type Preference } from '../data/preferences.ts';
import { loadPreferencesV1 } from '../data/preferences-v1.ts';
import { formOptions } from '../data/forms/read.ts';
import type { Label } from '../data/labels.ts';
import type { Paths } from '../data/records.ts';
import { loadRows } from '../data/token-rows.ts';
import type { ModelText } from '../runs/model-file.ts';
import { type HeldOut, type ReadRows, readHoldingOut, rowFiles } from './held-out.ts';

/** The fields that name the files. */
export const pairFiles = rowFiles('{prompt, chosen, rejected} or any form that gives pairs', 'pairs');

/** The same for labelled responses. */
export const labelFiles = rowFiles('{prompt, completion, label} or any form that gives labels', 'rows');

/** The fields of a configuration that are used here. */
type RowConfig = Pick<RewardConfig, 'maxLength' | 'maxPromptLength' | 'validationFraction' | 'seed'> & {
  data: Paths;
  validation?: Paths | undefined;
  form?: string | undefined;
  map?: string | undefined;
};
type PairConfig = RowConfig & { rules: 'v1' | 'v2' };

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
export async function loadPairs(config: PairConfig, tokenizer: ModelText): Promise<Loaded> {
  const longest = ({ prompt, chosen, rejected }: Preference) =>
    prompt.length + Math.max(chosen.length, rejected.length);
  const split = config.rules === 'v1' ? lastRows(config) : undefined;
  const read = await readHoldingOut(config, (paths) => readPairs(paths, config, tokenizer), longest, split);
  return { pairs: read.train, ...told(read, 'pairs') };
}

/** Reads the labelled responses that `config` names, and holds some out as configured. @throws DataError, FileError */
export async function loadLabels(
  config: RowConfig,
  tokenizer: ModelText,
): Promise<Read & { labels: Label[]; validation: Label[] }> {
  const { maxLength, maxPromptLength } = config;
  const limits = { maxLength, maxPromptLength, overlong: 'cut' } as const;
  const readLabels = (paths: Paths) =>
    loadRows('label', paths, tokenizer, limits, { ...formOptions(config), chat: tokenizer.chat });
  const tokensOf = ({ prompt, response }: Label) => prompt.length + response.length;
  const read = await readHoldingOut<Label>(config, readLabels, tokensOf);
  return { labels: read.train, ...told(read, 'labels') };
}

function told<Row>({ train, validation, counts, notices, longest }: HeldOut<Row>, what: string) {
  return { validation, rows: { [what]: train.length, ...counts }, notices, longest };
}

async function readPairs(paths: Paths, config: PairConfig, tokenizer: ModelText): Promise<ReadRows<Preference>> {
  const { maxLength, maxPromptLength } = config;
  const limits = { maxLength, maxPromptLength };
  const { pairs, ...about } =
    config.rules === 'v1'
      ? await loadPreferencesV1(paths, tokenizer, limits)
      : await loadPreferences(paths, tokenizer, limits, { ...formOptions(config), chat: tokenizer.chat });
  return { rows: pairs, ...about };
}

/** Holds out the last rows. */
function lastRows({ validationFraction: fraction }: PairConfig) {
  return ({ rows }: ReadRows<Preference>): Split<Preference> => {
    const train = rows.length - Math.floor(rows.length * fraction);
    return { train: rows.slice(0, train), validation: rows.slice(train) };
  };
}
