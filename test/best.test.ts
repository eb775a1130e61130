/** The best step of a run: which it is, that its model is kept to the bit, and when a run that gets no better ends. */
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { inspectCommand } from '../src/cli/inspect.ts';
import { trainingCommand } from '../src/cli/train.ts';
import { modeOf } from '../src/config/evaluation.ts';
import { openSafetensors } from '../src/files/safetensors/safetensors.ts';
import { type RunOptions, runMethod, Tensor, train } from '../src/index.ts';
import { findModel } from '../src/runs/model-file.ts';
import type { Saveable } from '../src/tensor/tensor-files.ts';
import { readBest } from '../src/models/best-note.ts';
import { Best, type BestOptions } from '../src/trainers/best.ts';
import { untilEnding } from '../src/trainers/ending.ts';
import { capturePrinted, palm, printed } from './command-line.ts';
import { device } from './device.ts';

const folder = mkdtempSync(join(tmpdir(), 'palm-best-'));
afterAll(() => rmSync(folder, { recursive: true }));
capturePrinted();
const at = (...names: string[]) => join(folder, ...names);

/** A model of one weight, which every step sets to its number. */
function weight(): { weights: Saveable; set(value: number): void; value(): Promise<number> } {
  let tensor = Tensor.from([0]);
  return {
    weights: { contents: () => ({ tensors: [{ name: 'w', tensor }], metadata: new Map([['of', 'a test']]) }) },
    set(value) {
      tensor = Tensor.from([value]);
    },
    value: () => tensor.item(),
  };
}

/** Runs steps with these values of the metric `loss`; gives the numbers of the steps that came, and of those that were marked. */
async function seen(values: (number | undefined)[], options: Partial<BestOptions> = {}) {
  const { weights, set, value } = weight();
  async function* steps() {
    for (const [i, loss] of values.entries()) {
      set(i + 1);
      yield { step: i + 1, loss };
    }
  }
  const best = new Best(weights, { keepBest: 'loss', ...options });
  const came: number[] = [];
  const marked: number[] = [];
  for await (const { step, best: isBest } of untilEnding(steps(), { best })) {
    came.push(step);
    if (isBest) marked.push(step);
  }
  return { best, came, marked, value };
}

describe('the best step', () => {
  it.each([
    ['the lowest loss', [3, 2, 5, 2, 4], {}, [1, 2]],
    ['the highest, if told', [3, 2, 5, 5, 4], { mode: 'max' as const }, [1, 3]],
    ['none that is not finite', [Number.NaN, Number.NEGATIVE_INFINITY, 3, Number.NaN], {}, [3]],
    ['one of those that have the metric', [undefined, 4, undefined, undefined, 1, undefined], {}, [2, 5]],
  ])('is %s', async (_, values, options, marks) => {
    const { best, came, marked, value } = await seen(values, options);
    expect(came).toHaveLength(values.length);
    expect(marked).toEqual(marks);
    expect(best.found).toEqual({ step: marks.at(-1), metric: 'loss', value: values[(marks.at(-1) as number) - 1] });
    expect(best.reason).toBeUndefined();
    await best.putBack();
    expect(await value()).toBe(marks.at(-1));
    best.dispose();
  });

  it('ends a run after so many values in a row that are no better', async () => {
    const { best, came } = await seen([3, 4, 2, undefined, 2, undefined, 9, 1], { stopAfter: 2 });
    expect(came).toEqual([1, 2, 3, 4, 5, 6, 7]);
    expect(best.reason).toBe('loss has not become better in 2 values in a row');
    best.dispose();
  });

  it('is restored with its weights', async () => {
    const first = await seen([3, 1, 2]);
    const second = await seen([5]);
    second.best.restore(JSON.parse(JSON.stringify(first.best.state())));
    expect(second.best.found).toEqual(first.best.found);
    expect(second.best.state()).toEqual(first.best.state());
    const other = await seen([]);
    const state = first.best.state();
    for (const wrong of [null, {}, { ...state, since: -1 }, { ...state, best: { step: 1 } }])
      expect(() => other.best.restore(wrong as never)).toThrow('Best.restore');
    const score = new Best(weight().weights, { keepBest: 'score' });
    expect(() => score.restore(state)).toThrow('evaluation.keepBest: got score, expected loss');
    for (const { best } of [first, second, other]) best.dispose();
    score.dispose();
  });

  it('needs a metric that the steps have, and a direction', async () => {
    await expect(seen([1], { keepBest: 'lss', mode: 'min' })).rejects.toThrow('Did you mean loss?');
    expect(() => new Best(weight().weights, { keepBest: 'kl' })).toThrow('Best.mode: got nothing, expected min or max');
    expect(() => new Best(weight().weights, { keepBest: 'loss', stopAfter: 0 })).toThrow('stopAfter');
    expect(() => new Best({} as Saveable, { keepBest: 'loss' })).toThrow('weights');
  });

  it('is known to be low or high by the name of many metrics', () => {
    const modes = ['validationLoss', 'qLoss', 'validationEce', 'score', 'score.judge', 'validationAccuracy', 'margin'];
    expect(modes.map(modeOf)).toEqual(['min', 'min', 'min', 'max', 'max', 'max', 'max']);
    for (const name of ['kl', 'entropy', 'rejectedReward', 'gradNorm']) expect(modeOf(name)).toBeUndefined();
  });
});

