/** The border: bad input has a typed error that says what to do, work is queued in order, threads and exits are clean. */
import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, describe, expect, it } from 'vitest';
import { ActorCritic } from '../src/models/actor-critic.ts';
import {
  ArgumentError,
  ConfigError,
  DisposedError,
  DtypeError,
  FileError,
  HandleError,
  PalmError,
  ShapeError,
  SharedTrunkError,
} from '../src/errors.ts';
import { AdamW } from '../src/optim.ts';
import { PaLM } from '../src/models/palm.ts';
import { RewardModel } from '../src/models/reward-model.ts';
import { type Parameter, Tensor } from '../src/tensor/tensor.ts';
import { device } from './device.ts';

const SIZE = { numTokens: 11, dim: 16, depth: 2, heads: 2, dimHead: 8, ffMult: 2, device };
const X = [[1, 2, 3, 4]];
const root = fileURLToPath(new URL('..', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'palm-border-'));
afterAll(() => rmSync(folder, { recursive: true }));

/** What `run` throws or rejects with. */
async function failure(run: () => unknown): Promise<PalmError> {
  try {
    await run();
  } catch (error) {
    expect(error).toBeInstanceOf(PalmError);
    return error as PalmError;
  }
  throw new Error('nothing was thrown');
}

/** What TypeScript would not let pass. */
function wrong<T>(value: unknown): T {
  return value as T;
}

/** Runs a module in a process of its own. */
async function inProcess(code: string): Promise<{ stdout: string; stderr: string }> {
  const args = ['--import', 'tsx', '--input-type=module', '-e', code];
  return await promisify(execFile)(process.execPath, args, { cwd: root });
}

describe('bad input to a PaLM', () => {
  using palm = new PaLM(SIZE);
  palm.addScope('actor');

  it.each([
    ['no options', undefined, 'PaLM'],
    ['a missing option', { dim: 8 }, 'PaLM.numTokens'],
    ['an unknown option', { ...SIZE, headz: 2 }, 'PaLM.headz'],
    ['an odd head width', { ...SIZE, dimHead: 7 }, 'PaLM.dimHead'],
  ])('%s', async (_what, options, argument) => {
    const error = await failure(() => new PaLM(wrong(options)));
    expect(error).toBeInstanceOf(ConfigError);
    expect(error.argument).toBe(argument);
    expect(error.expected ?? error.fix).toBeTruthy();
  });

  it('refuses a missing device', async () => {
    const error = await failure(() => new PaLM({ ...SIZE, device: 'cuda:99' }));
    expect(error.code).toBe('ERR_DEVICE');
    expect(error.fix).toMatch(/palm-rlhf doctor/);
  });

  it.each([
    ['an id above the vocabulary', [[1, 11]], {}, ArgumentError],
    ['a negative id', [[1, -1]], {}, ArgumentError],
    ['one dimension', [1, 2, 3], {}, ShapeError],
    ['three dimensions', [[[1, 2]]], {}, ShapeError],
    ['an empty batch', [], {}, ShapeError],
    ['empty rows', [[], []], {}, ShapeError],
    ['ragged rows', [[1, 2], [3]], {}, ShapeError],
    ['fractions', [[1.5, 2]], {}, ArgumentError],
    ['floats', new Float32Array(4), {}, PalmError],
    ['an unknown scope', X, { scope: 'actr' }, ArgumentError],
    ['an unknown option', X, { scop: 'actor' }, ArgumentError],
  ])('refuses tokens: %s', async (_what, tokens, options, type) => {
    using live = new PaLM(SIZE);
    live.addScope('actor');
    expect(await failure(() => live.forward(wrong(tokens), wrong(options)))).toBeInstanceOf(type);
    const again = await failure(() => live.loss(wrong(tokens), wrong(options)));
    expect(again).toBeInstanceOf(type);
    expect(again.message).toMatch(/expected|Did you mean/);
  });

  it.each([
    ['of another shape', [[true, false]], ShapeError],
    ['of numbers other than 0 and 1', [[2, 0, 0, 0]], ArgumentError],
  ])('refuses a mask %s', async (_what, mask, type) => {
    using live = new PaLM(SIZE);
    expect(await failure(() => live.loss(X, { mask }))).toBeInstanceOf(type);
  });

  it('refuses a mask tensor of floats', async () => {
    using live = new PaLM(SIZE);
    using mask = Tensor.from([[1, 1, 1, 1]], { device });
    expect(await failure(() => live.loss(X, { mask }))).toBeInstanceOf(DtypeError);
  });

  it.each([
    ['no prompt', { prompts: [] }, ShapeError],
    ['an empty prompt', { prompts: [[1], []] }, ShapeError],
    ['a prompt with an unknown id', { prompts: [[99]] }, ArgumentError],
    ['no length', { prompts: X, maxNewTokens: undefined }, ConfigError],
    ['topP above 1', { prompts: X, topP: 1.5 }, ConfigError],
    ['a negative temperature', { prompts: X, temperature: -1 }, ConfigError],
    ['an unknown option', { prompts: X, top_k: 3 }, ArgumentError],
    ['lengths beside arrays', { prompts: X, lengths: [4] }, ArgumentError],
  ])('generate refuses %s', async (_what, input, type) => {
    using live = new PaLM(SIZE);
    expect(await failure(() => live.generate(wrong({ maxNewTokens: 2, ...input })))).toBeInstanceOf(type);
  });

  it.each([
    ['a name that is taken', 'actor', {}],
    ['a name that files cannot hold', 'a.b', {}],
    ['a rank of 0', 'critic', { rank: 0 }],
  ])('addScope refuses %s', async (_what, name, options) => {
    using live = new PaLM(SIZE);
    live.addScope('actor');
    expect(await failure(() => live.addScope(name, options))).toBeInstanceOf(ArgumentError);
  });
});

