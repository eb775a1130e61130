/**
 * A long run with failures mixed in, in a process of its own: `node --import tsx --expose-gc soak-work.ts training 5000` prints
 * what it held along the way.
 */
import { setImmediate, setTimeout as sleep } from 'node:timers/promises';
import * as palm from '../../src/index.ts';
import { device } from '../device.ts';

/** What a process held after so many turns, in bytes but for `liveTensors`. */
export interface Sample {
  turn: number;
  liveTensors: number;
  usedBytes: number;
  resident: number;
}
/** What a run held, and how many of its failures were the typed error that they should be. */
export interface Soaked {
  samples: Sample[];
  failures: number;
}

const SIZE = { numTokens: 64, dim: 32, depth: 2, heads: 2, dimHead: 16, device };
const SAMPLES = 40;
const tokens = Array.from({ length: 4 }, (_, row) => Array.from({ length: 33 }, (_, t) => (row * t + t) % 64));
const many = Array.from({ length: 64 }, (_, row) => Array.from({ length: 65 }, (_, t) => (row + t) % 64));

type Failure = { use: () => unknown; error: new (detail: never) => Error };

/** Runs `use`, which has to fail as it should. */
async function fail({ use, error }: Failure): Promise<void> {
  try {
    await use();
  } catch (thrown) {
    if (thrown instanceof error) return;
    throw thrown;
  }
  throw new Error(`${use} did not fail`);
}

/** A forward and a backward pass of which the one or the other meets the limit. */
async function exceed(model: palm.PaLM, beforeBackward: boolean): Promise<void> {
  const room = 512 * 1024;
  try {
    if (!beforeBackward) palm.memory({ limit: palm.memory().usedBytes + room });
    using loss = await model.loss(many);
    palm.memory({ limit: palm.memory().usedBytes + room });
    await loss.backward();
  } finally {
    palm.memory({ limit: 0 });
  }
}

async function training(turns: number): Promise<Soaked> {
  using model = new palm.PaLM(SIZE);
  using optimizer = new palm.AdamW(model.parameters());
  const failing: Failure[] = [
    { use: () => model.loss([[1, 64]]), error: palm.ArgumentError },
    { use: () => model.loss(tokens, { mask: [[true]] }), error: palm.ShapeError },
    { use: () => model.loss(tokens, { scope: 'nobody' }), error: palm.ArgumentError },
    { use: () => exceed(model, false), error: palm.OutOfMemoryError },
    { use: () => exceed(model, true), error: palm.OutOfMemoryError },
    {
      use: () => {
        const gone = palm.Tensor.from(tokens, { dtype: 'int64', device });
        gone.dispose();
        return model.loss(gone);
      },
      error: palm.DisposedError,
    },
  ];
  return await soak(
    turns,
    failing,
    async () => {
      using loss = await model.loss(tokens);
      await loss.backward();
      await optimizer.step({ maxGradNorm: 1 });
      optimizer.zeroGrad();
    },
    () => optimizer.zeroGrad(),
  );
}

async function generation(turns: number): Promise<Soaked> {
  using model = new palm.PaLM(SIZE);
  const reason = new RangeError('aborted');
  const failing: Failure[] = [
    { use: () => model.generate({ prompts: [[64]], maxNewTokens: 1 }), error: palm.ArgumentError },
    { use: () => model.generate({ prompts: [[]], maxNewTokens: 1 }), error: palm.ShapeError },
    {
      use: () => model.generate({ prompts: [[1]], maxNewTokens: 4, samplesPerPrompt: 2 ** 40 }),
      error: palm.OutOfMemoryError,
    },
    {
      use: async () => {
        const controller = new AbortController();
        const running = model.generate({ prompts: tokens, maxNewTokens: 5000, signal: controller.signal });
        await sleep(1);
        controller.abort(reason);
        await running;
      },
      error: RangeError,
    },
    {
      use: async () => {
        const controller = new AbortController();
        for await (const _ of model.stream({ prompt: [1, 2], maxNewTokens: 60, signal: controller.signal })) {
          controller.abort(reason);
        }
      },
      error: RangeError,
    },
    {
      use: () => {
        const gone = model.clone();
        gone.dispose();
        return gone.generate({ prompts: tokens, maxNewTokens: 1 });
      },
      error: palm.DisposedError,
    },
  ];
  return await soak(turns, failing, async (turn) => {
    using out = await model.generate({ prompts: tokens, maxNewTokens: 8, seed: turn });
    await out.sequences.data();
    for await (const _ of model.stream({ prompt: [1, 2, 3], maxNewTokens: 8, seed: turn })) if (turn % 3 === 0) break;
  });
}

/** Does `work` so often, with a failure after every fifth time. */
async function soak(
  turns: number,
  failing: readonly Failure[],
  work: (turn: number) => Promise<void>,
  recover = () => {},
): Promise<Soaked> {
  const samples: Sample[] = [];
  let failures = 0;
  for (let turn = 1; turn <= turns; turn++) {
    await work(turn);
    if (turn % 5 === 0) {
      await fail(failing[(turn / 5) % failing.length] as Failure);
      recover();
      failures++;
    }
    if (turn % Math.ceil(turns / SAMPLES) === 0) samples.push(await sample(turn));
  }
  return { samples, failures };
}

async function sample(turn: number): Promise<Sample> {
  using settled = palm.Tensor.from([1], { device });
  await settled.item(); // all that was disposed of before is freed by now
  for (let i = 0; i < 3; i++) {
    globalThis.gc?.();
    await setImmediate();
  }
  const { liveTensors, usedBytes } = palm.memory();
  return { turn, liveTensors, usedBytes, resident: process.memoryUsage().rss };
}

const [kind, turns] = process.argv.slice(2);
const soaked = await (kind === 'training' ? training : generation)(Number(turns));
console.log(JSON.stringify(soaked));
