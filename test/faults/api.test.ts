/** Thousands of calls with whatever a program might pass by mistake: each succeeds or is a typed error, and nothing leaks. */
import { setImmediate } from 'node:timers/promises';
import { afterAll, describe, expect, it } from 'vitest';
import { Random } from '../../src/data/random.ts';
import * as palm from '../../src/index.ts';
import { device } from '../device.ts';
import { record, times } from './report.ts';

const CALLS = times(2_000, 10_000);
const SIZE = { numTokens: 11, dim: 16, depth: 1, heads: 2, dimHead: 8, ffMult: 2, device };
const X = [[1, 2, 3, 4]];
const THROWN = new Error('thrown by a getter');
// No call of a test may reach the network.
process.env.HF_HUB_OFFLINE = '1';
process.env.HF_HUB_CACHE = '/dev/null/cache';

/** The long-lived objects of a fuzzed program. */
class World {
  readonly model = new palm.PaLM(SIZE);
  readonly trunk = new palm.PaLM(SIZE);
  readonly reward = new palm.RewardModel(this.trunk);
  readonly actorCritic = new palm.ActorCritic(new palm.PaLM(SIZE));
  readonly flowrl = new palm.FlowrlPolicy(new palm.PaLM(SIZE));
  readonly ilql = new palm.IlqlPolicy(new palm.PaLM(SIZE));
  readonly prm = new palm.ImplicitPRM(new palm.PaLM(SIZE));
  readonly parameter = palm.Tensor.parameter([1, 2, 3]);
  readonly optimizer = new palm.AdamW([this.parameter]);
  readonly tensor = palm.Tensor.from(X, { dtype: 'int64', device });
  readonly floats = palm.Tensor.from([[0.5, -1, 2]], { device });
  readonly experience: palm.Experience;
  readonly now: palm.Evaluation;
  readonly disposed = disposedTensor();
  readonly disposedModel = disposedModel();

  constructor(experience: palm.Experience, now: palm.Evaluation) {
    this.experience = experience;
    this.now = now;
  }

  dispose(): void {
    for (const each of [...Object.values(this.experience), ...Object.values(this.now)]) each.dispose();
    const { model, reward, trunk, actorCritic, flowrl, ilql, prm, parameter, optimizer, tensor, floats } = this;
    const policies = [actorCritic, actorCritic.model, ilql, ilql.model, prm, prm.model, flowrl, flowrl.model];
    for (const each of [optimizer, parameter, tensor, floats, reward, trunk, ...policies, model]) each.dispose();
  }
}

async function makeWorld(): Promise<World> {
  using trunk = new palm.PaLM(SIZE);
  using actorCritic = new palm.ActorCritic(trunk);
  const rollout = await actorCritic.rollout({ prompts: [[1, 2]], maxNewTokens: 2, seed: 1 });
  const options = { klWeight: 0.1, gamma: 1, lambda: 0.95, whiten: true };
  using judgement = await palm.judge(rollout, [1], options);
  const experience = await palm.experienceRows({ ...rollout, ...judgement }, [0]);
  const now = await actorCritic.evaluate(rollout.sequence, { grad: false });
  rollout.dispose();
  return new World({ ...experience }, { ...now });
}

function disposedTensor(): palm.Tensor {
  const tensor = palm.Tensor.from([1]);
  tensor.dispose();
  return tensor;
}

function disposedModel(): palm.PaLM {
  const model = new palm.PaLM(SIZE);
  model.dispose();
  return model;
}

function detached(): Float32Array {
  const values = new Float32Array(4);
  structuredClone(values.buffer, { transfer: [values.buffer] });
  return values;
}

/** An object of which reading anything throws. */
function trap(): object {
  return new Proxy({}, { get: () => raise(), ownKeys: () => raise(), has: () => raise() });
}

function raise(): never {
  throw THROWN;
}

const NUMBERS = [0, -0, 1, 2, 3, -1, 0.5, Number.NaN, Infinity, -Infinity, 2 ** 31, 2 ** 53, 2 ** 60, 1e300, 5e-324];

/** Anything at all: what fits, what nearly fits, and what nobody would think of. */
class Junk {
  readonly #random: Random;
  readonly #world: World;

  constructor(random: Random, world: World) {
    this.#random = random;
    this.#world = world;
  }

