/** What to look at in a run: metrics side by side, where their values are healthy, and what it means when they are not. */
import { grouped } from '../report/groups.ts';
import type { Series } from './series.ts';

/** Metrics that are shown together. */
export interface Panel {
  title: string;
  metrics: readonly string[];
}

/** The series of a run by the names of their metrics. */
export type RunSeries = ReadonlyMap<string, Pick<Series, 'recent' | 'count'>>;

const PANELS: readonly [title: string, metrics: readonly (string | RegExp)[]][] = [
  [
    'Score and reward',
    ['score', 'reward', /^score\./, 'agreement', 'scoreAll', 'scoreKept', 'scoreStd', 'zeroStdShare'],
  ],
  ['Distance from the reference', ['kl', 'klWeight', 'klLoss', 'entropy']],
  ['Pairs', ['accuracy', 'validationAccuracy', 'margin', 'validationEce', 'validationError']],
  ['Chosen and rejected', ['chosenReward', 'rejectedReward', 'chosenLogProb', 'rejectedLogProb']],
  ['Losses', ['loss', 'validationLoss', 'policyLoss', 'valueLoss', 'explainedVariance', 'pretrainingLoss']],
  ['Answers', ['responseLength', 'eosShare', 'repetition', 'unscored']],
  ['Size of the updates', ['approxKl', 'clipFraction', 'valueClipFraction', 'maxLogRatio']],
  ['Before the first update', ['firstLogRatio', 'samplerGap']],
  ['Optimizer', ['gradNorm', 'learningRate', 'skipped', 'microBatch', 'epochs']],
  ['Speed', ['tokensPerSecond', 'seconds', 'rolloutSeconds']],
];

/** The panels of runs that have metrics of these names; those that no panel knows come after, as reports group them. */
export function panelsOf(names: readonly string[]): Panel[] {
  const left = new Set(names);
  const take = (wanted: string | RegExp) => {
    const found = [...left].filter((name) => (typeof wanted === 'string' ? name === wanted : wanted.test(name)));
    for (const name of found) left.delete(name);
    return found;
  };
  const known = PANELS.map(([title, wanted]) => ({ title, metrics: wanted.flatMap(take) }));
  const others = grouped([...left]).map(([title, metrics]) => ({ title: `More: ${title.toLowerCase()}`, metrics }));
  return [...known, ...others].filter(({ metrics }) => metrics.length > 0);
}

/** The range of healthy values, and what it means to be below or above it. */
interface Healthy {
  range: readonly [low: number, high: number];
  below?: string;
  above?: string;
}

const UP = Number.POSITIVE_INFINITY;
const NO_END = 'Hardly any answer ends by itself: maxNewTokens may be too low, or the policy has unlearned to stop.';
const CLIPPED = 'Many tokens are clipped: lr or the number of epochs is too high.';

const HEALTHY: Readonly<Record<string, Healthy>> = {
  kl: {
    range: [0, 10],
    below:
      'KL is below 0: the sampler and training disagree about log-probabilities, or the reference is another model.',
    above: 'The policy is far from the reference: a higher klWeight or a lower lr keeps it closer.',
  },
  entropy: { range: [0.05, UP], below: 'Answers are nearly always the same: the policy no longer explores.' },
  approxKl: { range: [0, 0.02], above: 'Each iteration moves the policy far: lower lr, or set approxKlStop.' },
  clipFraction: { range: [0, 0.2], above: CLIPPED },
  valueClipFraction: { range: [0, 0.2], above: 'Many values are clipped: the critic cannot follow its returns.' },
  firstLogRatio: {
    range: [0, 0.01],
    above: 'Before any update the ratios should be 1: log-probabilities are not those that the answers were drawn by.',
  },
  samplerGap: { range: [0, 0.2], above: 'The sampler and training disagree about log-probabilities.' },
  explainedVariance: {
    range: [0, 1],
    below:
      'The critic predicts returns worse than their mean would. It is usual only while all returns are nearly alike.',
  },
  eosShare: { range: [0.05, 1], below: NO_END },
  repetition: { range: [0, 0.3], above: 'Answers repeat themselves: the policy may be exploiting the reward.' },
  zeroStdShare: {
    range: [0, 0.8],
    above: 'For most prompts all answers have the same score, so nothing is learned from them.',
  },
  agreement: { range: [0.2, 1], below: 'The held-out reward no longer agrees with the reward that is learned from.' },
  accuracy: { range: [0.5, 1], below: 'Rejected responses have the higher reward more often than chosen ones.' },
  validationAccuracy: { range: [0.55, 1], below: 'Held-out pairs are ordered little better than by a coin.' },
  validationEce: { range: [0, 0.1], above: 'The differences of scores say too little or too much about preferences.' },
  skipped: { range: [0, 0], above: 'Updates that were not finite were left out: lower lr.' },
};

