/** Checkpoints: what is loaded is what was saved, to the bit, and a directory never holds half of one. */
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { latestCheckpoint, removeOld, verifyCheckpoint } from '../src/checkpoint/checkpoint.ts';
import { openCheckpoints } from '../src/checkpoint/checkpoints.ts';
import { manifestText } from '../src/checkpoint/manifest.ts';
import { Spikes } from '../src/trainers/spikes.ts';
import { loadTensors, saveTensors } from '../src/tensor/tensor-files.ts';
import { ArgumentError, CheckpointError, FileError, LockedError, NumericsError, RewardError } from '../src/errors.ts';
import { AdamAtan2, AdamW, AdoptAtan2, type Optimizer } from '../src/optim.ts';
import { PaLM } from '../src/models/palm.ts';
import { type Dtype, type Parameter, Tensor } from '../src/tensor/tensor.ts';
import { device } from './device.ts';

const SIZE = { numTokens: 19, dim: 16, depth: 2, heads: 2, dimHead: 8, ffMult: 2, device };
let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'palm-checkpoint-'));
});
afterEach(() => rmSync(folder, { recursive: true }));

const metadata = new Map<string, string>();

async function train(palm: PaLM, optimizer: Optimizer, from: number, to: number): Promise<void> {
  for (let step = from; step < to; step++) {
    using loss = await palm.loss([Array.from({ length: 9 }, (_, t) => (3 * t * step + t) % SIZE.numTokens)]);
    await loss.backward();
    await optimizer.step({ maxGradNorm: 1 });
    optimizer.zeroGrad();
  }
}

async function values(parameters: Parameter[]): Promise<number[]> {
  const all: number[] = [];
  for (const parameter of parameters) for (const value of await parameter.data()) all.push(Number(value));
  return all;
}

describe('the parts of a run', () => {
  it('are refused if they have only half a state, which would be lost', async () => {
    for (const half of [{ state: () => 1 }, { restore: () => {} }]) {
      const refused = openCheckpoints({ directory: join(folder, 'half'), parts: { half: half as never } });
      await expect(refused).rejects.toMatchObject({ code: 'ERR_ARGUMENT', argument: 'openCheckpoints.parts.half' });
    }
  });
});

describe('tensors in a file', () => {
  it.each([
    ['float32', [1.5, -2]],
    ['float64', [1e300, -2]],
    ['bfloat16', [1.5, -2]],
    ['int64', [2 ** 50, -2]],
    ['int32', [7, -2]],
    ['uint8', [7, 255]],
    ['bool', [1, 0]],
  ] as [Dtype, number[]][])('%s', async (dtype, numbers) => {
    const path = join(folder, 'tensors');
    using saved = Tensor.from(numbers, { dtype, device });
    using loaded = Tensor.from([0, 0], { dtype, device });
    await saveTensors(path, { tensors: [{ name: 'x', tensor: saved }], metadata });
    await loadTensors(path, [{ name: 'x', tensor: loaded }]);
    expect(await loaded.data()).toEqual(await saved.data());
  });

  it('may be larger than the buffer, or empty', async () => {
    const path = join(folder, 'large');
    const length = 17 * 2 ** 20;
    using large = Tensor.from(Float32Array.from({ length }, (_, i) => i % 8191));
    using empty = Tensor.from(new Float32Array(0));
    await saveTensors(path, {
      tensors: [
        { name: 'large', tensor: large },
        { name: 'empty', tensor: empty },
      ],
      metadata,
    });
    using again = Tensor.from(new Float32Array(length));
    using nothing = Tensor.from(new Float32Array(0));
    await loadTensors(path, [
      { name: 'large', tensor: again },
      { name: 'empty', tensor: nothing },
    ]);
    expect(Buffer.compare(Buffer.from((await again.data()).buffer), Buffer.from((await large.data()).buffer))).toBe(0);
  });

  it('replace the old file atomically', async () => {
    const path = join(folder, 'tensors');
    using tensor = Tensor.from([1], { device });
    await saveTensors(path, { tensors: [{ name: 'x', tensor }], metadata });
    const before = readFileSync(path);
    const gone = Tensor.from([2], { device });
    const contents = { tensors: [{ name: 'x', tensor: gone }], metadata };
    const saving = saveTensors(path, contents);
    gone.dispose();
    await expect(saving).rejects.toThrow();
    expect(readFileSync(path)).toEqual(before);
    expect(readdirSync(folder)).toEqual(['tensors']);
  });

  it.each([
    ['is missing', ['x', 'y'], [2], /without "y"/],
    ['is unknown', [], [2], /unknown "x"/],
    ['has another shape', ['x'], [3], /"x"/],
  ])('are named in the error if one %s', async (_what, names, shape, message) => {
    const path = join(folder, 'tensors');
    using tensor = Tensor.from([1, 2], { device });
    await saveTensors(path, { tensors: [{ name: 'x', tensor }], metadata });
    using target = Tensor.from(new Float32Array(shape[0] as number), { device });
    const error = await loadTensors(
      path,
      names.map((name) => ({ name, tensor: target })),
    ).catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(FileError);
    expect((error as FileError).message).toMatch(message);
  });
});