  pick<T>(items: readonly T[]): T {
    return items[this.#random.int(items.length)] as T;
  }

  number(): unknown {
    return this.#random.next() < 0.8 ? this.pick(NUMBERS) : this.any();
  }

  /** A group of tensors, with something else for one of them now and then. */
  changed(group: object): unknown {
    const chance = this.#random.next();
    if (chance < 0.5) return group;
    return chance < 0.6 ? this.any() : { ...group, [this.pick(Object.keys(group))]: this.any() };
  }

  /** Options that are numbers, most of them. */
  numbers(keys: readonly string[]): unknown {
    const entries = keys.map((key) => [key, this.#random.next() < 0.8 ? 0.5 : this.number()]);
    return this.#random.next() < 0.1
      ? this.any()
      : { ...Object.fromEntries(entries), whiten: this.#random.next() < 0.5 };
  }

  /** Token ids, usually. */
  ids(): unknown {
    if (this.#random.next() < 0.3) return this.any();
    const width = 1 + this.#random.int(5);
    const rows = Array.from({ length: 1 + this.#random.int(3) }, () =>
      Array.from({ length: width }, () => this.#random.int(11)),
    );
    const place = rows[0] as unknown[];
    if (this.#random.next() < 0.4) place[0] = this.number();
    if (this.#random.next() < 0.1) place.push(1);
    return rows;
  }

  /** An options object: some of `keys` with good values, others with any, sometimes a key that nobody knows. */
  options(good: Record<string, () => unknown>): unknown {
    if (this.#random.next() < 0.1) return this.any();
    const options: Record<string, unknown> = {};
    for (const [key, value] of Object.entries(good)) {
      const chance = this.#random.next();
      if (chance < 0.6) options[key] = value();
      else if (chance < 0.8) options[key] = this.any();
    }
    if (this.#random.next() < 0.05) options.headz = 1;
    if (this.#random.next() < 0.05) Object.defineProperty(options, 'extra', { enumerable: true, get: raise });
    return options;
  }

  any(): unknown {
    const { tensor, floats, disposed, disposedModel, model, parameter, optimizer } = this.#world;
    const makers: (() => unknown)[] = [
      () => undefined,
      () => null,
      () => this.pick(NUMBERS),
      () => this.pick(NUMBERS),
      () => this.pick(['', 'a', 'actor', 'float32', 'cuda:9', '\u202e', 'x'.repeat(10_000), '__proto__', 'int64']),
      () => this.pick([true, false]),
      () => 10n ** 30n,
      () => Symbol('s'),
      () => () => 1,
      () => [],
      () => [[]],
      () => [1, [2]],
      () => [[1, 2], [3]],
      () => Array(5),
      () => ({}),
      () => Object.create(null),
      () => new Date(Number.NaN),
      () => new Proxy([1, 2, 3], {}),
      trap,
      () => tensor,
      () => floats,
      () => disposed,
      () => disposedModel,
      () => model,
      () => parameter,
      () => optimizer,
      () => structuredClone({ ...tensor }),
      () => Object.create(tensor as object),
      () => Object.create(palm.Tensor.prototype),
      detached,
      () => new Float32Array(this.#random.int(6)),
      () => new Float32Array(new SharedArrayBuffer(16)),
      () => BigInt64Array.from([1n, -(2n ** 62n)]),
      () => new Int32Array([1, 2, 3]),
      () => new Uint8ClampedArray(3),
      () => new Uint16Array(3),
      () => new DataView(new ArrayBuffer(8)),
      () => new ArrayBuffer(8),
      () => new Map([[1, 2]]),
      () => AbortSignal.abort(THROWN),
      () => Promise.resolve(1),
    ];
    return this.pick(makers)();
  }
}

/** A call, by a name; what it gives is disposed of. */
type Call = (junk: Junk, world: World) => unknown;

// What TypeScript would not let pass.
// biome-ignore lint/suspicious/noExplicitAny: the point of this file
type Wrong = any;

const scope = (junk: Junk) => () => junk.pick(['a', 'reward', 'critic', 'nobody']);
const yes = () => true;

const calls: Record<string, Call> = {
  'Tensor.from': (junk) =>
    palm.Tensor.from(
      junk.any() as Wrong,
      junk.options({
        shape: () => [junk.number(), 2],
        dtype: () => junk.pick(['float32', 'bool', 'int64', 'bfloat16', 'uint8', 'float64', 'int32', 'float8']),
        device: () => 'cpu',
      }) as Wrong,
    ),
  'Tensor.parameter': (junk) =>
    palm.Tensor.parameter(junk.any() as Wrong, junk.options({ dtype: () => 'float64' }) as Wrong),
  'tensor.data': (_junk, { floats }) => floats.data(),
  'tensor.item': (_junk, { floats }) => floats.item(),
  'tensor.backward': (_junk, { floats }) => floats.backward(),
  'parameter.setGrad': (junk, { parameter }) => parameter.setGrad(junk.any() as Wrong),
  'parameter.grad': (_junk, { parameter }) => parameter.grad(),
  PaLM: (junk) =>
    new palm.PaLM(
      junk.options({
        numTokens: () => 11,
        dim: () => junk.pick([8, 16, 2 ** 40]),
        depth: () => junk.pick([1, 2, 2 ** 40]),
        heads: () => junk.pick([1, 2 ** 50]),
        dimHead: () => junk.pick([8, 7]),
        ffMult: () => 2,
        dtype: () => junk.pick(['float32', 'bfloat16', 'float64', 'int64']),
        seed: () => junk.number(),
      }) as Wrong,
    ),
  'palm.forward': (junk, { model }) =>
    model.forward(
      junk.ids() as Wrong,
      junk.options({ scope: scope(junk), segments: () => junk.ids(), grad: yes }) as Wrong,
    ),
  'palm.loss': async (junk, { model }) => {
    using loss = await model.loss(
      junk.ids() as Wrong,
      junk.options({ mask: () => junk.ids(), denominator: () => junk.number(), grad: yes }) as Wrong,
    );
    await loss.backward();
  },
  'palm.generate': (junk, { model }) =>
    model.generate(
      junk.options({
        prompts: () => junk.ids(),
        maxNewTokens: () => junk.pick([1, 2, 0, 1.5]),
        temperature: () => junk.pick([0, 1, 0.5]),
        topK: () => junk.number(),
        topP: () => junk.number(),
        minP: () => junk.number(),
        eosToken: () => junk.number(),
        padToken: () => junk.number(),
        samplesPerPrompt: () => junk.pick([1, 2, 2 ** 50]),
        seed: () => junk.number(),
        lengths: () => junk.ids(),
      }) as Wrong,
    ),
  'palm.stream': async (junk, { model }) => {
    const options = junk.options({ prompt: () => [1, 2], maxNewTokens: () => 3, topK: () => junk.number() });
    for await (const _ of model.stream(options as Wrong)) break;
  },
  'palm scopes': (junk, { model }) => {
    const name = junk.pick(['a', 'b', junk.any()]) as Wrong;
    const act = junk.pick(['addScope', 'removeScope', 'mergeScope', 'freeze'] as const);
    return act === 'freeze' ? model.freeze(junk.options({ except: () => name }) as Wrong) : model[act](name);
  },
  'palm adapters': (junk, { model }) => {
    const act = junk.pick(['loadAdapter', 'exportAdapter'] as const);
    const options = junk.options({ bin: () => junk.any(), baseModel: () => junk.any() }) as Wrong;
    return model[act](junk.pick(['a', junk.any()]) as Wrong, junk.any() as Wrong, options);
  },
  'palm.unfreeze': (_junk, { model }) => model.unfreeze(),
  'palm.parameters': (junk, { model }) => model.parameters(junk.options({ scope: scope(junk) }) as Wrong) && undefined,
  'palm.train': (junk, { model }) => {
    model.train(junk.options({ seed: () => junk.number() }) as Wrong);
    model.eval();
  },
  'palm.setGeneratorState': (junk, { model }) => model.setGeneratorState(junk.any() as Wrong),
  'reward.score': (junk, { reward }) =>
    reward.score(
      junk.ids() as Wrong,
      junk.options({
        promptLengths: () => junk.ids(),
        promptMask: () => junk.ids(),
        lengths: () => junk.ids(),
        mask: () => junk.ids(),
      }) as Wrong,
    ),
  'reward.loss': (junk, { reward }) =>
    reward.loss(
      junk.ids() as Wrong,
      junk.options({ labels: () => [junk.number()], ratings: () => [junk.number()] }) as Wrong,
    ),
  'reward.rankingLoss': async (junk, { reward }) => {
    using loss = await reward.rankingLoss(
      junk.ids() as Wrong,
      junk.options({
        groups: () => [0, 0],
        ranks: () => [0, junk.number()],
        denominator: () => junk.number(),
      }) as Wrong,
    );
    await loss.metrics();
  },
  'actorCritic.evaluate': (junk, { actorCritic }) =>
    actorCritic.evaluate(junk.ids() as Wrong, junk.options({ temperature: () => junk.number(), grad: yes }) as Wrong),
  'actorCritic.rollout': (junk, { actorCritic }) =>
    actorCritic.rollout(
      junk.options({
        prompts: () => junk.ids(),
        maxNewTokens: () => 2,
        temperature: () => junk.number(),
        samplesPerPrompt: () => junk.pick([1, 2]),
        seed: () => junk.number(),
      }) as Wrong,
    ),
  resolveModel: (junk) =>
    palm.resolveModel(
      junk.pick(['org/name', 'org/name/x.gguf', '/dev', junk.any()]) as Wrong,
      junk.options({ revision: () => 'main', token: () => 'hf_x', offline: yes, allowPickle: yes }) as Wrong,
    ),
  uploadFolder: (junk) =>
    palm.uploadFolder(
      junk.pick(['/none', '/dev/null', junk.any()]) as Wrong,
      junk.pick(['org/name', junk.any()]) as Wrong,
      junk.options({ revision: () => 'main', token: () => 'hf_x', message: () => 'a', private: yes }) as Wrong,
    ),
  'optimizer.step': async (junk, { optimizer, parameter }) => {
    using grad = palm.Tensor.from([1, 2, 3]);
    await parameter.setGrad(grad);
    await optimizer.step(junk.options({ maxGradNorm: () => junk.number(), loss: () => junk.number() }) as Wrong);
    optimizer.zeroGrad();
  },
  'optimizer.learningRate': (junk, { optimizer }) => {
    optimizer.learningRate = junk.number() as Wrong;
  },
  AdamW: (junk, { parameter }) =>
    new palm.AdamW(
      junk.pick([[parameter], [junk.any()], junk.any()]) as Wrong,
      junk.options({ lr: () => junk.number() }) as Wrong,
    ),
  maskedMean: (junk, { floats }) => palm.maskedMean(junk.pick([floats, junk.any()]) as Wrong, junk.ids() as Wrong),
  whiten: (junk, { floats }) => palm.whiten(junk.pick([floats, junk.any()]) as Wrong, junk.ids() as Wrong),
  entropy: (junk) => palm.entropy(junk.any() as Wrong),
  judge: async (junk, { experience }) => {
    const options = junk.numbers(['klWeight', 'gamma', 'lambda']);
    using judgement = await palm.judge(
      junk.changed(experience) as Wrong,
      junk.pick([[1], junk.any()]) as Wrong,
      options as Wrong,
    );
    await judgement.metrics();
  },
  ppoLoss: async (junk, { now, experience }) => {
    const options = junk.numbers(['clip', 'valueClip', 'valueWeight', 'entropyWeight', 'denominator']);
    using loss = await palm.ppoLoss(junk.changed(now) as Wrong, junk.changed(experience) as Wrong, options as Wrong);
    await loss.metrics();
  },
  flowrlPolicy: async (junk, { flowrl, experience }) => {
    using read = await flowrl.evaluate(
      junk.ids() as Wrong,
      junk.ids() as Wrong,
      junk.options({ grad: yes, temperature: () => junk.number() }) as Wrong,
    );
    const options = junk.numbers(['samplesPerPrompt', 'beta', 'clip', 'clipHigh', 'denominator', 'tokens']);
    const scores = junk.pick([[1], junk.any()]) as Wrong;
    using loss = await palm.flowrlLoss(junk.changed(read) as Wrong, experience, scores, options as Wrong);
    await loss.metrics();
  },
  ilqlPolicy: async (junk, { ilql }) => {
    using read = await ilql.actionValues(
      junk.ids() as Wrong,
      junk.ids() as Wrong,
      junk.options({ grad: yes }) as Wrong,
    );
    const actions = { response: junk.ids(), reward: junk.pick([read.value, junk.any()]), responseMask: junk.ids() };
    const options = junk.numbers(['tau', 'gamma', 'cqlWeight', 'awacWeight', 'beta', 'denominator']);
    using loss = await palm.ilqlLoss(junk.changed(read) as Wrong, actions as Wrong, options as Wrong);
    await loss.metrics();
  },
  selectResponses: (junk) =>
    palm.selectResponses(
      junk.ids() as Wrong,
      junk.pick([[1, 2], junk.any()]) as Wrong,
      junk.options({ samplesPerPrompt: () => junk.number(), percentile: () => 0.5 }) as Wrong,
    ) && undefined,
  dpoLoss: async (junk, { now, experience }) => {
    const { logProb, referenceLogProb, responseMask } = { ...now, ...experience, ...(junk.changed(now) as object) };
    const options = junk.numbers(['beta', 'labelSmoothing', 'nllWeight', 'tailWeight', 'denominator']);
    using loss = await palm.dpoLoss(logProb, referenceLogProb, responseMask, options as Wrong);
    await loss.metrics();
  },
  ktoLoss: async (junk, { now, experience }) => {
    const { referenceLogProb, responseMask } = experience;
    const options = {
      ...(junk.numbers(['beta', 'desirableWeight']) as object),
      mismatched: junk.pick([[], junk.any()]),
    };
    const desirable = junk.pick([[1], junk.any()]) as Wrong;
    using loss = await palm.ktoLoss(now.logProb, referenceLogProb, responseMask, desirable, options as Wrong);
    await loss.metrics();
  },
  implicitPrm: async (junk, { prm }) => {
    const read = junk.pick([() => prm.score, () => prm.tokenRewards])();
    using _ = await read.call(prm, junk.ids() as Wrong, junk.ids() as Wrong);
  },
  implicitRewardLoss: async (junk, { now, experience }) => {
    const { referenceLogProb, responseMask } = experience;
    const ratio = junk.changed({ logProb: now.logProb, referenceLogProb, responseMask }) as Wrong;
    const options = { ...(junk.numbers(['beta']) as object), denominators: junk.numbers(['rows', 'desirable']) };
    using loss = await palm.implicitRewardLoss(ratio, junk.pick([[1], junk.any()]) as Wrong, options as Wrong);
    await loss.metrics();
  },
  experienceRows: (junk, { experience }) => {
    const rows = junk.pick([[0], [0, 0], [junk.number()], junk.any()]);
    return palm.experienceRows(junk.changed(experience) as Wrong, rows as Wrong);
  },
  memory: (junk) => palm.memory(junk.options({ resetPeak: yes, limit: () => 2 ** 40 }) as Wrong) && undefined,
};

afterAll(() => {
  palm.memory({ limit: 0 });
});

/** Releases what a call gave, if that is something native. */
function release(value: unknown): void {
  if (typeof value === 'object' && value !== null && Symbol.dispose in value) (value as Disposable)[Symbol.dispose]();
}

describe('calls with anything for an argument', () => {
  it('succeed or are typed errors, and leave nothing behind', async () => {
    const random = new Random(20);
    const world = await makeWorld();
    const junk = new Junk(random, world);
    const names = Object.keys(calls);
    const { liveTensors } = palm.memory();
    const counts = { succeeded: 0, refused: 0 };
    const surprises: string[] = [];
    for (let i = 0; i < CALLS; i++) {
      const name = junk.pick(names);
      try {
        release(await (calls[name] as Call)(junk, world));
        counts.succeeded++;
      } catch (error) {
        if (error === THROWN || error instanceof palm.PalmError) counts.refused++;
        else
          surprises.push(
            `${name}: ${String((error as Error)?.stack ?? error)
              .split('\n')
              .slice(0, 3)
              .join(' ')}`,
          );
        if (error instanceof palm.NativeError) surprises.push(`${name}: ${error.message}`);
      }
      palm.memory({ limit: 0 });
    }
    expect([...new Set(surprises)]).toEqual([]);
    expect(counts.succeeded).toBeGreaterThan(CALLS / 10);
    expect(counts.refused).toBeGreaterThan(CALLS / 10);

    await setImmediate();
    expect(palm.memory().liveTensors).toBe(liveTensors);
    using loss = await world.trunk.loss(X);
    expect(await loss.item()).toBeGreaterThan(0);
    loss.dispose();
    world.dispose();
    record({
      promise: 'Wrong arguments are typed errors',
      fault: 'calls with wrong types, shapes, numbers and handles',
      times: CALLS,
      outcome: `${counts.succeeded} succeeded, ${counts.refused} typed errors, no tensor left behind`,
    });
  });
});