/** The range of values of a metric that is healthy; undefined if there is none. */
export function healthyRange(name: string): readonly [low: number, high: number] | undefined {
  return HEALTHY[name]?.range;
}

/** Values that are compared with those before them. */
const FEW = 10;
const MANY = 2 * FEW;
const SPIKE = 10;
const GAP = 0.15;

/** A sentence for each metric of a run whose last values are not healthy, by its name. */
export function warnings(run: RunSeries): Map<string, string> {
  const found = new Map<string, string>();
  for (const [name, { range, below, above }] of Object.entries(HEALTHY)) {
    const values = last(run, name, FEW);
    if (values.length === 0) continue;
    const value = mean(values);
    if (value < range[0] && below !== undefined) found.set(name, below);
    if (value > range[1] && above !== undefined) found.set(name, above);
  }
  for (const [name, says] of Object.entries(COURSES)) {
    const sentence = says(run);
    if (sentence !== undefined && !found.has(name)) found.set(name, sentence);
  }
  return found;
}

/** What the course of a metric, or of two, tells. */
const COURSES: Readonly<Record<string, (run: RunSeries) => string | undefined>> = {
  score: (run) => {
    const values = last(run, 'score', MANY);
    if (values.length < MANY || values.some((value) => value !== values[0])) return undefined;
    return 'The score has not changed for 20 steps: see whether the answers differ, and their scores.';
  },
  reward: (run) => {
    if (!(change(run, 'reward') < 0 && change(run, 'score') > 0)) return undefined;
    return 'The reward falls while the score rises: the KL penalty grows faster than the score.';
  },
  'score.heldOut': (run) => {
    if (!(change(run, 'score.heldOut') < 0 && change(run, 'score') > 0)) return undefined;
    return 'The held-out score falls while the score rises: the policy exploits the reward.';
  },
  valueLoss: (run) => (change(run, 'valueLoss') > 0 ? 'The loss of the critic rises.' : undefined),
  validationLoss: (run) => {
    if (!(change(run, 'validationLoss') > 0 && change(run, 'loss') < 0)) return undefined;
    return 'The loss on held-out rows rises while that on training rows falls: the model overfits.';
  },
  validationAccuracy: (run) => {
    const [held, own] = ['validationAccuracy', 'accuracy'].map((name) => last(run, name, FEW));
    if (held?.length === 0 || !(mean(own ?? []) - mean(held ?? []) > GAP)) return undefined;
    return 'The accuracy on training pairs is far above that on held-out ones: the model overfits.';
  },
  gradNorm: (run) => {
    const values = last(run, 'gradNorm', MANY).sort((a, b) => a - b);
    if (values.length < MANY || !((values.at(-1) as number) > SPIKE * (values[FEW] as number))) return undefined;
    return 'The gradient had a spike, more than ten times as large as is usual.';
  },
};

/**
 * How a metric has changed: the mean of its last 10 values minus that of the 10 before. 0 if there are fewer, or if it is within what
 * the values vary by.
 */
function change(run: RunSeries, name: string): number {
  const values = last(run, name, MANY);
  if (values.length < MANY) return 0;
  const [before, after] = [values.slice(0, FEW), values.slice(FEW)];
  const difference = mean(after) - mean(before);
  // Twice the standard error of the difference of two means.
  const noise = 2 * Math.sqrt((variance(before) + variance(after)) / FEW);
  return Math.abs(difference) > noise ? difference : 0;
}

function last(run: RunSeries, name: string, count: number): number[] {
  return run.get(name)?.recent.slice(-count) ?? [];
}

function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}

function variance(values: readonly number[]): number {
  const centre = mean(values);
  return values.reduce((sum, value) => sum + (value - centre) ** 2, 0) / (values.length - 1);
}
