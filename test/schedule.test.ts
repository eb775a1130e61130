import { describe, expect, it } from 'vitest';
import { ArgumentError } from '../src/errors.ts';
import { AdaptiveKl, learningRate, type Schedule } from '../src/trainers/schedule.ts';

const schedule: Schedule = { lr: 1, minLr: 0.2, warmupSteps: 4, steps: 12, decay: 'cosine' };

function rates(given: Schedule, steps: number[]): number[] {
  return steps.map((step) => learningRate(step, given));
}

describe('learningRate', () => {
  it('warms up linearly, never starting from 0', () => {
    expect(rates(schedule, [0, 1, 2, 3])).toEqual([0.25, 0.5, 0.75, 1]);
  });

  it('decays along half a cosine', () => {
    // A quarter of the way: 0.2 + 0.8 · (1 + cos 45°) / 2.
    expect(learningRate(4, schedule)).toBe(1);
    expect(learningRate(6, schedule)).toBeCloseTo(0.882842712474619, 14);
    expect(learningRate(8, schedule)).toBeCloseTo(0.6, 14);
    expect(rates(schedule, [12, 13, 1000])).toEqual([0.2, 0.2, 0.2]);
  });

  it('decays linearly, or not at all', () => {
    expect(learningRate(6, { ...schedule, decay: 'linear' })).toBeCloseTo(0.8, 14);
    expect(learningRate(12, { ...schedule, decay: 'linear' })).toBeCloseTo(0.2, 14);
    expect(rates({ ...schedule, decay: 'constant' }, [2, 4, 12, 99])).toEqual([0.75, 1, 1, 1]);
  });

  it('ends at a tenth of the peak rate by default', () => {
    expect(learningRate(12, { ...schedule, minLr: undefined })).toBe(0.1);
  });

  it('needs no warm-up, and a warm-up may outlast the run', () => {
    expect(rates({ ...schedule, warmupSteps: 0 }, [0, 12])).toEqual([1, 0.2]);
    expect(rates({ ...schedule, warmupSteps: 100 }, [0, 11])).toEqual([0.01, 0.12]);
    expect(learningRate(12, { ...schedule, warmupSteps: 12 })).toBe(1);
  });

  it('warms up over a tenth of the steps, at most 100, by default, so that every run reaches the peak rate', () => {
    const { warmupSteps: _, ...usual } = schedule;
    const highest = (steps: number) => {
      const all = Array.from({ length: steps }, (_, step) => learningRate(step, { ...usual, steps }));
      return [all.indexOf(Math.max(...all)) + 1, Math.max(...all)];
    };
    expect([1, 2, 13, 20, 93, 1500, 5000].map(highest)).toEqual([
      [1, 1],
      [1, 1],
      [2, 1],
      [2, 1],
      [10, 1],
      [100, 1],
      [100, 1],
    ]);
    expect(learningRate(0, { ...usual, steps: 1500 })).toBe(0.01);
  });

  it('refuses an end above the start', () => {
    expect(() => learningRate(0, { ...schedule, minLr: 2 })).toThrow(ArgumentError);
  });
});

describe('AdaptiveKl', () => {
  it('moves the weight by the relative error, clipped to a fifth, in proportion to the responses seen', () => {
    const kl = new AdaptiveKl(0.15, { target: 6, horizon: 10000 });
    kl.update(6.6, 500); // error 0.1: a factor of 1 + 0.1 · 0.05
    expect(kl.weight).toBeCloseTo(0.15 * 1.005, 15);
    kl.update(60, 1000); // error 9, clipped to 0.2
    expect(kl.weight).toBeCloseTo(0.15 * 1.005 * 1.02, 15);
    kl.update(0, 1000); // error −1, clipped to −0.2
    expect(kl.weight).toBeCloseTo(0.15 * 1.005 * 1.02 * 0.98, 15);
  });

  it('stays positive, however many responses there are to a short horizon', () => {
    const kl = new AdaptiveKl(0.05, { target: 6, horizon: 10 });
    kl.update(0, 64); // as 10 responses: a factor of 0.8
    expect(kl.weight).toBeCloseTo(0.04, 15);
    kl.update(100, 1e6);
    expect(kl.weight).toBeCloseTo(0.048, 15);
  });

  it.each([
    ['klWeight', 0, 1, 1],
    ['target', 0.1, 0, 1],
    ['horizon', 0.1, 1, -1],
    ['klWeight', Number.NaN, 1, 1],
  ])('refuses a %s that would stop it', (name, weight, target, horizon) => {
    expect(() => new AdaptiveKl(weight, { target, horizon })).toThrow(
      expect.objectContaining({ code: 'ERR_ARGUMENT', argument: `AdaptiveKl.${name}` }),
    );
  });

  it('keeps the weight at the target', () => {
    const kl = new AdaptiveKl(0.15, { target: 6, horizon: 10000 });
    kl.update(6, 512);
    expect(kl.weight).toBe(0.15);
  });

  it('continues from a saved state', () => {
    const one = new AdaptiveKl(0.15, { target: 6, horizon: 1000 });
    one.update(7, 100);
    const other = new AdaptiveKl(0.9, { target: 6, horizon: 1000 });
    other.restore(JSON.parse(JSON.stringify(one.state())));
    one.update(2, 100);
    other.update(2, 100);
    expect(other.weight).toBe(one.weight);
  });
});