describe('bad input to optimizers', () => {
  using palm = new PaLM(SIZE);
  const parameters = palm.parameters();

  it.each([
    ['none', [], ArgumentError],
    ['one twice', [parameters[0], parameters[0]], ArgumentError],
    ['something else', [{}], HandleError],
  ])('refuses parameters: %s', async (_what, list, type) => {
    expect(await failure(() => new AdamW(wrong(list)))).toBeInstanceOf(type);
  });

  it('refuses a step without gradients, and an invalid learning rate', async () => {
    using live = new PaLM(SIZE);
    using optimizer = new AdamW(live.parameters());
    expect(await failure(() => optimizer.step())).toBeInstanceOf(ArgumentError);
    expect(await failure(() => Object.assign(optimizer, { learningRate: Number.NaN }))).toBeInstanceOf(ArgumentError);
    expect(await failure(() => optimizer.step({ maxGradNorm: 0 }))).toBeInstanceOf(ArgumentError);
  });
});

describe('bad input to reward models', () => {
  it.each([
    ['promptLengths and promptMask', { labels: [1], promptLengths: [1], promptMask: [[1, 0, 0, 0]] }],
    ['neither labels nor ratings', {}],
    ['ratings without bins', { ratings: [1] }],
  ])('%s', async (_what, options) => {
    using palm = new PaLM(SIZE);
    using model = new RewardModel(palm);
    expect(await failure(() => model.loss(X, wrong(options)))).toBeInstanceOf(ArgumentError);
  });

  it.each([
    ['a rating of 0', { ratings: [0] }, ArgumentError],
    ['a class beyond the last', { labels: [5] }, ArgumentError],
    ['labels for another batch', { labels: [1, 2] }, ShapeError],
    ['a prompt longer than the sequence', { labels: [1], promptLengths: [5] }, ArgumentError],
  ])('with five bins refuses %s', async (_what, options, type) => {
    using palm = new PaLM(SIZE);
    using model = new RewardModel(palm, { numBins: 5 });
    expect(await failure(() => model.loss(X, wrong(options)))).toBeInstanceOf(type);
  });
});