/** A trainer that nobody has written a line of saving for. */
class Counting {
  at = 0;
  skipped = 0;
  next(): number {
    this.at += 1;
    return this.at;
  }
  skip(batches: number): void {
    this.at += batches;
    this.skipped += batches;
  }
  state(): { at: number } {
    return { at: this.at };
  }
  restore({ at }: { at: number }): void {
    this.at = at;
  }
}

function newRun(
  create: (parameters: Parameter[]) => Optimizer = (all) => new AdamW(all, { lr: 0.01 }),
  dtype: Dtype = 'float32',
  seed = 0,
) {
  const palm = new PaLM({ ...SIZE, dtype, seed } as ConstructorParameters<typeof PaLM>[0]);
  const optimizer = create(palm.parameters());
  const batches = new Counting();
  const steps = async function* (start: number, end = 6): AsyncGenerator<{ step: number; loss: number }> {
    for (let step = start; step < end; step++) {
      await train(palm, optimizer, batches.next(), batches.at + 1);
      yield { step: step + 1, loss: 1 };
    }
  };
  return {
    parts: { model: palm, optimizer, batches, nothing: undefined },
    steps,
    [Symbol.dispose]() {
      optimizer.dispose();
      palm.dispose();
    },
  };
}

async function drain(steps: AsyncGenerator<{ step: number }>, last = Number.POSITIVE_INFINITY): Promise<number[]> {
  const seen: number[] = [];
  for await (const { step } of steps) {
    seen.push(step);
    if (step >= last) break;
  }
  return seen;
}

const saved = () =>
  readdirSync(folder)
    .filter((name) => name.startsWith('step-'))
    .sort();
const thrownBy = (promise: Promise<unknown>) =>
  promise.then(
    () => undefined,
    (error: unknown) => error,
  );

