/**
 * What every method of training promises, whatever it learns from: its own test file calls `trainerContract` with what such a
 * training is made of, and no other file has to know of it.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, it, vi } from 'vitest';
import type { z } from 'zod';
import { openCheckpoints } from '../../src/checkpoint/checkpoints.ts';
import { ArgumentError, NumericsError, OutOfMemoryError } from '../../src/errors.ts';
import type { Assembled, Method } from '../../src/methods/method.ts';
import { methods } from '../../src/methods.ts';
import { addon } from '../../src/native/addon.ts';
import { Resource } from '../../src/native/resource.ts';
import type { Optimizer } from '../../src/optim.ts';
import { memory, type Parameter } from '../../src/tensor/tensor.ts';
import { relativeDistance } from '../parity/numbers.ts';
import { Best } from '../../src/trainers/best.ts';
import { untilEnding } from '../../src/trainers/ending.ts';
import { poisonGradient } from '../poison.ts';

export type MethodName = keyof typeof methods;
type Assemble<Name extends MethodName> = (typeof methods)[Name]['assemble'];
type Config<Name extends MethodName> = Parameters<Assemble<Name>>[0];
type Ingredients<Name extends MethodName> = Parameters<Assemble<Name>>[1];
type Settings<Name extends MethodName> = Partial<z.input<(typeof methods)[Name]['schema']>>;

/** How much a training learns from, and in what portions. */
export interface Sizes {
  /** Rows of data: sequences, pairs, prompts with one response each. */
  rows: number;
  steps: number;
  /** Rows in a batch, and batches in a step of the optimizer. */
  batchSize: number;
  accumulate: number;
}

/** One method, as the contract sees it. */
export interface TrainerSubject<Name extends MethodName> {
  /** A configuration of these sizes, and with these settings, that evaluates after the last step alone. */
  config(sizes: Sizes, settings: Settings<Name>): Config<Name>;
  /** What such a training works with, new and small, in float32: so many rows of data, of different lengths. */
  ingredients(config: Config<Name>, rows: number): Ingredients<Name>;
  /** More settings with which a run has to go on from its parts. */
  resumes?: Readonly<Record<string, Settings<Name>>>;
  /** How often a step waits for numbers besides the optimizer's steps; never unless given. */
  otherReads?: number;
  /** Whether an aborted signal ends a step that has changed nothing yet. */
  takesSignal?: boolean;
}

/** A training that was assembled, and what it trains. */
interface Run extends Disposable, Pick<Assembled, 'parts' | 'train'> {
  optimizer: Optimizer;
  parameters: readonly Parameter[];
}

/**
 * `otherReads` where a step answers prompts: which tokens were drawn and where responses are, for a reward that is a function, and
 * what the advantages measure.
 */
export const ROLLOUT_READS = 3;

type Numbers = Readonly<Record<string, number | undefined>>;

const WHOLE: Sizes = { rows: 8, steps: 4, batchSize: 8, accumulate: 1 };
const HALVES: Sizes = { ...WHOLE, batchSize: 4, accumulate: 2 };