describe('files', () => {
  const path = (name: string) => join(folder, name);

  it('are refused if missing, damaged or of another kind', async () => {
    writeFileSync(path('damaged'), 'not a safetensors file');
    expect(await failure(() => PaLM.load(path('missing')))).toBeInstanceOf(FileError);
    expect(await failure(() => PaLM.load(path('damaged')))).toBeInstanceOf(FileError);
    using palm = new PaLM(SIZE);
    using optimizer = new AdamW(palm.parameters());
    const { saveTensors } = await import('../src/tensor/tensor-files.ts');
    await saveTensors(path('optimizer'), optimizer.contents());
    const error = await failure(() => PaLM.load(path('optimizer')));
    expect(error).toBeInstanceOf(FileError);
    expect(error.argument).toContain(path('optimizer'));
  });

  it('are refused by size if options contradict them', async () => {
    using palm = new PaLM(SIZE);
    await palm.save(path('model'));
    const error = await failure(() => PaLM.load(path('model'), { options: { dim: 24 }, device }));
    expect(error).toBeInstanceOf(FileError);
    expect(error.message).toMatch(/got tensors with \d+ values, expected at least \d+ for the model it describes/);
  });

  it('cannot be saved to an unwritable folder', async () => {
    using palm = new PaLM(SIZE);
    expect(await failure(() => palm.save(path('no/such/folder')))).toBeInstanceOf(FileError);
  });
});

describe('disposed objects', () => {
  it('include a model and everything it created', async () => {
    const palm = new PaLM(SIZE);
    const parameter = palm.parameters()[0] as Parameter;
    const optimizer = new AdamW(palm.parameters());
    const model = new RewardModel(palm);
    palm.dispose();
    palm.dispose();
    for (const use of [
      () => palm.forward(X),
      () => palm.loss(X),
      () => palm.parameters(),
      () => palm.addScope('a'),
      () => palm.clone(),
      () => palm.generate({ prompts: X, maxNewTokens: 1 }),
      () => palm.stream({ prompt: [1], maxNewTokens: 1 }),
      () => palm.save(join(folder, 'disposed')),
      () => palm.train(),
      () => parameter.value(),
      () => optimizer.step(),
      () => model.score(X),
      () => new ActorCritic(palm),
    ]) {
      expect(await failure(use), String(use)).toBeInstanceOf(DisposedError);
    }
    model.dispose();
    optimizer.dispose();
  });

  it('are named as arguments in errors, as for tokens', async () => {
    using palm = new PaLM(SIZE);
    const tokens = Tensor.from(X, { dtype: 'int64', device });
    tokens.dispose();
    expect(await failure(() => palm.forward(tokens))).toMatchObject({ code: 'ERR_DISPOSED', argument: 'tokens' });
  });

  it('still complete what was queued before disposal', async () => {
    const palm = new PaLM(SIZE);
    const tokens = Tensor.from(X, { dtype: 'int64', device });
    const loss = palm.loss(tokens);
    tokens.dispose();
    palm.dispose();
    using value = await loss;
    expect(await value.item()).toBeGreaterThan(0);
  });
});

