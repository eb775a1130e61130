/**
 * Which of several responses to a prompt are the best, and how good selecting is. Responses to the same prompt are neighbours:
 * `samplesPerPrompt` at a time.
 */
import { checkKind, checkKinds, COUNT, LISTS, SHARE, WHOLE } from '../checks/kinds.ts';
import { checkOptions } from '../checks/options.ts';
import { ArgumentError } from '../errors.ts';
import { chunks } from './rollouts.ts';

export interface SelectOptions {
  /** Responses per prompt. */
  samplesPerPrompt: number;
  /** Only scores at or above this quantile of the scores of their prompt are kept; 0 keeps all but the worst. */
  percentile: number;
}

/**
 * The places of responses to learn from, in order: those whose score is at or above the quantile of their prompt's scores (linear
 * between two of them) and above the lowest. Equal responses to a prompt are kept once; so none is where all scores are equal.
 * @throws ArgumentError unless there is a score for every response, and a multiple of `samplesPerPrompt`.
 */
export function selectResponses(
  responses: readonly (readonly number[])[],
  scores: readonly number[],
  options: SelectOptions,
): number[] {
  checkKind('responses', responses, LISTS);
  checkOptions(options, ['samplesPerPrompt', 'percentile'], 'selectResponses');
  checkKinds('selectResponses options', options, { samplesPerPrompt: COUNT, percentile: SHARE });
  const { samplesPerPrompt, percentile } = options;
  checkScores(scores, samplesPerPrompt, responses.length);
  return chunks(scores, samplesPerPrompt).flatMap((some, prompt) => {
    const least = quantile(some, percentile);
    const lowest = Math.min(...some);
    const said = new Set<string>();
    return some.flatMap((score, i) => {
      const place = prompt * samplesPerPrompt + i;
      const words = (responses[place] as readonly number[]).join();
      if (score < least || score === lowest || said.has(words)) return [];
      said.add(words);
      return [place];
    });
  });
}

/** The quantile of `values` at `share`, from 0 to 1: linear between the two nearest of them. */
function quantile(values: readonly number[], share: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  const place = share * (sorted.length - 1);
  // 0.55 · 100 is 55.00000000000001: a value at the quantile itself must not fall below it.
  const exact = Math.abs(place - Math.round(place)) < 1e-9 ? Math.round(place) : place;
  const below = sorted[Math.floor(exact)] as number;
  return below + (exact - Math.floor(exact)) * ((sorted[Math.ceil(exact)] as number) - below);
}

/**
 * Best of n: the place of the best of each prompt's responses; the first of equal ones.
 * @throws ArgumentError unless the number of scores is a multiple of `samplesPerPrompt`.
 */
export function bestOfN(scores: readonly number[], samplesPerPrompt: number): number[] {
  checkKind('samplesPerPrompt', samplesPerPrompt, COUNT);
  checkScores(scores, samplesPerPrompt, undefined);
  return chunks(scores, samplesPerPrompt).map((some, prompt) => {
    return prompt * samplesPerPrompt + some.indexOf(Math.max(...some));
  });
}

/** An upper bound on KL(best of n ‖ policy), in nats per response: log n − (n − 1) / n. */
export function bestOfNKl(n: number): number {
  checkKind('n', n, COUNT);
  return Math.log(n) - (n - 1) / n;
}

/**
 * The probability that at least one of k responses is right, estimated without bias from n of which `correct` are:
 * 1 − C(n − correct, k) / C(n, k) (Chen et al. 2021).
 * @throws ArgumentError unless `correct` and k are at most n.
 */
export function passAtK(n: number, correct: number, k: number): number {
  checkKinds('passAtK', { n, correct, k }, { n: COUNT, correct: WHOLE, k: COUNT });
  for (const [argument, value] of Object.entries({ correct, k })) {
    if (value > n) throw new ArgumentError({ argument, received: String(value), expected: `at most n, ${n}` });
  }
  let none = 1;
  for (let i = 0; i < k; i++) none *= Math.max(0, n - correct - i) / (n - i);
  return 1 - none;
}

function checkScores(scores: readonly number[], samplesPerPrompt: number, responses: number | undefined): void {
  checkKind('scores', scores, { is: isNumbers, words: 'an array of finite numbers' });
  if (responses !== undefined && scores.length !== responses) {
    const expected = `${responses}, one for each response`;
    throw new ArgumentError({ argument: 'scores', received: `${scores.length} scores`, expected });
  }
  if (scores.length % samplesPerPrompt === 0) return;
  const expected = `a multiple of samplesPerPrompt, ${samplesPerPrompt}`;
  throw new ArgumentError({ argument: 'scores', received: `${scores.length} scores`, expected });
}

function isNumbers(value: unknown): boolean {
  return Array.isArray(value) && value.every(Number.isFinite);
}