describe('a run', () => {
  const optimizers: [string, (parameters: Parameter[]) => Optimizer][] = [
    ['AdamW', (parameters) => new AdamW(parameters, { lr: 0.01 })],
    ['AdoptAtan2', (parameters) => new AdoptAtan2(parameters, { lr: 0.01 })],
    ['AdamAtan2', (parameters) => new AdamAtan2(parameters, { lr: 0.01 })],
  ];

  it.each(optimizers)('resumed with %s equals the uninterrupted run bit for bit', async (name, create) => {
    for (const dtype of ['float32', 'bfloat16'] as const) {
      const directory = join(folder, `${name}-${dtype}`);
      using straight = newRun(create, dtype);
      await drain(straight.steps(0));
      {
        using first = newRun(create, dtype);
        await using checkpoints = await openCheckpoints({ directory, parts: first.parts, every: 2 });
        expect(await checkpoints.restore()).toBe(0);
        expect(await drain(checkpoints.during(first.steps), 5)).toEqual([1, 2, 3, 4, 5]);
      }
      using second = newRun(create, dtype, 1);
      await using checkpoints = await openCheckpoints({ directory, parts: second.parts, every: 2 });
      expect(await checkpoints.restore()).toBe(4);
      expect(await drain(checkpoints.during(second.steps))).toEqual([5, 6]);
      expect(await values(second.parts.model.parameters())).toEqual(await values(straight.parts.model.parameters()));
      expect(second.parts.batches.at).toBe(6);
    }
  });

  it('saves the state at the time of the copy, whatever training does while it is written', async () => {
    using run = newRun();
    await using checkpoints = await openCheckpoints({ directory: folder, parts: run.parts, every: 1, keep: 10 });
    const expected: number[][] = [];
    for await (const _ of checkpoints.during(run.steps)) expected.push(await values(run.parts.model.parameters()));
    await checkpoints.close();
    for (const [i, weights] of expected.entries()) {
      using other = newRun();
      await using reader = await openCheckpoints({ directory: folder, parts: other.parts });
      await reader.restore(join(folder, `step-00000${i + 1}`));
      expect(await values(other.parts.model.parameters())).toEqual(weights);
      expect(other.parts.batches.at).toBe(i + 1);
      // Later ones were set aside under another name, so that the newest is the one that the run goes on from.
      for (const name of readdirSync(folder).filter((entry) => entry.includes('.replaced-'))) {
        renameSync(join(folder, name), join(folder, name.replace(/\.replaced-.*/, '')));
      }
    }
  });

  it('continues while it is written', async () => {
    using run = newRun();
    const events: string[] = [];
    let release = () => {};
    const held = new Promise<void>((resolve) => {
      release = resolve;
    });
    const flush = () => held.then(() => void events.push('written'));
    await using checkpoints = await openCheckpoints({ directory: folder, parts: run.parts, every: 2, flush });
    for await (const { step } of checkpoints.during((start) => run.steps(start, 4))) {
      events.push(`step ${step}`);
      if (step === 4) release();
    }
    expect(events.slice(0, 5)).toEqual(['step 1', 'step 2', 'step 3', 'step 4', 'written']);
    expect(saved()).toEqual(['step-000002', 'step-000004']);
  });

  it('keeps the newest checkpoints, points to the last, and removes leftovers of a killed process', async () => {
    mkdirSync(join(folder, '.tmp-1-00000000-step-000099'));
    const warnings: string[] = [];
    using run = newRun();
    const warn = (message: string) => void warnings.push(message);
    const parts = run.parts;
    {
      await using checkpoints = await openCheckpoints({ directory: folder, parts, every: 1, keep: 3, warn });
      await drain(checkpoints.during(run.steps));
    }
    expect(readdirSync(folder).sort()).toEqual(['latest', 'step-000004', 'step-000005', 'step-000006']);
    expect(readFileSync(join(folder, 'latest'), 'utf8')).toBe('step-000006\n');
    expect(await latestCheckpoint(folder)).toBe(join(folder, 'step-000006'));
    expect(warnings).toEqual([expect.stringContaining('.tmp-1-00000000-step-000099, which was incomplete')]);
    expect((await verifyCheckpoint(join(folder, 'step-000006'))).manifest).toMatchObject({ format: 1, step: 6 });
  });

  it('does not count damaged checkpoints among those to keep', async () => {
    using run = newRun();
    {
      await using checkpoints = await openCheckpoints({ directory: folder, parts: run.parts, every: 1, keep: 9 });
      await drain(checkpoints.during(run.steps));
    }
    writeFileSync(join(folder, 'step-000005', 'manifest.json'), '{');
    await removeOld(folder, 2);
    expect(saved()).toEqual(['step-000004', 'step-000005', 'step-000006']);
  });

  it('refuses to start over the checkpoints of another run', async () => {
    using run = newRun();
    {
      await using checkpoints = await openCheckpoints({ directory: folder, parts: run.parts });
      await drain(checkpoints.during(run.steps));
    }
    await using checkpoints = await openCheckpoints({ directory: folder, parts: run.parts });
    expect(await thrownBy(drain(checkpoints.during(run.steps)))).toBeInstanceOf(ArgumentError);
    expect(saved()).toEqual(['step-000006']);
  });

  it('has only one writer', async () => {
    using run = newRun();
    await using checkpoints = await openCheckpoints({ directory: folder, parts: run.parts });
    const error = await thrownBy(openCheckpoints({ directory: folder, parts: run.parts }));
    expect(error).toBeInstanceOf(LockedError);
    expect((error as LockedError).received).toContain(`process ${process.pid}`);
    await checkpoints.close();
    await (await openCheckpoints({ directory: folder, parts: run.parts })).close();
  });

  it('is saved when it is stopped in the middle of a step that has changed no weights', async () => {
    using run = newRun();
    const stop = new AbortController();
    const steps = async function* (start: number) {
      yield* run.steps(start, 3);
      run.parts.batches.next();
      stop.abort(new Error('stop'));
      throw stop.signal.reason;
    };
    await using checkpoints = await openCheckpoints({ directory: folder, parts: run.parts, signal: stop.signal });
    expect(await drain(checkpoints.during(steps))).toEqual([1, 2, 3]);
    await checkpoints.close();
    expect((await verifyCheckpoint(join(folder, 'step-000003'))).state.parts).toEqual({ batches: { at: 3 } });
  });

  it('is saved after a RewardError, but not after other errors', async () => {
    for (const [error, expected] of [
      [new RewardError({ argument: 'reward' }), ['step-000002']],
      [new TypeError('bug'), []],
    ] as const) {
      const directory = join(folder, error.name);
      using run = newRun();
      const steps = async function* (start: number) {
        yield* run.steps(start, 2);
        run.parts.batches.next();
        throw error;
      };
      await using checkpoints = await openCheckpoints({ directory, parts: run.parts });
      expect(await thrownBy(drain(checkpoints.during(steps)))).toBe(error);
      expect(readdirSync(directory).filter((name) => name.startsWith('step-'))).toEqual(expected);
    }
  });

  it('continues after a failed save, three times', async () => {
    using run = newRun();
    const bad = { state: () => ({ bad: 1n }), restore: () => {} };
    const warnings: string[] = [];
    await using checkpoints = await openCheckpoints({
      directory: folder,
      parts: { ...run.parts, bad },
      every: 1,
      warn: (message) => void warnings.push(message),
    });
    const seen: number[] = [];
    const all = async () => {
      for await (const { step } of checkpoints.during(run.steps)) seen.push(step);
    };
    expect(await thrownBy(all())).toBeInstanceOf(FileError);
    expect(seen).toEqual([1, 2, 3, 4]);
    expect(warnings).toHaveLength(3);
    expect(saved()).toEqual([]);
  });

  it('does not start if a checkpoint will not fit on the disk', async () => {
    using run = newRun();
    const tensor = { dtype: 'float32', shape: [2 ** 46] } as unknown as Tensor;
    const huge = { contents: () => ({ tensors: [{ name: 'x', tensor }], metadata }) };
    await using checkpoints = await openCheckpoints({ directory: folder, parts: { ...run.parts, huge } });
    const error = await thrownBy(drain(checkpoints.during(run.steps)));
    expect(error).toBeInstanceOf(FileError);
    expect((error as FileError).expected).toMatch(/^30962247\d\.\d MB for a checkpoint$/); // 2^48 bytes and a tenth
    expect(run.parts.batches.at).toBe(0);
  });

  it.each(['manifest.json', 'state.json', 'model.safetensors'])(
    'with a pipe in the place of its %s is damaged, and nobody waits for the pipe',
    async (name) => {
      using run = newRun();
      {
        await using checkpoints = await openCheckpoints({ directory: folder, parts: run.parts });
        await drain(checkpoints.during(run.steps));
      }
      const path = join(folder, 'step-000006', name);
      rmSync(path);
      execFileSync('mkfifo', [path]);
      await using checkpoints = await openCheckpoints({ directory: folder, parts: run.parts });
      const error = await thrownBy(checkpoints.restore());
      expect(error).toBeInstanceOf(CheckpointError);
      expect((error as CheckpointError).message).toContain(`${path}: got a pipe, socket or device`);
    },
  );

  it('refuses a checkpoint with other parts or sizes, by name', async () => {
    using run = newRun();
    {
      await using checkpoints = await openCheckpoints({ directory: folder, parts: run.parts });
      await drain(checkpoints.during(run.steps));
    }
    const { batches: _, ...fewer } = run.parts;
    await using without = await openCheckpoints({ directory: folder, parts: fewer });
    expect(await thrownBy(without.restore())).toMatchObject({ received: expect.stringContaining('batches') });
    await without.close();
    using half = new AdamW(run.parts.model.parameters().slice(1));
    await using other = await openCheckpoints({ directory: folder, parts: { ...run.parts, optimizer: half } });
    expect(await thrownBy(other.restore())).toBeInstanceOf(FileError);
  });

  it('warns of what differs when it is resumed elsewhere', async () => {
    using run = newRun();
    {
      await using checkpoints = await openCheckpoints({ directory: folder, parts: run.parts });
      await drain(checkpoints.during(run.steps));
    }
    const path = join(folder, 'step-000006', 'manifest.json');
    const { sha256: _, ...manifest } = JSON.parse(readFileSync(path, 'utf8'));
    writeFileSync(path, manifestText({ ...manifest, environment: { ...manifest.environment, threads: 64 } }));
    const warnings: string[] = [];
    const warn = (message: string) => void warnings.push(message);
    await using checkpoints = await openCheckpoints({ directory: folder, parts: run.parts, warn });
    await checkpoints.restore();
    expect(warnings).toEqual([expect.stringMatching(/threads 64, resumed with \d/)]);
  });

  it.each([
    ['keep', 1],
    ['every', 0],
    ['every', 1.5],
  ])('refuses %s: %s', async (option, value) => {
    using run = newRun();
    const error = await thrownBy(openCheckpoints({ directory: folder, parts: run.parts, [option]: value }));
    expect(error).toBeInstanceOf(ArgumentError);
    expect((error as ArgumentError).message).toContain(option);
  });
});

