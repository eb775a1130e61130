/** How answers that were compared are turned into a loss; native/losses/ranking.h has the equations. */
import { checkOptions } from '../checks/options.ts';
import { ArgumentError, printable } from '../errors.ts';
import type { NativeRankingOptions } from '../native/addon.ts';
import type { Ids, Inputs, Mask, Values } from '../tensor/arguments.ts';

/** The metrics of a ranking loss. */
export interface RankingMetrics {
  /** Share of pairs in the right order; equal scores count half. */
  accuracy: number;
  /** Score of the better response minus that of the worse one, averaged over pairs. */
  margin: number;
}

/** How compared answers are turned into a loss. By default, Bradley–Terry over all pairs that differ in rank. */
export interface RankingOptions {
  /** `pairs`, or `plackett-luce` for full orders, which has no ties, margins, smoothing or weights of scores. Defaults to `pairs`. */
  model?: 'pairs' | 'plackett-luce' | undefined;
  /** Equal ranks are no pair (`drop`), or teach equal scores (`rao-kupper`). Defaults to `drop`. */
  ties?: 'drop' | 'rao-kupper' | undefined;
  /** Difference of scores within which a tie is the most likely label, with `rao-kupper`. Defaults to ln 1.5. */
  tieWidth?: number | undefined;
  /** By how much each answer should beat those below it [B]. */
  margins?: Values | undefined;
  /** Probability that a label is wrong. */
  labelSmoothing?: number | undefined;
  /** Weight of (better + worse)², which centres scores around 0. */
  centerWeight?: number | undefined;
  /** Weight of (better² + worse²) / 2, which also keeps scores small. */
  l2Weight?: number | undefined;
  /** True for the answers to prompts without a good one [B]; needs `anchorWeight`. */
  noneGood?: Mask | undefined;
  /** Weight of comparing answers with a score of 0: the best one is above it, or all are below if none is good. */
  anchorWeight?: number | undefined;
}

const RANKING_OPTIONS = [
  ...['model', 'ties', 'tieWidth', 'margins', 'labelSmoothing', 'centerWeight', 'l2Weight', 'noneGood', 'anchorWeight'],
] as const;

const TIE_WIDTH = Math.log(1.5);
/** Options about pairs, which Plackett–Luce does not use. */
const OF_PAIRS = ['ties', 'tieWidth', 'margins', 'labelSmoothing', 'centerWeight', 'l2Weight'] as const;

/** Which of the rows [B] are compared: those with equal groups. Lower ranks are better. */
export interface Compared {
  groups: Ids;
  ranks: Ids;
  /** How; by default, Bradley–Terry over all pairs. */
  ranking?: RankingOptions;
}

/** The options for native code; tensors are of `inputs`. @throws ArgumentError for an option that the others leave unused. */
export function nativeRanking(inputs: Inputs, options: RankingOptions): NativeRankingOptions {
  checkOptions(options, RANKING_OPTIONS, 'ranking');
  const { model = 'pairs', ties = 'drop', tieWidth = TIE_WIDTH, margins, noneGood } = options;
  const { labelSmoothing = 0, centerWeight = 0, l2Weight = 0, anchorWeight = 0 } = options;
  checkWord('model', model, ['pairs', 'plackett-luce']);
  checkWord('ties', ties, ['drop', 'rao-kupper']);
  if (model === 'plackett-luce') for (const name of OF_PAIRS) checkUnused(name, options[name], 'plackett-luce');
  if (ties === 'drop') checkUnused('tieWidth', options.tieWidth, "ties: 'drop'");
  if (anchorWeight === 0) checkUnused('noneGood', noneGood, 'anchorWeight 0');
  return {
    margin: margins === undefined ? undefined : inputs.values(margins, 'margins'),
    noneGood: noneGood === undefined ? undefined : inputs.mask(noneGood, 'noneGood'),
    labelSmoothing,
    centerWeight,
    l2Weight,
    anchorWeight,
    tieWidth: ties === 'drop' ? undefined : tieWidth,
    plackettLuce: model === 'plackett-luce',
  };
}

function checkWord(argument: string, value: string, known: readonly string[]): void {
  if (known.includes(value)) return;
  throw new ArgumentError({ argument, received: printable(value), expected: known.join(' or ') });
}

function checkUnused(argument: string, value: unknown, by: string): void {
  if (value === undefined) return;
  throw new ArgumentError({ argument, received: 'a value', expected: `none, because ${by} does not use it` });
}