// The end, which is held out, is not like the beginning: learning that by heart makes it no likelier.
const END = 'Did he who made the Lamb make thee? What the hammer? what the chain?';
writeFileSync(at('text.txt'), `${'Tiger, tiger, burning bright\nin the forests of the night,\n'.repeat(9)}${END}`);
const SMALL = { data: at('text.txt'), sequenceLength: 16, batchSize: 2, steps: 8, evaluateEvery: 2, device };
const MODEL = { dim: 16, depth: 1, heads: 2, dimHead: 8, ffMult: 2 };
const FAST = { model: MODEL, lr: 0.1, minLr: 0.1, warmupSteps: 0, decay: 'constant' as const };
const keep = { keepBest: 'validationLoss' };
type Evaluation = { keepBest?: string; mode?: 'min' | 'max'; stopAfter?: number };
const settings = (out: string, evaluation: Evaluation, more: object = {}) => {
  return { ...SMALL, ...FAST, evaluation, out: at(out), ...more };
};
const bytes = (...names: string[]) => readFileSync(at(...names));
const quiet: RunOptions = { sinks: [], say: () => {} };
const lossesOf = (out: string) => {
  const rows = bytes(out, 'metrics.jsonl').toString().trimEnd().split('\n');
  return rows.map((row) => JSON.parse(row) as { step: number; validationLoss?: number; best?: number });
};

