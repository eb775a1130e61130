/** Loads what reward models learn from: pairs, rankings of several responses, or ratings. */
import { path } from '../config/fields.ts';
import type { RewardConfig } from '../config/reward.ts';
import type { Completion } from '../data/completions.ts';
import { firstForms, formOptions } from '../data/forms/read.ts';
import type { Preference } from '../data/preferences.ts';
import type { Ranking } from '../data/rankings.ts';
import type { RatedResponse } from '../data/ratings.ts';
import type { Paths } from '../data/records.ts';
import { loadRows } from '../data/token-rows.ts';
import type { ModelText } from '../runs/model-file.ts';
import { type ReadRows, readHoldingOut, rowFiles, usableRows } from './held-out.ts';
import { loadPairs } from './preferences.ts';
import { learnsRatings, readRatings } from './ratings.ts';

/** The fields that name the files. */
export const comparisonFiles = {
  ...rowFiles(
    '{prompt, chosen, rejected}, {prompt, responses, ranking}, {prompt, response, rating}, or any form that gives such rows',
    'rows',
  ),
  references: path.optional().describe('file with {prompt, completion}: answers whose mean score becomes 0 at the end'),
};

/** The fields of a configuration that are used here. */
type ComparisonConfig = Parameters<typeof loadPairs>[0] & Pick<RewardConfig, 'ranking' | 'rating'>;

/** Pairs and rankings, or ratings. */
type Feedback = (Preference | Ranking)[] | RatedResponse[];

type Loaded = Omit<Awaited<ReturnType<typeof loadPairs>>, 'pairs' | 'validation'> & {
  pairs: Feedback;
  validation: Feedback;
  /** The most responses to one prompt. */
  perPrompt: number;
};

/** Reads the files that `config` names, as the form of the first one says, and holds out rows. @throws DataError, FileError */
export async function loadComparisons(config: ComparisonConfig, tokenizer: ModelText): Promise<Loaded> {
  const kind = await kindOf(config);
  if (learnsRatings(config, kind === 'rating')) return await loadRatings(config, tokenizer);
  if (kind === 'pair') return { ...(await loadPairs(config, tokenizer)), perPrompt: 2 };
  const read = (paths: Paths) => readRankings(paths, config, tokenizer);
  const { train, validation, counts, notices, longest } = await readHoldingOut(config, read, longestOf);
  return {
    pairs: train,
    validation,
    rows: { rankings: train.length, ...counts },
    notices,
    longest,
    perPrompt: [...train, ...validation].reduce((max, { responses }) => Math.max(max, responses.length), 2),
  };
}

/** The answers of the file `references`. @throws DataError, FileError */
export async function loadReferences(
  { references, maxLength, maxPromptLength }: ComparisonConfig & { references?: string | undefined },
  tokenizer: ModelText,
): Promise<Completion[] | undefined> {
  if (references === undefined) return undefined;
  const limits = { maxLength, maxPromptLength, overlong: 'cut' } as const;
  return (await loadRows('completion', references, tokenizer, limits, { chat: tokenizer.chat })).rows;
}

async function loadRatings(config: ComparisonConfig, tokenizer: ModelText): Promise<Loaded> {
  const read = (paths: Paths) => readRatings(paths, config, tokenizer);
  const tokensOf = ({ prompt, response }: RatedResponse) => prompt.length + response.length;
  const { train: pairs, validation, counts, notices, longest } = await readHoldingOut(config, read, tokensOf);
  return { pairs, validation, rows: { ratings: pairs.length, ...counts }, notices, longest, perPrompt: 1 };
}

/** What the first file gives: responses in order, rated ones, or else pairs. The rules `v1` know only pairs. */
async function kindOf(config: ComparisonConfig): Promise<'ranking' | 'rating' | 'pair'> {
  if (config.rules === 'v1') return 'pair';
  const [first] = await firstForms(config.data, formOptions(config));
  return (['ranking', 'rating'] as const).find((kind) => first?.form?.gives.includes(kind)) ?? 'pair';
}

/** Rankings, without those whose responses are all equally good if nothing is learned from them. */
async function readRankings(paths: Paths, config: ComparisonConfig, tokenizer: ModelText): Promise<ReadRows<Ranking>> {
  const { maxLength, maxPromptLength, ranking } = config;
  const limits = { maxLength, maxPromptLength, overlong: 'cut' } as const;
  const read = await loadRows('ranking', paths, tokenizer, limits, { ...formOptions(config), chat: tokenizer.chat });
  const usesTies = ranking.ties !== 'drop' || ranking.anchorWeight > 0;
  const teaches = ({ rank }: Ranking) => usesTies || new Set(rank).size > 1;
  return usableRows(paths, read, teaches, 'all its responses are tied');
}

function longestOf({ prompt, responses }: Ranking): number {
  return prompt.length + Math.max(...responses.map(({ length }) => length));
}
