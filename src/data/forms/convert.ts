/** Rows of one kind from rows of another, where nothing is lost by it. */
import type { Skipped } from '../row.ts';
import type { FormRow, LabelRow, PairRow, PromptRow, RankingRow, RatingRow, RowKind, RowOf } from './rows.ts';

/** The kinds that a row can become, besides its own. Only prompts leave something out: they are what was asked. */
const BECOMES: Readonly<Record<RowKind, readonly RowKind[]>> = {
  text: [],
  turns: ['prompt'],
  prompt: [],
  completion: ['prompt'],
  pair: ['label', 'prompt'],
  ranking: ['pair', 'label', 'prompt'],
  rating: ['ranking', 'pair', 'label', 'prompt'],
  label: ['prompt'],
  steps: ['prompt'],
};

/** Whether rows of kind `from` can become rows of kind `to`. */
export function converts(from: RowKind, to: RowKind): boolean {
  return from === to || BECOMES[from].includes(to);
}

/** A row and where it is. */
export interface PlacedRow<R extends FormRow = FormRow> {
  place: string;
  /** The place in words, within one file: `line 3`. */
  at: string;
  row: R;
}

/**
 * The rows of kind `to` that `rows` become, and the others as `left` with the reason. Ratings of the same prompt become
 * one ranking, a ranking one pair for every two responses of different rank, and a pair two labels.
 */
export function rowsAs<K extends RowKind>(
  to: K,
  rows: readonly PlacedRow[],
): { rows: PlacedRow<RowOf<K>>[]; left: Skipped[] } {
  const left: Skipped[] = [];
  const asked = new Set<string>();
  const found: PlacedRow<RowOf<K>>[] = [];
  for (const { row, ...at } of to === 'ranking' || to === 'pair' || to === 'label' ? rankRatings(rows) : rows) {
    const made = asKind(to, row);
    if (made.length === 0 && converts(row.kind, to)) left.push({ place: at.place, reason: REASONS[row.kind] ?? EMPTY });
    for (const one of made) {
      const again = one.kind === 'prompt' && asked.size === asked.add(`${at.place} ${JSON.stringify(one.prompt)}`).size;
      if (!again) found.push({ ...at, row: one as RowOf<K> }); // a tree asks some prompts several times
    }
  }
  return { rows: found, left };
}

const EMPTY = 'it has no prompt';
/** Why a row of a kind may become nothing. */
const REASONS: { [kind in RowKind]?: string } = {
  rating: 'no other response to its prompt is rated',
  ranking: 'all its responses are tied',
};

function asKind(to: RowKind, row: FormRow): FormRow[] {
  if (row.kind === to) return [row];
  if (!converts(row.kind, to)) return [];
  if (to === 'prompt') return promptOf(row as Exclude<FormRow, { kind: 'text' }>);
  if (row.kind === 'rating') return []; // alone, as rankRatings leaves it
  const pairs = row.kind === 'ranking' ? pairsOf(row) : [row as PairRow];
  return to === 'pair' ? pairs : pairs.flatMap(labelsOf);
}

/** What was asked, with the row's `meta`; nothing for a dialogue that the assistant begins. */
function promptOf(row: Exclude<FormRow, { kind: 'text' }>): PromptRow[] {
  const prompt = row.kind === 'turns' ? row.turns.slice(0, -1) : row.prompt;
  return prompt.length === 0 ? [] : [{ kind: 'prompt', prompt, meta: row.meta }];
}

/** One pair for every two responses of different rank, each with its share of the prompt as weight. */
export function pairsOf({ prompt, responses, rank, annotator, meta }: RankingRow): PairRow[] {
  const pairs = responses.flatMap((chosen, i) =>
    responses.flatMap((rejected, j) =>
      (rank[i] as number) < (rank[j] as number) && chosen !== rejected ? [{ chosen, rejected }] : [],
    ),
  );
  const more = { weight: 1 / pairs.length, ...(annotator === undefined ? {} : { annotator }) };
  return pairs.map((pair) => ({ kind: 'pair', prompt, ...pair, ...more, meta }));
}

function labelsOf({ prompt, chosen, rejected, meta }: PairRow): LabelRow[] {
  return [
    { kind: 'label', prompt, response: chosen, good: true, meta },
    { kind: 'label', prompt, response: rejected, good: false, meta },
  ];
}

/** Ratings that do not say whether a response is better: how hard or how long it is. */
const NEUTRAL = ['complexity', 'verbosity'];

/** One number for the ratings of a response: their mean, without complexity and verbosity. */
export function meanRating(ratings: RatingRow['ratings']): number {
  const all = Object.entries(ratings);
  const telling = all.filter(([name]) => !NEUTRAL.includes(name));
  const used = telling.length > 0 ? telling : all;
  return used.reduce((sum, [, value]) => sum + value, 0) / used.length;
}

/** Replaces ratings by one ranking for each prompt that has several, at the place of its first rating. */
function rankRatings(rows: readonly PlacedRow[]): PlacedRow[] {
  const groups = new Map<string, PlacedRow<RatingRow>[]>();
  const others: PlacedRow[] = [];
  for (const placed of rows) {
    if (placed.row.kind !== 'rating') {
      others.push(placed);
      continue;
    }
    const key = JSON.stringify(placed.row.prompt);
    const group = groups.get(key) ?? [];
    group.push(placed as PlacedRow<RatingRow>);
    groups.set(key, group);
  }
  const ranked = [...groups.values()].map((group) => (group.length > 1 ? rankingOf(group) : (group[0] as PlacedRow)));
  return [...others, ...ranked];
}

function rankingOf(group: readonly PlacedRow<RatingRow>[]): PlacedRow<RankingRow> {
  const [first] = group as [PlacedRow<RatingRow>];
  const scores = group.map(({ row }) => meanRating(row.ratings));
  const order = [...new Set(scores)].sort((a, b) => b - a);
  const meta = { ...first.row.meta, ratings: group.map(({ row }) => row.ratings) };
  const responses = group.map(({ row }) => row.response);
  const rank = scores.map((score) => order.indexOf(score));
  return { ...first, row: { kind: 'ranking', prompt: first.row.prompt, responses, rank, meta } };
}