describe('a loss spike', () => {
  /** Losses that rise at the given batches. */
  async function withSpikes(spikes: (batch: number) => boolean, options: { every?: number; skip?: number } = {}) {
    const batches = new Counting();
    const seen: [step: number, batch: number][] = [];
    const warnings: string[] = [];
    const rewound: number[] = [];
    const { every = 10, skip = 5 } = options;
    await using checkpoints = await openCheckpoints({
      directory: join(folder, 'spikes'),
      parts: { batches },
      every,
      watch: new Spikes({ threshold: 6, skip }),
      warn: (message) => void warnings.push(message),
      rewind: async (step) => void rewound.push(step),
    });
    const steps = async function* (start: number) {
      for (let step = start; step < 60; step++) {
        const batch = batches.next();
        yield { step: step + 1, loss: spikes(batch) ? 9 : 2 + 0.01 * (batch % 7), batch };
      }
    };
    const error = await thrownBy(
      (async () => {
        for await (const { step, batch } of checkpoints.during(steps)) seen.push([step, batch]);
      })(),
    );
    return { seen, warnings, rewound, error };
  }

  it('rolls the run back to its last checkpoint and skips the data', async () => {
    const { seen, rewound, error } = await withSpikes((batch) => batch === 45);
    expect(error).toBeUndefined();
    expect(rewound).toEqual([40]);
    expect(seen.slice(44, 46)).toEqual([
      [45, 45],
      [41, 46], // five batches of the forty-first step on are left out
    ]);
    expect(seen.at(-1)).toEqual([60, 65]);
  });

  it('skips more data when it recurs, and finally ends the run', async () => {
    const { rewound, error, seen } = await withSpikes((batch) => batch >= 43);
    expect(rewound).toEqual([40, 40, 40]);
    expect(error).toBeInstanceOf(NumericsError);
    expect(seen.slice(-3)).toEqual([
      [41, 46],
      [41, 51],
      [41, 56],
    ]);
  });

  it('only causes a warning before the first checkpoint', async () => {
    const { seen, warnings, rewound } = await withSpikes((batch) => batch === 40, { every: 50 });
    expect(rewound).toEqual([]);
    expect(warnings).toEqual([expect.stringContaining('step 40: a loss spike')]);
    expect(seen).toHaveLength(60);
  });

  it('is neither an early change of scale nor a non-finite number', () => {
    const spikes = new Spikes({ threshold: 6, skip: 5 });
    const seen = [1, 50, 1, Number.NaN, Number.POSITIVE_INFINITY].map((loss) => spikes.sees({ loss }));
    expect([...seen, spikes.sees({})]).toEqual(Array(6).fill(undefined));
    for (let i = 0; i < 40; i++) spikes.sees({ loss: 1 });
    const again = new Spikes({ threshold: 6, skip: 5 });
    again.restore(spikes.state());
    expect([spikes.sees({ loss: 400 }), again.sees({ loss: 400 })]).toEqual(Array(2).fill('a loss spike'));
    expect(() => again.restore({ losses: [Number.NaN] })).toThrow(ArgumentError);
  });
});