/** The tests of the method `name`. */
export function trainerContract<Name extends MethodName>(name: Name, subject: TrainerSubject<Name>): void {
  const { assemble }: Method = methods[name];

  function make(sizes = WHOLE, settings: object = {}): Run {
    const config = subject.config(sizes, settings as Settings<Name>);
    const ingredients = subject.ingredients(config, sizes.rows);
    const { parts, steps, train } = assemble(config as never, ingredients as never);
    expect(steps).toBe(sizes.steps);
    const optimizer = parts.optimizer as unknown as Optimizer;
    const parameters = (parts.weights as unknown as { parameters(): Parameter[] }).parameters();
    return { parts, train, optimizer, parameters, [Symbol.dispose]: () => release({ ...parts, ...ingredients }) };
  }

  describe(`${name} keeps the contract of a trainer: it`, () => {
    afterEach(() => {
      vi.restoreAllMocks();
    });

    it('learns the same from 2 batches of 4 as from 1 of 8', async () => {
      using whole = make();
      using halves = make(HALVES);
      expectAlike(await learned(halves), await learned(whole));
    });

    it.each(Object.entries({ 'as it is': {}, ...subject.resumes }))(
      'goes on from its parts to the bit, %s',
      async (_settings: string, settings: object) => {
        using straight = make(WHOLE, settings);
        const steps = await stepsOf(straight);
        using stopped = make(WHOLE, settings);
        using resumed = make(WHOLE, settings);
        expect(await resumedFrom(stopped, resumed)).toEqual(steps.slice(2));
        expect(await bits(resumed)).toEqual(await bits(straight));
      },
    );

    it('gives back the weights of its best step', async () => {
      using run = make();
      using best = new Best(run.parts.weights, { keepBest: 'gradNorm', mode: 'max' });
      let atBest: unknown;
      for await (const { best: isBest } of untilEnding(run.train(), { best }))
        if (isBest) atBest = await weightsOf(run);
      await best.putBack();
      expect(atBest).toBeDefined();
      expect(await weightsOf(run)).toEqual(atBest);
      expect(best.contents().metadata.size).toBe(run.parts.weights.contents().metadata.size + 1);
    });

    it('skips a step with a gradient that is not finite, tells of it and moves nothing', async () => {
      using run = make();
      const spoilt = updatesOf(run, { poisoned: true });
      const steps = run.train();
      const before = await bits(run);
      const { value } = await steps.next();
      expect(spoilt.count).toBeGreaterThan(0);
      expect(value).toMatchObject({ step: 1, skipped: spoilt.count });
      expect(tensorsIn(await bits(run))).toEqual(tensorsIn(before));
      vi.restoreAllMocks();
      expect((await steps.next()).value.skipped ?? 0).toBe(0);
      expect(tensorsIn(await bits(run))).not.toEqual(tensorsIn(before));
    });

    it('ends after maxSkippedSteps such steps in a row', async () => {
      using run = make(WHOLE, { maxSkippedSteps: 2 });
      const { liveTensors } = memory();
      const spoilt = updatesOf(run, { poisoned: true });
      await expect(stepsOf(run)).rejects.toBeInstanceOf(NumericsError);
      expect(spoilt.count).toBe(2);
      expect(memory().liveTensors).toBe(liveTensors);
    });

    it('goes on with half the rows at a time where memory fails, and learns the same', async () => {
      using unlimited = make(HALVES);
      const expected = await learned(unlimited);
      using run = make(HALVES);
      const { liveTensors } = memory();
      failBackward(2); // when the first batch has left its gradients
      const found = await learned(run);
      expect(expected.steps.map(({ microBatch }) => microBatch)).toEqual(Array(4).fill(undefined));
      expect(found.steps.map(({ microBatch }) => microBatch)).toEqual([2, 2, 2, 2]);
      expectAlike(found, expected);
      expect(memory().liveTensors).toBe(liveTensors);
    });

    it('holds nothing native while the caller looks at a step, nor when it has ended', async () => {
      using run = make();
      const { liveTensors } = memory();
      const live: number[] = [];
      for await (const { step } of run.train()) {
        live.push(memory().liveTensors);
        expect(step).toBe(live.length);
      }
      expect([...live, memory().liveTensors]).toEqual(Array(5).fill(liveTensors));
    });

    it.each([1, 8])('learns from a single row of data, in batches of %d', async (batchSize) => {
      using run = make({ rows: 1, steps: 2, batchSize, accumulate: 1 });
      const { steps, moved } = await learned(run);
      expect(steps).toHaveLength(2);
      expect(moved.every(Number.isFinite)).toBe(true);
      expect(moved.some((distance) => distance !== 0)).toBe(true);
    });

    it('refuses data without a row before it makes anything', () => {
      const config = subject.config({ ...WHOLE, rows: 0 }, {});
      const ingredients = subject.ingredients(config, 0);
      const { liveTensors, liveBytes } = memory();
      const refusal = () => errorOf(() => assemble(config as never, ingredients as never));
      const refused = refusal();
      expect(refused).toBeInstanceOf(ArgumentError);
      expect(refusal(), 'the second time').toEqual(refused);
      expect(memory()).toMatchObject({ liveTensors, liveBytes });
      release(ingredients);
    });

    it('may be left after a step and begun anew there, as if nothing had been', async () => {
      using straight = make();
      const steps = await stepsOf(straight);
      using run = make();
      const { liveTensors } = memory();
      for await (const _ of run.train()) break;
      expect(memory().liveTensors).toBe(liveTensors);
      expect(await stepsOf(run, 1)).toEqual(steps.slice(1));
      expect(await bits(run)).toEqual(await bits(straight));
    });

    if (subject.takesSignal) {
      it.each(['before', 'during'])('ends with the reason of a signal that is aborted %s a step', async (when) => {
        using run = make();
        const before = tensorsIn(await bits(run));
        const { liveTensors } = memory();
        const controller = new AbortController();
        const reason = new Error('enough');
        if (when === 'before') controller.abort(reason);
        const step = run.train(0, controller.signal).next();
        controller.abort(reason);
        await expect(step).rejects.toBe(reason);
        expect(tensorsIn(await bits(run))).toEqual(before);
        expect(memory().liveTensors).toBe(liveTensors);
        expect(await stepsOf(run)).toHaveLength(4);
      });
    }

    it('waits for numbers once in a step of the optimizer', async () => {
      using run = make();
      const updates = updatesOf(run);
      const steps = run.train();
      // The last of four steps may evaluate what is held out.
      for (const step of [1, 2, 3]) {
        const [reads, count] = [addon().reads(), updates.count];
        expect((await steps.next()).value).toMatchObject({ step });
        expect(updates.count).toBeGreaterThan(count);
        expect(addon().reads() - reads).toBe(updates.count - count + (subject.otherReads ?? 0));
      }
      await steps.return(undefined);
    });
  });
}

