/**
 * Every public method of every class with native memory, in every state of its object: alive, disposed, disposed while the call
 * is running, its owner disposed. And every function that takes such objects, with those of a worker and of another copy of the
 * package. What may not be is a typed error, never less. The methods are read off the prototypes: a new one needs its row here.
 */
import { cpSync, mkdtempSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { afterAll, describe, expect, it } from 'vitest';
import type * as Palm from '../src/index.ts';
import * as palm from '../src/index.ts';
import { device } from './device.ts';

const folder = mkdtempSync(join(tmpdir(), 'palm-lifecycle-'));
afterAll(() => rmSync(folder, { recursive: true }));

const SIZE = { numTokens: 11, dim: 16, depth: 1, heads: 2, dimHead: 8, ffMult: 2, device };
const X = [[1, 2, 3, 4]];
const ROLLOUT = { prompts: [[1, 2]], maxNewTokens: 2, seed: 1 };
const JUDGE = { klWeight: 0.1, gamma: 1, lambda: 0.95, whiten: true };
const GROUPED = { samplesPerPrompt: 1, klWeight: 0.1, estimator: 'group', scale: 'group' } as const;
const PPO = { clip: 0.2, valueClip: 0.2, valueWeight: 0.5, entropyWeight: 0 };
const path = join(folder, 'file');

/** `ok`, or the code of the error. */
type Outcome = 'ok' | 'ERR_DISPOSED';

/** What a method does with an object that is disposed, that is disposed as soon as it is called, and whose owner is disposed. */
type Row<T> = [use: (object: T) => unknown, disposed: Outcome, during: Outcome, orphaned: Outcome];

interface Subject<T> {
  /** An object, and what it needs to live. */
  make(): Promise<{ object: T; owner: Disposable }>;
  rows: Record<string, Row<T>>;
  /** Methods that the package calls, and one by the language's own name. */
  internal?: readonly string[];
}

const D = 'ERR_DISPOSED';
const resource: Record<string, Row<Disposable & { disposed: boolean; dispose(): void }>> = {
  disposed: [(object) => object.disposed, 'ok', 'ok', 'ok'],
  dispose: [(object) => object.dispose(), 'ok', 'ok', 'ok'],
  'Symbol(Symbol.dispose)': [(object) => object[Symbol.dispose](), 'ok', 'ok', 'ok'],
};

/** What may be done with a tensor; its memory is its own, whoever made it. */
const tensorRows: Record<string, Row<Palm.Tensor>> = {
  ...resource,
  shape: [(tensor) => tensor.shape, D, 'ok', 'ok'],
  dtype: [(tensor) => tensor.dtype, D, 'ok', 'ok'],
  device: [(tensor) => tensor.device, D, 'ok', 'ok'],
  data: [(tensor) => tensor.data(), D, 'ok', 'ok'],
  item: [(tensor) => tensor.item(), D, 'ok', 'ok'],
  backward: [(tensor) => tensor.backward(), D, 'ok', 'ok'],
};

function optimizerRows<T extends Palm.Optimizer>(): Record<string, Row<T>> {
  return {
    ...resource,
    learningRate: [(optimizer) => optimizer.learningRate, 'ok', 'ok', 'ok'],
    step: [(optimizer) => optimizer.step(), D, 'ok', D],
    zeroGrad: [(optimizer) => optimizer.zeroGrad(), D, 'ok', 'ok'],
    contents: [(optimizer) => palm.saveTensors(path, optimizer.contents()), D, D, 'ok'],
  };
}

function optimizerSubject<T extends Palm.Optimizer>(Class: new (parameters: Palm.Parameter[]) => T): Subject<T> {
  return {
    async make() {
      const owner = new palm.PaLM(SIZE);
      const object = new Class(owner.parameters());
      using loss = await owner.loss(X);
      await loss.backward();
      return { object, owner };
    },
    rows: optimizerRows<T>(),
    internal: ['release'],
  };
}

function policyRows<T extends Palm.Policy>(): Record<string, Row<T>> {
  return {
    ...resource,
    hasReference: [(policy) => policy.hasReference, 'ok', 'ok', 'ok'],
    parameters: [(policy) => policy.parameters(), D, 'ok', D],
    logProb: [(policy) => policy.logProb(X), D, 'ok', D],
    ownParameters: [(policy) => policy.ownParameters(), D, 'ok', D],
    referenceLogProb: [(policy) => policy.referenceLogProb(X), D, 'ok', D],
    compare: [(policy) => policy.compare(X), D, 'ok', D],
    rollout: [(policy) => policy.rollout({ ...ROLLOUT, reference: true }), D, 'ok', D],
    contents: [(policy) => policy.contents(), D, 'ok', D],
  };
}
/** What a policy has for the classes that add to it. */
const POLICY_INTERNAL = ['release', 'description', 'gradients', 'read', 'roll'];

type Drawn = { token: number; logProb: number };
const GROUP: Record<string, Row<Disposable & { dispose(): void }>> = {
  dispose: [(group) => group.dispose(), 'ok', 'ok', 'ok'],
  'Symbol(Symbol.dispose)': [(group) => group[Symbol.dispose](), 'ok', 'ok', 'ok'],
};

const subjects = {
  Tensor: {
    async make() {
      const owner = new palm.PaLM(SIZE);
      return { object: await owner.loss(X), owner };
    },
    rows: tensorRows,
    internal: ['release'],
  } satisfies Subject<Palm.Tensor>,

  'a tensor that shares a parameter’s memory': {
    async make() {
      const owner = palm.Tensor.parameter(2);
      return { object: await owner.value(), owner };
    },
    rows: { ...tensorRows, backward: [(tensor) => tensor.data(), D, 'ok', 'ok'] },
    internal: ['release'],
  } satisfies Subject<Palm.Tensor>,

  'a tensor that is still being filled': {
    async make() {
      return { object: palm.Tensor.from(new Float32Array(2 ** 21), { device }), owner: new palm.PaLM(SIZE) };
    },
    rows: {
      ...tensorRows,
      item: [(tensor) => tensor.data(), D, 'ok', 'ok'],
      backward: [(tensor) => tensor.data(), D, 'ok', 'ok'],
    },
    internal: ['release'],
  } satisfies Subject<Palm.Tensor>,

  Parameter: {
    async make() {
      const owner = new palm.PaLM(SIZE);
      return { object: owner.parameters()[1] as Palm.Parameter, owner };
    },
    rows: {
      ...resource,
      value: [(parameter) => parameter.value(), D, 'ok', D],
      leaf: [(parameter) => parameter.leaf(), D, 'ok', D],
      grad: [(parameter) => parameter.grad(), D, 'ok', D],
      setGrad: [(parameter) => parameter.setGrad(zerosLike(parameter)), D, 'ok', D],
      data: [(parameter) => parameter.data(), D, 'ok', D],
      item: [(parameter) => parameter.item().catch(shapeError), D, 'ok', D],
      checkTrainable: [(parameter) => parameter.checkTrainable(), 'ok', 'ok', 'ok'],
      frozen: [(parameter) => parameter.frozen, 'ok', 'ok', 'ok'],
      owned: [(parameter) => parameter.owned, 'ok', 'ok', 'ok'],
      own: [(parameter) => parameter.own(), 'ok', 'ok', 'ok'],
      setFrozen: [(parameter) => parameter.setFrozen(false), 'ok', 'ok', 'ok'],
    },
    internal: ['release'],
  } satisfies Subject<Palm.Parameter>,

  Loss: {
    async make() {
      const owner = new palm.PaLM(SIZE);
      const model = new palm.RewardModel(owner);
      const object = await model.rankingLoss([...X, [4, 3, 2, 1]], { groups: [0, 0], ranks: [0, 1] });
      return { object, owner: both(model, owner) };
    },
    rows: { ...tensorRows, metrics: [(loss) => loss.metrics(), D, 'ok', 'ok'] },
    internal: ['release'],
  } satisfies Subject<Palm.Loss<keyof Palm.RankingMetrics>>,

  PaLM: {
    async make() {
      const object = new palm.PaLM(SIZE);
      object.addScope('a');
      return { object, owner: object };
    },
    rows: {
      ...resource,
      scopes: [(model) => model.scopes, 'ok', 'ok', 'ok'],
      training: [(model) => model.training, 'ok', 'ok', 'ok'],
      forward: [(model) => model.forward(X), D, 'ok', D],
      loss: [(model) => model.loss(X, { scope: 'a' }), D, 'ok', D],
      parameters: [(model) => model.parameters(), D, 'ok', D],
      addScope: [(model) => model.addScope('b'), D, 'ok', D],
      mergeScope: [(model) => model.mergeScope('a'), D, 'ok', D],
      removeScope: [(model) => model.removeScope('a'), D, 'ok', D],
      freeze: [(model) => model.freeze({ except: 'a' }), D, 'ok', D],
      unfreeze: [(model) => model.unfreeze(), D, 'ok', D],
      train: [(model) => model.train(), D, 'ok', D],
      eval: [(model) => model.eval(), D, 'ok', D],
      generatorState: [(model) => model.generatorState(), D, 'ok', D],
      setGeneratorState: [(model) => model.setGeneratorState(bytes()), D, 'ok', D],
      clone: [(model) => model.clone(), D, 'ok', D],
      save: [(model) => model.save(path), D, D, D],
      export: [(model) => model.export(path).catch(argumentError), D, 'ok', D], // not offered for this family
      exported: [async (model) => await (async () => model.exported())().catch(argumentError), D, 'ok', D],
      loadAdapter: [(model) => model.loadAdapter('c', path).catch(argumentError), D, 'ok', D],
      exportAdapter: [(model) => model.exportAdapter('a', path).catch(argumentError), D, 'ok', D],
      contents: [(model) => model.contents(), D, 'ok', D],
      pythonContents: [(model) => model.pythonContents()[Symbol.dispose](), D, 'ok', D],
      description: [(model) => model.description(), 'ok', 'ok', 'ok'],
      metadata: [(model) => model.metadata(), 'ok', 'ok', 'ok'],
      generate: [(model) => model.generate({ prompts: X, maxNewTokens: 2 }), D, 'ok', D],
      stream: [(model) => drain(model.stream({ prompt: [1], maxNewTokens: 4 })), D, D, D],
      gradients: [(model) => model.gradients(true, 'a'), 'ok', 'ok', 'ok'],
      addReader: [(model) => model.addReader({ name: 'test', scopes: [], trainsTrunk: false }), D, 'ok', D],
      scopeHandle: [(model) => model.scopeHandle('a'), 'ok', 'ok', 'ok'],
    },
    internal: ['release', 'blank'],
  } satisfies Subject<Palm.PaLM>,

  RewardModel: {
    async make() {
      const owner = new palm.PaLM(SIZE);
      return { object: new palm.RewardModel(owner), owner };
    },
    rows: {
      ...resource,
      training: [(model) => model.training, 'ok', 'ok', 'ok'],
      palm: [(model) => model.palm, 'ok', 'ok', 'ok'],
      adapts: [(model) => model.adapts, 'ok', 'ok', 'ok'],
      scope: [(model) => model.scope, 'ok', 'ok', 'ok'],
      statistics: [(model) => model.statistics, 'ok', 'ok', 'ok'],
      forward: [(model) => model.forward(X), D, 'ok', D],
      score: [(model) => model.score(X), D, 'ok', D],
      loss: [(model) => model.loss(X, { labels: [1] }), D, 'ok', D],
      rankingLoss: [(model) => model.rankingLoss([...X, ...X], { groups: [0, 0], ranks: [0, 1] }), D, 'ok', D],
      shift: [(model) => model.shift, 'ok', 'ok', 'ok'],
      tokenScores: [(model) => model.tokenScores(X), D, 'ok', D],
      stepLoss: [(model) => model.stepLoss(X, { labels: [[0, 1, -100, 1]] }), D, 'ok', D],
      parameters: [(model) => model.parameters(), D, 'ok', D],
      train: [(model) => model.train(), D, 'ok', 'ok'],
      eval: [(model) => model.eval(), D, 'ok', 'ok'],
      export: [(model) => model.export(path).catch(argumentError), D, 'ok', D], // not offered for this family
      save: [(model) => model.save(path), D, D, D],
      contents: [(model) => model.contents(), D, 'ok', D],
      pythonContents: [async (model) => (await model.pythonContents())[Symbol.dispose](), D, D, D],
    },
    internal: ['release'],
  } satisfies Subject<Palm.RewardModel>,

  ActorCritic: {
    async make() {
      const owner = new palm.PaLM(SIZE);
      return { object: new palm.ActorCritic(owner), owner };
    },
    rows: {
      ...policyRows<Palm.ActorCritic>(),
      palm: [(model) => model.palm, 'ok', 'ok', 'ok'],
      evaluate: [(model) => model.evaluate(X), D, 'ok', D],
    },
    internal: POLICY_INTERNAL,
  } satisfies Subject<Palm.ActorCritic>,

  AveragedPolicy: {
    async make() {
      const owner = new palm.Policy(new palm.PaLM(SIZE));
      return { object: new palm.AveragedPolicy(owner), owner };
    },
    rows: {
      dispose: [(average) => average.dispose(), 'ok', 'ok', 'ok'],
      'Symbol(Symbol.dispose)': [(average) => average[Symbol.dispose](), 'ok', 'ok', 'ok'],
      update: [(average) => average.update(0.9), D, 'ok', D],
      parameters: [(average) => average.parameters(), 'ok', 'ok', 'ok'],
      contents: [(average) => palm.saveTensors(path, average.contents()), D, D, 'ok'],
    },
  } satisfies Subject<Palm.AveragedPolicy>,

  FlowrlPolicy: {
    async make() {
      const owner = new palm.PaLM(SIZE);
      return { object: new palm.FlowrlPolicy(owner), owner };
    },
    rows: {
      ...policyRows<Palm.FlowrlPolicy>(),
      evaluate: [(policy) => policy.evaluate(X, [[0, 1, 1, 1]]), D, 'ok', D],
    },
    internal: POLICY_INTERNAL,
  } satisfies Subject<Palm.FlowrlPolicy>,

  IlqlPolicy: {
    async make() {
      const owner = new palm.PaLM(SIZE);
      return { object: new palm.IlqlPolicy(owner), owner };
    },
    rows: {
      ...policyRows<Palm.IlqlPolicy>(),
      actionValues: [(policy) => policy.actionValues(X, [[0, 1]]), D, 'ok', D],
      sync: [(policy) => policy.sync(0.5), D, 'ok', 'ok'],
      readout: [(policy) => policy.readout({ beta: 1 }), D, 'ok', 'ok'],
      generate: [(policy) => policy.generate({ prompts: [[1]], maxNewTokens: 1, beta: 1 }), D, 'ok', D],
    },
    internal: POLICY_INTERNAL,
  } satisfies Subject<Palm.IlqlPolicy>,

  ImplicitPRM: {
    async make() {
      const owner = new palm.PaLM(SIZE);
      return { object: new palm.ImplicitPRM(owner), owner };
    },
    rows: {
      ...policyRows<Palm.ImplicitPRM>(),
      score: [(prm) => prm.score(X, [[0, 0, 1, 1]]), D, 'ok', D],
      tokenRewards: [(prm) => prm.tokenRewards(X, [[0, 0, 1, 1]]), D, 'ok', D],
    },
    internal: POLICY_INTERNAL,
  } satisfies Subject<Palm.ImplicitPRM>,

  Readout: {
    async make() {
      const model = new palm.PaLM(SIZE);
      const owner = new palm.IlqlPolicy(model);
      return { object: owner.readout({ beta: 1 }), owner: both(owner, model) };
    },
    rows: { ...resource, reads: [(readout) => readout.reads(readout), 'ok', 'ok', 'ok'] },
    internal: ['release'],
  } satisfies Subject<Palm.Readout>,

  Policy: {
    async make() {
      const owner = new palm.PaLM(SIZE);
      return { object: new palm.Policy(owner), owner };
    },
    rows: policyRows<Palm.Policy>(),
    internal: POLICY_INTERNAL,
  } satisfies Subject<Palm.Policy>,

  AdamW: optimizerSubject(palm.AdamW),
  AdamAtan2: optimizerSubject(palm.AdamAtan2),
  AdoptAtan2: optimizerSubject(palm.AdoptAtan2),

  'a group of tensors': {
    async make() {
      const owner = new palm.PaLM(SIZE);
      return { object: await owner.forward(X), owner };
    },
    rows: GROUP,
  } satisfies Subject<Palm.PalmOutput>,

  Judgement: {
    async make() {
      const owner = new palm.PaLM(SIZE);
      const actorCritic = new palm.ActorCritic(owner);
      using rollout = await actorCritic.rollout(ROLLOUT);
      return { object: await palm.judge(rollout, [1], JUDGE), owner: both(actorCritic, owner) };
    },
    rows: { ...GROUP, metrics: [(judgement) => judgement.metrics(), D, 'ok', 'ok'] },
  } satisfies Subject<Palm.Judgement>,

  GroupAdvantages: {
    async make() {
      const owner = new palm.PaLM(SIZE);
      const policy = new palm.Policy(owner);
      using rollout = await policy.rollout(ROLLOUT);
      return { object: await palm.groupAdvantages(rollout, [1], GROUPED), owner: both(policy, owner) };
    },
    rows: { ...GROUP, metrics: [(advantages) => advantages.metrics(), D, 'ok', 'ok'] },
  } satisfies Subject<Palm.GroupAdvantages>,

  'a stream, whose owner is the model': {
    async make() {
      const owner = new palm.PaLM(SIZE);
      return { object: owner.stream({ prompt: [1], maxNewTokens: 4 }), owner };
    },
    rows: {
      next: [(stream) => stream.next(), 'ok', 'ok', D],
      return: [(stream) => stream.return(undefined), 'ok', 'ok', 'ok'],
      throw: [
        (stream) => stream.throw(new palm.ArgumentError({ argument: 'x' })).catch(argumentError),
        'ok',
        'ok',
        'ok',
      ],
      'Symbol(Symbol.asyncIterator)': [(stream) => stream[Symbol.asyncIterator](), 'ok', 'ok', 'ok'],
    },
    internal: ['Symbol(Symbol.toStringTag)', 'Symbol(Symbol.asyncDispose)', 'Symbol(nodejs.asyncDispose)'],
  } satisfies Subject<AsyncGenerator<Drawn>>,

  RLHFTrainer: {
    async make() {
      const owner = new palm.PaLM(SIZE);
      const config = { epochs: 1, minibatchSize: 1, rolloutBatch: 1, sampling: { maxNewTokens: 2 } };
      const rewardModel = (answers: { response: number[] }[]) => answers.map(({ response }) => response.length);
      const object = new palm.RLHFTrainer({ model: owner, promptTokenIds: [[1, 2]], rewardModel, config });
      return { object, owner };
    },
    rows: {
      train: [(trainer) => trainer.train({ numEpisodes: 1 }), D, D, D],
      generate: [(trainer) => trainer.generate(4, { prompt: [1] }), D, 'ok', D],
      dispose: [(trainer) => trainer.dispose(), 'ok', 'ok', 'ok'],
      'Symbol(Symbol.dispose)': [(trainer) => trainer[Symbol.dispose](), 'ok', 'ok', 'ok'],
    },
  } satisfies Subject<Palm.RLHFTrainer>,
};

function both(...all: Disposable[]): Disposable {
  return {
    [Symbol.dispose]() {
      for (const each of all) each[Symbol.dispose]();
    },
  };
}

function zerosLike({ shape }: Palm.Parameter): Palm.Tensor {
  const size = shape.reduce((product, length) => product * length, 1);
  return palm.Tensor.from(new Float32Array(size), { shape, device });
}

const bytes = () => palm.Tensor.from(new Uint8Array(0));

async function drain(stream: AsyncIterable<Drawn>): Promise<void> {
  for await (const _ of stream);
}

function shapeError(error: unknown): void {
  if (!(error instanceof palm.ShapeError)) throw error;
}

function argumentError(error: unknown): void {
  if (!(error instanceof palm.ArgumentError)) throw error;
}

/** What came of a use: `ok`, the code of a typed error, or any other error as it is. */
async function outcome(use: () => unknown): Promise<unknown> {
  try {
    await use();
    return 'ok';
  } catch (error) {
    return error instanceof palm.PalmError ? error.code : error;
  }
}

async function dispose(object: object): Promise<void> {
  if ('return' in object) await (object as AsyncGenerator).return(undefined);
  else (object as Disposable)[Symbol.dispose]();
}

/** Names of everything on the prototypes of an object. */
function methodsOf(object: object): string[] {
  const names = new Set<string>();
  const dispose = String(Symbol.dispose);
  for (let at = Object.getPrototypeOf(object); at !== null && at !== Object.prototype; at = Object.getPrototypeOf(at)) {
    for (const key of Reflect.ownKeys(at)) {
      if (key !== 'constructor') names.add(String(key) === dispose ? 'Symbol(Symbol.dispose)' : String(key));
    }
  }
  if (Object.hasOwn(object, 'metrics')) names.add('metrics');
  return [...names];
}

describe.each(Object.entries(subjects) as [string, Subject<object>][])('%s', (_name, { make, rows, internal = [] }) => {
  it('has a row for every method', async () => {
    const { object, owner } = await make();
    const expected = methodsOf(object).filter((method) => !internal.includes(method));
    expect(Object.keys(rows).sort()).toEqual(expected.sort());
    await dispose(object);
    owner[Symbol.dispose]();
  });

  it.each(Object.entries(rows))('%s', async (_method, [use, disposed, during, orphaned]) => {
    const states: Record<string, unknown> = {};

    const alive = await make();
    states.alive = await outcome(() => use(alive.object));
    await dispose(alive.object);
    alive.owner[Symbol.dispose]();

    const dead = await make();
    await dispose(dead.object);
    await dispose(dead.object);
    states.disposed = await outcome(() => use(dead.object));
    dead.owner[Symbol.dispose]();

    const running = await make();
    const result = outcome(() => use(running.object));
    await dispose(running.object);
    states.during = await result;
    running.owner[Symbol.dispose]();

    const orphan = await make();
    orphan.owner[Symbol.dispose]();
    states.orphaned = await outcome(() => use(orphan.object));
    await dispose(orphan.object);

    expect(states).toEqual({ alive: 'ok', disposed, during, orphaned });
  });
});

/** Another copy of the package, with an addon of its own, as npm puts it beside a first one of another version. */
async function otherCopy(): Promise<typeof Palm> {
  const root = fileURLToPath(new URL('..', import.meta.url));
  const copy = join(folder, 'copy');
  for (const name of ['src', 'package.json', 'build/Release/palm.node', 'build/Release/libpalm.so']) {
    cpSync(join(root, name), join(copy, name), { recursive: true });
  }
  symlinkSync(join(root, 'node_modules'), join(copy, 'node_modules'));
  return (await import(pathToFileURL(join(copy, 'src/index.ts')).href)) as typeof Palm;
}

/** One of each object, from a copy of the package. */
async function objectsOf(api: typeof Palm) {
  const model = new api.PaLM(SIZE);
  const actorCritic = new api.ActorCritic(new api.PaLM(SIZE));
  const rollout = await actorCritic.rollout(ROLLOUT);
  const judgement = await api.judge(rollout, [1], JUDGE);
  const now = await actorCritic.evaluate(rollout.sequence);
  return {
    tensor: api.Tensor.from(X, { dtype: 'int64', device }),
    parameter: model.parameters()[0] as Palm.Parameter,
    trunk: model,
    rollout: { ...rollout },
    experience: { ...rollout, ...judgement },
    now: { ...now },
  };
}
type Objects = Awaited<ReturnType<typeof objectsOf>>;

describe('objects from another copy of the package', async () => {
  const own = await objectsOf(palm);
  const model = new palm.PaLM(SIZE);
  const other = await objectsOf(await otherCopy());

  /** What takes an object, with the error for one that is no such thing. A tensor may also be values, wrong ones then. */
  const uses: Record<string, [use: (given: Objects) => unknown, code: string]> = {
    'parameter.setGrad': [({ tensor }) => own.parameter.setGrad(tensor), 'ERR_HANDLE'],
    'palm.forward': [({ tensor }) => model.forward(tensor), 'ERR_ARGUMENT'],
    'palm.loss': [({ tensor }) => model.loss(X, { mask: tensor }), 'ERR_ARGUMENT'],
    'palm.setGeneratorState': [({ tensor }) => model.setGeneratorState(tensor), 'ERR_HANDLE'],
    'palm.generate': [({ tensor }) => model.generate({ prompts: tensor, maxNewTokens: 1 }), 'ERR_SHAPE'],
    AdamW: [({ parameter }) => new palm.AdamW([parameter]), 'ERR_HANDLE'],
    maskedMean: [({ rollout }) => palm.maskedMean(rollout.rolloutValue), 'ERR_HANDLE'],
    whiten: [({ rollout }) => palm.whiten(rollout.rolloutValue), 'ERR_HANDLE'],
    entropy: [({ rollout }) => palm.entropy(rollout.rolloutValue), 'ERR_HANDLE'],
    judge: [({ rollout }) => palm.judge(rollout, [1], JUDGE), 'ERR_HANDLE'],
    ppoLoss: [({ now, experience }) => palm.ppoLoss(now, experience, PPO), 'ERR_HANDLE'],
    FlowrlPolicy: [({ trunk }) => new palm.FlowrlPolicy(trunk), 'ERR_HANDLE'],
    ImplicitPRM: [({ trunk }) => new palm.ImplicitPRM(trunk), 'ERR_HANDLE'],
    IlqlPolicy: [({ trunk }) => new palm.IlqlPolicy(trunk), 'ERR_HANDLE'],
    ktoLoss: [({ now }) => palm.ktoLoss(now.logProb, now.logProb, X, [1], { beta: 1, mismatched: [] }), 'ERR_HANDLE'],
    RewardModel: [({ trunk }) => new palm.RewardModel(trunk), 'ERR_HANDLE'],
    ActorCritic: [({ trunk }) => new palm.ActorCritic(trunk), 'ERR_HANDLE'],
    experienceRows: [({ experience }) => palm.experienceRows(experience, [0]), 'ERR_HANDLE'],
  };

  it.each(Object.entries(uses))('%s', async (_name, [use, code]) => {
    expect(await outcome(() => use(other)), 'of another copy').toBe(code);
    // As it arrives in, or from, a worker.
    expect(await outcome(() => use(structuredClone(own))), 'of a worker').toBe(code);
  });
});