describe('a run', () => {
  it('keeps the model of its best step, as if it had ended there', async () => {
    const { best, stopped, steps, metrics } = await runMethod('pretrain', settings('kept', keep), quiet);
    const rows = lossesOf('kept').filter(({ validationLoss }) => validationLoss !== undefined);
    const lowest = rows.reduce((low, row) =>
      (row.validationLoss as number) < (low.validationLoss as number) ? row : low,
    );
    expect(lowest.step, 'neither the first nor the last evaluation').toBe(4);
    expect(best).toEqual({
      ...{ step: lowest.step, metric: 'validationLoss', value: lowest.validationLoss },
      model: at('kept', 'best.safetensors'),
    });
    expect(lossesOf('kept').findLast((row) => row.best === 1)?.step).toBe(lowest.step);
    expect([stopped, steps, metrics.best]).toEqual([undefined, 8, undefined]);

    await runMethod('pretrain', settings('short', {}, { steps: lowest.step }), quiet);
    const contents = async (...names: string[]) => {
      await using file = await openSafetensors(at(...names));
      const read = [...file.entries].map(async ([name, { begin, end }]) => {
        const data = new Uint8Array(end - begin);
        await file.read(begin, data);
        return [name, Buffer.from(data).toString('base64')] as const;
      });
      return { best: readBest(file), tensors: new Map(await Promise.all(read)) };
    };
    const kept = await contents('kept', 'best.safetensors');
    expect(kept.tensors).toEqual((await contents('short', 'model.safetensors')).tensors);
    expect(kept.tensors).not.toEqual((await contents('kept', 'model.safetensors')).tensors);
    expect(kept.best).toEqual({ step: lowest.step, metric: 'validationLoss', value: lowest.validationLoss });
    expect(await findModel(at('kept', 'best.safetensors'))).toMatchObject({ tokenizer: { type: 'byte' } });
    expect(existsSync(at('short', 'best.safetensors'))).toBe(false);
  });

  it.each([1, 3, 6])('that is stopped after step %i keeps the same model when it has been resumed', async (last) => {
    const out = `resumed-${last}`;
    const controller = new AbortController();
    const sinks = [
      {
        write: ({ step }: { step: number }) => void (step === last && controller.abort(new Error('enough'))),
        close: async () => {},
      },
    ];
    const stopping = runMethod('pretrain', settings(out, keep), { ...quiet, sinks, signal: controller.signal });
    await expect(stopping).rejects.toThrow('enough');
    expect(existsSync(at(out, 'best.safetensors'))).toBe(false);
    await runMethod('pretrain', settings(out, keep), { ...quiet, resume: true });
    for (const file of ['best.safetensors', 'model.safetensors', 'metrics.jsonl'])
      expect(bytes(out, file).equals(bytes('kept', file)), file).toBe(true);
  });

  it('ends when it gets no better, for good unless it is told to go on', async () => {
    const never = { keepBest: 'loss', mode: 'max' as const, stopAfter: 3 };
    const said: string[] = [];
    const say = (line: string) => void said.push(line);
    const result = await runMethod('pretrain', settings('ended', never, { lr: 0.01, minLr: 0 }), { ...quiet, say });
    const { stopped, steps, best } = result;
    const reason = 'loss has not become better in 3 values in a row';
    expect(stopped).toEqual({ step: (best?.step as number) + 3, cause: 'no-improvement', reason });
    expect(steps).toBe(stopped?.step);
    expect(steps).toBeLessThan(8);
    expect(said).toContain(`ended at step ${steps} of 8: ${reason}`);
    const before = bytes('ended', 'model.safetensors');

    const again = settings('ended', never, { lr: 0.01, minLr: 0 });
    expect(await runMethod('pretrain', again, { ...quiet, say, resume: true })).toEqual({ ...result, metrics: {} });
    expect(said.at(-1)).toBe(`nothing to do: this run ended at step ${steps}: ${reason}`);
    expect(bytes('ended', 'model.safetensors').equals(before)).toBe(true);

    const longer = { ...again, evaluation: { ...never, stopAfter: 100 } };
    expect(await runMethod('pretrain', longer, { ...quiet, resume: true })).toMatchObject({
      steps: 8,
      stopped: undefined,
    });
  });

  it('tells of a held-out loss that has risen, unless it keeps the best', async () => {
    const said: string[] = [];
    const say = (line: string) => void said.push(line);
    await runMethod('pretrain', settings('risen', {}), { ...quiet, say });
    expect(said.at(-1)).toMatch(/^note: validationLoss was lowest at step \d, .*--evaluation.keepBest validationLoss/);
    said.length = 0;
    await runMethod('pretrain', settings('risen-kept', keep), { ...quiet, say });
    expect(said.join()).not.toContain('note');
  });

  it.each<[string, object, string]>([
    ['a direction without a metric', { mode: 'min' }, 'evaluation.mode: got "min", expected nothing without keepBest'],
    ['patience without a metric', { stopAfter: 2 }, 'evaluation.stopAfter: got 2, expected nothing without keepBest'],
    ['a metric without a direction', { keepBest: 'entropy' }, 'expected min or max, because the name entropy does not'],
    ['a metric that no step has', { keepBest: 'validationlos', mode: 'min' }, 'Did you mean validationLoss?'],
  ])('refuses %s', async (name, evaluation, message) => {
    await expect(runMethod('pretrain', settings(`refused ${name}`, evaluation), quiet)).rejects.toThrow(message);
  });

  it('refuses a metric of held-out data where none is held out', async () => {
    const none = settings('none', keep, { validationFraction: 0 });
    await expect(runMethod('pretrain', none, quiet)).rejects.toThrow('validationLoss, but no data is held out');
  });

  it('marks the best step on the terminal, prints it at the end and shows it on inspection', async () => {
    const flags = Object.entries(SMALL).flatMap(([name, value]) => [`--${name}`, String(value)]);
    const fast = '--lr 0.1 --minLr 0.1 --warmupSteps 0 --decay constant --evaluation.keepBest validationLoss'.split(
      ' ',
    );
    const model = Object.entries(MODEL).flatMap(([name, value]) => [`--model.${name}`, String(value)]);
    await palm(trainingCommand('pretrain'), ...flags, ...fast, ...model, '--out', at('shown'));
    const marked = [...printed.stderr.matchAll(/^ *\*(\d) /gm)].map(([, step]) => Number(step));
    expect(marked).toEqual(lossesOf('kept').flatMap(({ step, best }) => (best ? [step] : [])));
    const cell = new RegExp(`^best +.*best.safetensors \\(step ${marked.at(-1)}, validationLoss [\\d.]+\\)$`, 'm');
    expect(printed.stdout).toMatch(cell);
    await palm(inspectCommand(), at('shown'));
    expect(printed.stdout).toMatch(
      new RegExp(`^best +step ${marked.at(-1)}, validationLoss [\\d.]+: .*best.safetensors$`, 'm'),
    );
    await palm(inspectCommand(), at('shown', 'best.safetensors'));
    expect(printed.stdout).toMatch(new RegExp(`^best +step ${marked.at(-1)}, validationLoss [\\d.]+$`, 'm'));
  });
});

describe('train', () => {
  const comparisons = Array.from({ length: 8 }, (_, i) => ({ prompt: `${i}?`, chosen: ' yes', rejected: ' no' }));
  const config = { method: 'reward', epochs: 3, batchSize: 4, warmupSteps: 0, lr: 0.05, evaluateEvery: 1 } as const;
  // The first step is the best by this measure, so the rest only moves away from it.
  const evaluation = { keepBest: 'learningRate', mode: 'max', stopAfter: 2 } as const;
  const given = { model: at('kept', 'best.safetensors'), device, comparisons, validation: comparisons };
  const scored = [{ prompt: '1?', response: ' yes' }];

  it('gives the model of the best step, and says why it ended', async () => {
    const run = train({ ...given, config: { ...config, evaluation } });
    using judge = await run;
    expect(run.best).toMatchObject({ step: 1, metric: 'learningRate' });
    expect(run.stopped).toMatchObject({ step: 3 });
    const early = train({ ...given, config });
    for await (const { step } of early) if (step === 1) break;
    using first = await early;
    using last = await train({ ...given, config });
    expect(await judge.score(scored)).toEqual(await first.score(scored));
    expect(await judge.score(scored)).not.toEqual(await last.score(scored));
    expect(judge.rewardModel.statistics).toEqual(first.rewardModel.statistics);
    expect(judge.rewardModel.statistics).toBeDefined();
  });
});