function errorOf(call: () => unknown): unknown {
  try {
    return call();
  } catch (error) {
    return error;
  }
}

/** Disposes of all things with native memory, and of the models that they read. */
function release(things: object): void {
  for (const thing of Object.values(things)) {
    if (!(thing instanceof Resource)) continue;
    thing.dispose();
    (thing as { model?: Resource }).model?.dispose();
  }
}

/** The numbers of the steps of a run, but for how long they took. */
async function stepsOf(run: Run, start = 0): Promise<Numbers[]> {
  const all: Numbers[] = [];
  for await (const { timing: _, ...step } of run.train(start)) all.push(step);
  return all;
}

/** Runs `stopped` beyond a checkpoint after two of its steps; gives the steps of `resumed` from there on. */
async function resumedFrom(stopped: Run, resumed: Run): Promise<Numbers[]> {
  const directory = mkdtempSync(join(tmpdir(), 'palm-trainer-'));
  try {
    {
      await using checkpoints = await openCheckpoints({ directory, parts: stopped.parts, every: 2 });
      for await (const { step } of checkpoints.during((start) => stopped.train(start))) if (step === 3) break;
    }
    await using checkpoints = await openCheckpoints({ directory, parts: resumed.parts, every: 2 });
    expect(await checkpoints.restore()).toBe(2);
    return await stepsOf(resumed, 2);
  } finally {
    rmSync(directory, { recursive: true });
  }
}

/** All that a run may change, by name: bytes of tensors, and states. */
async function bits({ parts }: Run): Promise<ReadonlyMap<string, unknown>> {
  const all = new Map<string, unknown>();
  for (const [name, part] of Object.entries(parts)) {
    if (part === undefined) continue;
    if ('state' in part) all.set(name, part.state());
    else for (const { name: of, tensor } of part.contents().tensors) all.set(`${name} ${of}`, await bytesOf(tensor));
  }
  return all;
}

/** The bytes of the weights by name. */
async function weightsOf({ parts }: Run): Promise<ReadonlyMap<string, Buffer>> {
  const { tensors } = parts.weights.contents();
  return new Map(await Promise.all(tensors.map(async ({ name, tensor }) => [name, await bytesOf(tensor)] as const)));
}

async function bytesOf(tensor: { data(): Promise<ArrayBufferView> }): Promise<Buffer> {
  const { buffer, byteOffset, byteLength } = await tensor.data();
  return Buffer.from(buffer, byteOffset, byteLength);
}

/** Of `bits` the tensors alone: a place in the data moves on in a step that changes nothing else. */
function tensorsIn(all: ReadonlyMap<string, unknown>): [string, unknown][] {
  return [...all].filter(([, value]) => Buffer.isBuffer(value));
}

/** What a whole run told, and how far it moved every weight. */
interface Learned {
  steps: Numbers[];
  moved: number[];
}

async function learned(run: Run): Promise<Learned> {
  const weights = async () => {
    const arrays = await Promise.all(run.parameters.map((parameter) => parameter.data()));
    return arrays.flatMap((array) => Array.from(array, Number));
  };
  const before = await weights();
  const steps = await stepsOf(run);
  return { steps, moved: (await weights()).map((weight, i) => weight - (before[i] as number)) };
}

/** Expects the same within rounding: of weights measured by how far they have moved. */
function expectAlike(found: Learned, expected: Learned): void {
  expect(found.steps).toHaveLength(expected.steps.length);
  for (const [i, { microBatch: _, ...step }] of expected.steps.entries()) {
    for (const [name, number] of Object.entries(step)) {
      const other = found.steps[i]?.[name];
      if (number === undefined) expect(other, name).toBeUndefined();
      else
        expect(Math.abs((other as number) - number), `${name} of step ${i + 1}`).toBeLessThan(
          1e-5 * (1 + Math.abs(number)),
        );
    }
  }
  expect(relativeDistance(found.moved, expected.moved)).toBeLessThan(1e-4);
}

/** Counts the optimizer's steps of a run from now on; where they are `poisoned`, a gradient is not finite in any. */
function updatesOf({ optimizer, parameters }: Run, { poisoned = false } = {}): { readonly count: number } {
  const updates = { count: 0 };
  const step = optimizer.step.bind(optimizer);
  vi.spyOn(optimizer, 'step').mockImplementation(async (options) => {
    updates.count++;
    if (poisoned) await poisonGradient(parameters[0] as Parameter, Number.NaN);
    return await step(options);
  });
  return updates;
}

/** The `n`-th backward pass from now on, and no other, finds no memory. */
function failBackward(n: number): void {
  const backward = addon().tensorBackward;
  let calls = 0;
  vi.spyOn(addon(), 'tensorBackward').mockImplementation(async (tensor) => {
    if (++calls === n) throw new OutOfMemoryError({ argument: 'memory', requested: 2, available: 1 });
    return await backward(tensor);
  });
}
