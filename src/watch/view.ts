/** What a page shows, as its address says: which runs, which steps, which answer. */
import { labelOf } from '../report/tables.ts';
import { ApiError } from '../web/api-error.ts';
import type { WatchedRun } from './watched-run.ts';

/** Runs that are drawn at once. */
export const MOST_RUNS = 4;

/** Numbers of tokens that an answer can be colored by. */
export const MEASURES = ['logRatio', 'reward', 'advantage'] as const;
export type Measure = (typeof MEASURES)[number];

/** A run that is shown. */
export interface ShownRun {
  run: WatchedRun;
  /** Its letter, which it has among all runs. */
  label: string;
  /** Its place among the runs that are shown, which gives color and dashes. */
  place: number;
}

export interface View {
  runs: readonly ShownRun[];
  /** Whether there are others: then runs have letters. */
  several: boolean;
  /** The first step that is drawn; undefined for all. */
  from: number | undefined;
  /** The answer whose tokens are shown: the letter of its run, and its place in samples.jsonl. */
  answer: { label: string; index: number } | undefined;
  by: Measure;
}

/**
 * The view that an address asks for; by default the first four runs, and the last answer of none.
 * @throws ApiError for a run that is not watched, more than four, and anything that is no number or measure
 */
export function viewOf(query: URLSearchParams, all: readonly WatchedRun[]): View {
  const known = all.map((run, i) => ({ run, label: labelOf(i) }));
  const asked = query.getAll('run');
  if (asked.length > MOST_RUNS) refuse('run', `at most ${MOST_RUNS} runs`);
  const labels = asked.length === 0 ? known.slice(0, MOST_RUNS).map(({ label }) => label) : [...new Set(asked)];
  const runs = labels.map((label, place): ShownRun => {
    const found = known.find((each) => each.label === label);
    return found === undefined ? refuse('run', 'the letter of a run') : { ...found, place };
  });
  const [, label, index] = /^([A-Z]+)-(\d{1,9})$/.exec(query.get('answer') ?? '') ?? [];
  if (query.has('answer') && label === undefined) refuse('answer', 'a letter and a number, as in A-12');
  const by = query.get('by') ?? 'logRatio';
  if (!isMeasure(by)) refuse('by', `one of ${MEASURES.join(', ')}`);
  return {
    ...{ runs, several: all.length > 1, by: by as Measure },
    from: wholeNumber(query, 'from'),
    answer: label === undefined ? undefined : { label, index: Number(index) },
  };
}

/** A number of the address, undefined if it has none. @throws ApiError for anything else */
export function wholeNumber(query: URLSearchParams, name: string): number | undefined {
  const text = query.get(name);
  if (text === null) return undefined;
  return /^\d{1,15}$/.test(text) ? Number(text) : refuse(name, 'a whole number');
}

/** The address of a view, as a link in a page. */
export function linkTo({ runs, several, from, answer, by }: View): string {
  const query = new URLSearchParams();
  if (several) for (const { label } of runs) query.append('run', label);
  if (from !== undefined) query.set('from', String(from));
  if (answer !== undefined) query.set('answer', `${answer.label}-${answer.index}`);
  if (answer !== undefined) query.set('by', by);
  return `?${query}`;
}

function isMeasure(text: string): text is Measure {
  return (MEASURES as readonly string[]).includes(text);
}

function refuse(param: string, expected: string): never {
  throw new ApiError(400, `${param} must be ${expected}`, { param });
}
