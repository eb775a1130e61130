/** Panels: which metrics stand together, and when a sentence says that something is not healthy. */
import { describe, expect, it } from 'vitest';
import { healthyRange, panelsOf, warnings } from '../../src/watch/panels.ts';
import { Series } from '../../src/watch/series.ts';

/** A run whose metrics have these values, one a step. */
function run(metrics: Record<string, readonly number[]>): Map<string, Series> {
  const all = Object.entries(metrics).map(([name, values]): [string, Series] => {
    const series = new Series();
    for (const [i, value] of values.entries()) series.add(i + 1, value);
    return [name, series];
  });
  return new Map(all);
}

const flat = (value: number, count = 20) => Array.from({ length: count }, () => value);
const line = (from: number, to: number, count = 20) =>
  Array.from({ length: count }, (_, i) => from + ((to - from) * i) / (count - 1));
/** As values come from training: around a mean, without a trend. */
const noise = (mean: number, size: number) => Array.from({ length: 20 }, (_, i) => mean + size * Math.sin(i * 2.4));

describe('panels', () => {
  it('have each metric once, in a fixed order, and unknown ones at the end as reports group them', () => {
    const names = ['zebra', 'tokensPerSecond', 'kl', 'score.judge', 'score', 'entropy', 'score.heldOut', 'oddLoss'];
    const panels = panelsOf(names);
    expect(panels).toEqual([
      { title: 'Score and reward', metrics: ['score', 'score.judge', 'score.heldOut'] },
      { title: 'Distance from the reference', metrics: ['kl', 'entropy'] },
      { title: 'Speed', metrics: ['tokensPerSecond'] },
      { title: 'More: losses', metrics: ['oddLoss'] },
      { title: 'More: others', metrics: ['zebra'] },
    ]);
    expect(panels.flatMap(({ metrics }) => metrics).sort()).toEqual([...names].sort());
    expect(panelsOf([])).toEqual([]);
  });
});

describe('warnings', () => {
  const told = (metrics: Record<string, readonly number[]>) => [...warnings(run(metrics)).keys()];

  it('are none for a run that learns as it should', () => {
    const healthy = {
      ...{
        score: line(0, 1),
        reward: line(0, 0.8),
        kl: line(0, 4),
        entropy: line(3, 2),
        approxKl: noise(0.005, 0.001),
      },
      ...{ clipFraction: flat(0.1), firstLogRatio: flat(1e-7), samplerGap: flat(0.01), eosShare: flat(0.9) },
      ...{ explainedVariance: line(0, 0.7), valueLoss: line(1, 0.2), gradNorm: noise(1, 0.5), skipped: flat(0) },
      ...{
        accuracy: line(0.5, 0.8),
        validationAccuracy: line(0.5, 0.75),
        loss: line(3, 2),
        validationLoss: line(3, 2.2),
      },
      ...{ 'score.heldOut': line(0, 0.5), repetition: flat(0.05), zeroStdShare: flat(0.3), agreement: flat(0.8) },
    };
    expect(told(healthy)).toEqual([]);
    expect(told({})).toEqual([]);
  });

  it.each<[string, Record<string, readonly number[]>]>([
    ['kl', { kl: flat(-0.5) }],
    ['kl', { kl: flat(40) }],
    ['entropy', { entropy: flat(0.01) }],
    ['approxKl', { approxKl: flat(0.2) }],
    ['clipFraction', { clipFraction: flat(0.6) }],
    ['valueClipFraction', { valueClipFraction: flat(0.6) }],
    ['firstLogRatio', { firstLogRatio: flat(0.5) }],
    ['samplerGap', { samplerGap: flat(1) }],
    ['explainedVariance', { explainedVariance: flat(-2) }],
    ['eosShare', { eosShare: flat(0) }],
    ['repetition', { repetition: flat(0.7) }],
    ['zeroStdShare', { zeroStdShare: flat(0.95) }],
    ['agreement', { agreement: flat(-0.1) }],
    ['accuracy', { accuracy: flat(0.3) }],
    ['validationEce', { validationEce: flat(0.4) }],
    ['skipped', { skipped: [...flat(0), 1] }],
    ['score', { score: flat(2) }],
    ['reward', { reward: line(1, 0), score: line(0, 1) }],
    ['score.heldOut', { 'score.heldOut': line(1, 0), score: line(0, 1) }],
    ['valueLoss', { valueLoss: line(0, 1) }],
    ['validationLoss', { validationLoss: line(2, 3), loss: line(3, 2) }],
    ['validationAccuracy', { validationAccuracy: flat(0.6), accuracy: flat(0.95) }],
    ['validationAccuracy', { validationAccuracy: flat(0.5), accuracy: flat(0.51) }],
    ['gradNorm', { gradNorm: [...noise(1, 0.2).slice(1), 40] }],
  ])('say of %s what is not healthy: %o', (name, metrics) => {
    expect(told(metrics)).toEqual([name]);
    expect(warnings(run(metrics)).get(name)).toMatch(/^[A-Z].{20,}\.$/);
  });

  it('wait for enough values, and are not about noise', () => {
    expect(told({ score: flat(2, 19) })).toEqual([]);
    expect(told({ gradNorm: [1, 1, 99] })).toEqual([]);
    expect(told({ valueLoss: noise(1, 0.5), reward: noise(1, 1), score: noise(1, 1) })).toEqual([]);
    expect(told({ kl: [...flat(99, 30), ...flat(3, 10)] })).toEqual([]);
  });

  it('are about metrics whose healthy values are shaded', () => {
    expect(healthyRange('approxKl')).toEqual([0, 0.02]);
    expect(healthyRange('loss')).toBeUndefined();
  });
});