describe('a trunk with several readers', () => {
  it('cannot be merged into, lose the scope, or be trained as a whole', async () => {
    using palm = new PaLM(SIZE);
    palm.addScope('extra');
    using early = new AdamW(palm.parameters());
    const reward = new RewardModel(palm);
    using actorCritic = new ActorCritic(palm);
    for (const use of [
      () => palm.mergeScope('extra'),
      () => palm.removeScope('reward'),
      () => new AdamW(palm.parameters()),
      () => early.step(),
    ]) {
      const error = await failure(use);
      expect(error, String(use)).toBeInstanceOf(SharedTrunkError);
      expect(error.message).toMatch(/RewardModel/);
      expect(error.fix).toMatch(/clone/);
    }
    expect((await failure(() => palm.mergeScope('extra'))).message).toMatch(/ActorCritic/);
    using scoped = new AdamW(actorCritic.parameters());
    expect(scoped.learningRate).toBe(1e-3);
    reward.dispose();
    actorCritic.dispose();
    await palm.mergeScope('extra');
    expect(palm.scopes).toEqual(['reward', 'actor', 'critic']);
  });

  it('is trained by an actor-critic without LoRA if there are no other readers', async () => {
    using palm = new PaLM(SIZE);
    using actorCritic = new ActorCritic(palm, { lora: false });
    using optimizer = new AdamW(actorCritic.parameters());
    expect(optimizer.disposed).toBe(false);
    using reward = new RewardModel(palm);
    expect(await failure(() => optimizer.step())).toMatchObject({ code: 'ERR_SHARED_TRUNK' });
    expect(reward.model).toBe(palm);
  });

  it('is left unchanged by a reward model without LoRA', () => {
    using palm = new PaLM(SIZE);
    using reward = new RewardModel(palm, { lora: false });
    using optimizer = new AdamW(palm.parameters());
    expect(reward.model).not.toBe(palm);
    expect(optimizer.disposed).toBe(false);
  });

  it('refuses an existing scope, and leaves nothing behind', async () => {
    using palm = new PaLM(SIZE);
    palm.addScope('critic');
    expect(await failure(() => new ActorCritic(palm))).toBeInstanceOf(ArgumentError);
    expect(palm.scopes).toEqual(['critic']);
  });
});

describe('the queue', () => {
  it('keeps program order without awaiting', async () => {
    using palm = new PaLM(SIZE);
    const before = palm.loss(X);
    palm.addScope('a');
    const scoped = palm.loss(X, { scope: 'a' });
    const copy = palm.clone();
    const copied = copy.loss(X);
    const losses = await Promise.all([before, scoped, copied]);
    const [first, second, third] = await Promise.all(losses.map((loss) => loss.item()));
    expect(second).toBeCloseTo(first as number, 5);
    expect(third).toBe(first);
    for (const held of [...losses, copy]) held.dispose();
  });

  it('keeps the event loop free during a long computation', async () => {
    using palm = new PaLM({ ...SIZE, dim: 256, depth: 6, numTokens: 512 });
    const tokens = Array.from({ length: 16 }, () => Array.from({ length: 256 }, (_, t) => t));
    let ticks = 0;
    const timer = setInterval(() => ticks++, 1);
    using loss = await palm.loss(tokens);
    await loss.backward();
    clearInterval(timer);
    expect(ticks).toBeGreaterThan(5);
  });
});

describe('cancelling', () => {
  const long = { maxNewTokens: 100_000, temperature: 1 };

  it('rejects generate with the reason of the signal, before and during', async () => {
    using palm = new PaLM(SIZE);
    const reason = new Error('enough');
    const early = palm.generate({ prompts: X, ...long, signal: AbortSignal.abort(reason) });
    await expect(early).rejects.toBe(reason);
    const controller = new AbortController();
    const running = palm.generate({ prompts: X, maxNewTokens: 5000, signal: controller.signal });
    await sleep(50);
    controller.abort(reason);
    await expect(running).rejects.toBe(reason);
  });

  it('ends a stream after break and after abort', async () => {
    using palm = new PaLM(SIZE);
    let tokens = 0;
    for await (const { token, logProb } of palm.stream({ prompt: [1, 2], maxNewTokens: 200 })) {
      expect(token).toBeLessThan(SIZE.numTokens);
      expect(logProb).toBeLessThanOrEqual(0);
      if (++tokens === 5) break;
    }
    const controller = new AbortController();
    const reason = new Error('enough');
    const aborted = async () => {
      for await (const _ of palm.stream({ prompt: [1, 2], maxNewTokens: 200, signal: controller.signal })) {
        controller.abort(reason);
      }
    };
    await expect(aborted()).rejects.toBe(reason);
  });

  it('removes its listeners', async () => {
    using palm = new PaLM(SIZE);
    const controller = new AbortController();
    const { signal } = controller;
    const added: unknown[] = [];
    const removed: unknown[] = [];
    const spied = new Proxy(signal, {
      get(target, key) {
        if (key === 'addEventListener' || key === 'removeEventListener') {
          const calls = key === 'addEventListener' ? added : removed;
          return (type: string, listener: () => void) => {
            calls.push(listener);
            target[key](type, listener);
          };
        }
        const value = Reflect.get(target, key, target);
        return typeof value === 'function' ? value.bind(target) : value;
      },
    });
    using out = await palm.generate({ prompts: X, maxNewTokens: 2, signal: spied });
    expect(out.sequences.shape).toEqual([1, 6]);
    expect(added).toHaveLength(1);
    expect(removed).toEqual(added);
  });
});

const TRAIN = `
  const { PaLM } = await import('./src/models/palm.ts');
  const palm = new PaLM({ numTokens: 7, dim: 8, depth: 1, heads: 1, dimHead: 4, device: '${device}' });
  const loss = await palm.loss([[1, 2, 3]]);
  await loss.backward();`;

/** A worker's program that can import TypeScript. */
function inWorker(code: string): string {
  return JSON.stringify(`
    (await import('tsx/esm/api')).register();
    const { parentPort } = await import('node:worker_threads');
    ${TRAIN}
    ${code}`);
}

describe('processes and threads', () => {
  it('exit by themselves with live tensors and with an unawaited job', async () => {
    const { stdout, stderr } = await inProcess(`${TRAIN} palm.loss([[1, 2]]); console.log(await loss.item() > 0);`);
    expect(stdout.trim()).toBe('true');
    expect(stderr).toBe('');
  });

  it('exit with the code of an uncaught error in the middle of a job', async () => {
    const crash = inProcess(`${TRAIN}
      void palm.generate({ prompts: [[1]], maxNewTokens: 20000 });
      setTimeout(() => { throw new Error('mine'); }, 50);`);
    await expect(crash).rejects.toMatchObject({ code: 1, signal: null, stderr: expect.stringContaining('mine') });
  });

  it('exit cleanly by process.exit in the middle of a job', async () => {
    const { stdout } = await inProcess(`${TRAIN}
      const long = palm.generate({ prompts: [[1]], maxNewTokens: 20000 });
      setTimeout(() => { console.log('leaving'); process.exit(0); }, 50);
      await long;`);
    expect(stdout.trim()).toBe('leaving');
  });

  it('do not turn an unawaited error into an unhandled rejection', async () => {
    const { stderr } = await inProcess(`${TRAIN}
      const { Tensor } = await import('./src/tensor/tensor.ts');
      const values = new Float32Array(2_000_000);
      const tensor = Tensor.from(values, { device: '${device}' });
      structuredClone(values.buffer, { transfer: [values.buffer] });
      await new Promise((resolve) => setTimeout(resolve, 200));`);
    expect(stderr).toBe('');
  });

  it('train in two workers alongside the main thread', async () => {
    const { stdout, stderr } = await inProcess(`
      import { Worker } from 'node:worker_threads';
      const code = ${inWorker('parentPort.postMessage(await loss.item());')};
      const work = () => new Promise((resolve, reject) => {
        const worker = new Worker(code, { eval: true });
        let loss;
        worker.on('message', (message) => { loss = message; });
        worker.on('error', reject);
        worker.on('exit', (code) => resolve([code, loss]));
      });
      const both = Promise.all([work(), work()]);
      ${TRAIN}
      const here = await loss.item();
      console.log(JSON.stringify((await both).map(([code, there]) => [code, there === here])));
    `);
    expect(stderr).toBe('');
    expect(JSON.parse(stdout)).toEqual([
      [0, true],
      [0, true],
    ]);
  });

  it('keep working after a worker is terminated in the middle of a job', async () => {
    const { stdout } = await inProcess(`
      import { Worker } from 'node:worker_threads';
      const code = ${inWorker('parentPort.postMessage(0); await palm.generate({ prompts: [[1]], maxNewTokens: 20000 });')};
      const worker = new Worker(code, { eval: true });
      await new Promise((resolve) => worker.on('message', resolve));
      await worker.terminate();
      ${TRAIN}
      console.log(await loss.item() > 0);
    `);
    expect(stdout.trim()).toBe('true');
  });
});
