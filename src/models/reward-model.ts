/** A reward model: scores the response to a prompt, as a number or as one of N ratings. */
import { type Contents, type NamedTensor, readTensors, type Saveable, saveTensors } from '../tensor/tensor-files.ts';
import { openSafetensors } from '../files/safetensors/safetensors.ts';
import { ArgumentError, printable } from '../errors.ts';
import { type Ids, Inputs, type Values } from '../tensor/arguments.ts';
import { Loss } from '../tensor/loss.ts';
import { addon, type Device, type Gradients, type RewardModelHandle, type TensorHandle } from '../native/addon.ts';
import { checkAdapterOptions, checkInteger, checkOptions } from '../checks/options.ts';
import type { LanguageModel } from './language-model.ts';
import {
  checkModel,
  namesFor,
  type OwnedContents,
  ownedContents,
  type SaveOptions,
  withTokenizerNote,
  writeMetadata,
} from './model-file.ts';
import { handleOf, queue, Resource, run } from '../native/resource.ts';
import { type LoadOptions, readModel } from './registry.ts';
import { seedFor } from '../seed.ts';
import { POSITIONS, positions, type RewardPositions } from './reward-input.ts';
import { checkScope, findReward, isStatistics, type ScoreStatistics, TRUNK } from './reward-file.ts';
import { Parameter, Tensor } from '../tensor/tensor.ts';

export type { RewardPositions } from './reward-input.ts';
export type { ScoreStatistics } from './reward-file.ts';

export interface RewardModelOptions {
  /** Number of ratings that the head distinguishes. By default, it outputs a single number. */
  numBins?: number;
  /** Rank of the adapters of its scope; false trains a copy of the whole trunk. Defaults to 8. */
  lora?: number | false;
  /** The output of the adapters is scaled by alpha / rank. Defaults to the rank, for a scale of 1. */
  alpha?: number;
  /**
   * Which hidden states are averaged: those of `all` tokens, prompt and response, as in palm-rlhf-pytorch; or only those of the
   * `response`, if prompt positions are given, so that a long prompt does not outweigh it. Defaults to `all`.
   */
  pooling?: 'all' | 'response';
  /** Dropout of attention probabilities and feed-forward units in training mode. Defaults to 0. */
  dropout?: number;
  /** Seed of the head and the adapters. Defaults to the trunk's. */
  seed?: number;
  /** Name of its scope, for when several reward models share a trunk. Defaults to `reward`. */
  scope?: string;
}

/** Training targets: labels are numbers, or with bins classes 0 ... N − 1; ratings are 1 ... N and need bins. */
export type RewardTarget = { labels: Values; ratings?: undefined } | { ratings: readonly number[]; labels?: undefined };

/** The metrics of `rankingLoss`. */
export interface RankingMetrics {
  /** Share of pairs in the right order. */
  accuracy: number;
  /** Score of the better response minus that of the worse one, averaged over pairs. */
  margin: number;
}

/** The load options of its trunk, and: `numBins`, which must match the file, and `dropout`, which Python files do not store. */
export interface RewardLoadOptions {
  options?: NonNullable<LoadOptions['options']> & Pick<RewardModelOptions, 'numBins' | 'dropout'>;
  device?: Device;
}

/**
 * A trunk, two learned embeddings that mark prompt and response, the mean of the hidden states, and a head. With LoRA it
 * shares the trunk it is given and reads it through its own scope, and of both only the adapters are trained; `lora: false`
 * copies the trunk.
 */
export class RewardModel extends Resource<RewardModelHandle> implements Saveable {
  /** The trunk: the one given, or this model's own copy. */
  readonly model: LanguageModel;
  /** Number of ratings that the head distinguishes; undefined if it outputs a single number. */
  readonly numBins: number | undefined;
  readonly #scope: string | undefined;
  readonly #dropout: number;
  readonly #pooling: 'all' | 'response';
  readonly #seed: number;
  readonly #ownParameters: readonly Parameter[];
  readonly #ownsTrunk: boolean;
  readonly #unregister: () => void;
  #training = false;
  #statistics: ScoreStatistics | undefined;

  /**
   * Creates a reward model in eval mode. `loaded` is for this package only.
   * @throws ArgumentError if the trunk already has its scope.
   */
  constructor(model: LanguageModel, options: RewardModelOptions = {}, loaded = false) {
    handleOf(model, 'model');
    const { numBins, lora, alpha, scope, dropout, pooling, seed } = checkRewardOptions(options, model);
    const trunk = loaded || lora !== false ? model : model.clone();
    const adds = !loaded && lora !== false;
    if (adds) trunk.addScope(scope, { rank: lora, alpha, seed });
    const scoped = loaded ? trunk.scopes.includes(scope) : lora !== false;
    try {
      const adapters = scoped ? trunk.scopeHandle(scope) : undefined;
      const pool = pooling === 'response';
      super(addon().rewardModelCreate(handleOf(trunk, 'model'), adapters, numBins ?? 0, dropout, pool), 'RewardModel');
    } catch (error) {
      if (adds) trunk.removeScope(scope);
      else if (!loaded) trunk.dispose();
      throw error;
    }
    this.model = trunk;
    this.numBins = numBins;
    this.#scope = scoped ? scope : undefined;
    this.#dropout = dropout;
    this.#pooling = pooling;
    this.#seed = seed;
    this.#ownsTrunk = loaded || lora === false;
    const native = addon().rewardModelParameters(handleOf(this));
    this.#ownParameters = native.map((parameter) => new Parameter(parameter, { dtype: trunk.decoder.dtype }));
    const reader = { name: 'RewardModel', scopes: scoped ? [scope] : [], trainsTrunk: this.#ownsTrunk };
    this.#unregister = trunk.addReader(reader);
    if (!loaded) queue(this, addon().rewardModelInitialise(handleOf(this), seedFor(seed, 'reward head')));
  }

  /**
   * Reads a safetensors file written by `save`, or one with the names of palm-rlhf-pytorch; bins and LoRA are detected. The
   * model has a trunk of its own, which also gets gradients unless an optimizer owns only the adapters.
   * @throws FileError for a missing, damaged or foreign file.
   * @throws ConfigError for bad options.
   */
  static async load(path: string, load: RewardLoadOptions = {}): Promise<RewardModel> {
    checkOptions(load, ['options', 'device'], 'RewardModel.load');
    const { numBins, dropout, ...options } = load.options ?? {};
    await using file = await openSafetensors(path);
    checkModel(file, ['RewardModel'], 'RewardModel');
    const found = findReward(file, numBins);
    const trunk = await readModel(file, { options, device: load.device }, TRUNK, (name) => !name.startsWith(TRUNK));
    try {
      const { numBins: bins, pooling, scope } = found;
      checkScope(file, trunk.scopes, scope);
      const model = new RewardModel(trunk, { numBins: bins, pooling, scope, dropout: dropout ?? found.dropout }, true);
      model.#statistics = found.statistics;
      await readTensors(file, model.#named(found.python), (name) => name.startsWith(TRUNK));
      return model;
    } catch (error) {
      trunk.dispose();
      throw error;
    }
  }

  /** @deprecated Now `model`. */
  get palm(): LanguageModel {
    return this.model;
  }

  /** Whether it reads the trunk through adapters, which are trained instead of the trunk. */
  get adapts(): boolean {
    return this.#scope !== undefined;
  }

  /** Whether dropout is on; see `train`. */
  get training(): boolean {
    return this.#training;
  }

  /**
   * Mean and deviation of its scores on held-out answers. Training on pairs measures them at its end, and files store them.
   * They do not change the scores themselves; PPO uses them to normalise scores.
   */
  get statistics(): ScoreStatistics | undefined {
    return this.#statistics;
  }

  /** @throws ArgumentError unless both are finite and the deviation is >= 0. */
  set statistics(statistics: ScoreStatistics | undefined) {
    if (statistics !== undefined && !isStatistics(statistics)) {
      const expected = '{ mean, deviation }, finite numbers, deviation >= 0';
      throw new ArgumentError({ argument: 'RewardModel.statistics', received: printable(statistics), expected });
    }
    this.#statistics = statistics && { mean: statistics.mean, deviation: statistics.deviation };
  }

  /** The raw output of the head for sequences [B, T]: [B], or logits [B, N] with bins. Differentiable only with `grad`. */
  async forward(sequence: Ids, options: RewardPositions & { grad?: boolean } = {}): Promise<Tensor> {
    checkOptions(options, [...POSITIONS, 'grad'], 'forward');
    using inputs = this.#inputs();
    const input = positions(inputs, sequence, options);
    const forward = () => addon().rewardModelForward(handleOf(this), input, this.#gradients(options.grad));
    return new Tensor(await this.#run(inputs, forward));
  }

  /** One score per row [B]: the output of the head, or the expected bin. */
  async score(sequence: Ids, options: RewardPositions = {}): Promise<Tensor> {
    checkOptions(options, POSITIONS, 'score');
    using inputs = this.#inputs();
    const input = positions(inputs, sequence, options);
    return new Tensor(await this.#run(inputs, () => addon().rewardModelScore(handleOf(this), input)));
  }

  /**
   * Squared error against `labels` [B], or with bins cross entropy against classes: the mean over rows, or their sum divided
   * by `denominator`. `grad: false` saves memory when nothing is trained.
   */
  async loss(
    sequence: Ids,
    options: RewardPositions & RewardTarget & { denominator?: number; grad?: boolean },
  ): Promise<Tensor> {
    checkOptions(options, [...POSITIONS, 'labels', 'ratings', 'denominator', 'grad'], 'loss');
    const { denominator, grad = true } = options;
    using inputs = this.#inputs();
    const input = positions(inputs, sequence, options);
    const labels = this.#labels(inputs, options);
    const loss = () => addon().rewardModelLoss(handleOf(this), input, labels, denominator, this.#gradients(grad));
    return new Tensor(await this.#run(inputs, loss));
  }

  /**
   * Bradley–Terry loss over all pairs of sequences [B, T] that answer the same prompt (equal `groups` [B]) and differ in
   * `ranks` [B] (lower is better): the mean within each prompt, then over prompts, or their sum divided by `denominator`.
   */
  async rankingLoss(
    sequences: Ids,
    options: RewardPositions & { groups: Ids; ranks: Ids; denominator?: number; grad?: boolean },
  ): Promise<Loss<keyof RankingMetrics>> {
    checkOptions(options, [...POSITIONS, 'groups', 'ranks', 'denominator', 'grad'], 'rankingLoss');
    const { denominator, grad = true } = options;
    using inputs = this.#inputs();
    const input = positions(inputs, sequences, options);
    const groups = inputs.ids(options.groups, 'groups');
    const ranks = inputs.ids(options.ranks, 'ranks');
    const loss = () =>
      addon().rewardModelRankingLoss(handleOf(this), input, groups, ranks, denominator, this.#gradients(grad));
    return new Loss(await this.#run(inputs, loss));
  }

  /** The trained parameters: the embeddings, the head, and the adapters or the copied trunk. */
  parameters(): Parameter[] {
    handleOf(this);
    return [...this.model.parameters({ scope: this.#scope }), ...this.#ownParameters];
  }

  /** Turns dropout on and restarts its random generator from `seed`, which defaults to the model's. */
  train(options: { seed?: number } = {}): void {
    checkOptions(options, ['seed'], 'train');
    const seed = options.seed ?? this.#seed;
    checkInteger(seed, 0, 'train.seed');
    queue(this, addon().rewardModelTrain(handleOf(this), true, seedFor(seed, 'reward dropout')));
    this.#training = true;
  }

  /** Turns dropout off, which is the initial state. */
  eval(): void {
    queue(this, addon().rewardModelTrain(handleOf(this), false, 0));
    this.#training = false;
  }

  /**
   * Writes trunk, adapters and head to `path` as safetensors; with `names: 'python'`, as a state_dict of palm-rlhf-pytorch.
   * Do not train meanwhile.
   * @throws FileError if the file cannot be written.
   */
  async save(path: string, options: SaveOptions = {}): Promise<void> {
    const { tokenizer } = options;
    if (namesFor(options) === 'palm') return await saveTensors(path, withTokenizerNote(this.contents(), tokenizer));
    using contents = await this.pythonContents();
    await saveTensors(path, withTokenizerNote(contents, tokenizer));
  }

  /** The same as `contents`, with the names, buffers and shapes of palm-rlhf-pytorch. Dispose of it. @internal */
  async pythonContents(): Promise<OwnedContents> {
    handleOf(this);
    const trunk = this.model.pythonContents(this.#scopes);
    const own: Disposable[] = [trunk];
    const tensors: NamedTensor[] = trunk.tensors.map(withTrunkPrefix);
    for (const { name, tensor } of this.#named(true)) {
      const { shape, dtype } = tensor;
      if (!name.endsWith('_embed')) {
        tensors.push({ name, tensor });
        continue;
      }
      const embedding = Tensor.from((await tensor.data()) as Float32Array, { shape: [1, 1, ...shape], dtype });
      own.push(embedding);
      tensors.push({ name, tensor: embedding });
    }
    return ownedContents(tensors, this.#metadata('python'), own);
  }

  /** Everything that a file of this model holds, by its names in the file. */
  contents(): Contents {
    handleOf(this);
    const trunk = this.model.contents(this.#scopes).tensors.map(withTrunkPrefix);
    return { tensors: [...trunk, ...this.#named(false)], metadata: this.#metadata() };
  }

  /** Frees the head, and the trunk if it is a copy; a shared trunk keeps its scope. */
  protected override release(handle: RewardModelHandle): void {
    this.#unregister();
    for (const parameter of this.#ownParameters) parameter.dispose();
    super.release(handle);
    if (this.#ownsTrunk) this.model.dispose();
  }

  /** Its own scopes of the trunk. */
  get #scopes(): readonly string[] {
    return this.#scope === undefined ? [] : [this.#scope];
  }

  #metadata(names?: 'python'): Map<string, string> {
    const head = { numBins: this.numBins, pooling: this.#pooling, dropout: this.#dropout, scope: this.#scope };
    const trunk = this.model.metadata(this.#scopes);
    return writeMetadata('RewardModel', { names, ...trunk, ...head, statistics: this.#statistics });
  }

  #gradients(grad = false): Gradients {
    return this.model.gradients(grad, this.#scope);
  }

  #inputs(): Inputs {
    return new Inputs(this.model.decoder.device);
  }

  #run<T>(inputs: Inputs, call: () => Promise<T>): Promise<T> {
    return run([this, this.model, ...inputs.used], call);
  }

  #named(python: boolean): NamedTensor[] {
    const head = this.numBins === undefined ? 'to_pred.0.weight' : 'to_pred.weight';
    const names = ['prompt_embed', 'response_embed', head, 'to_pred.bias'];
    return this.#ownParameters.map((tensor, i) => ({ name: python ? (names[i] as string) : tensor.name, tensor }));
  }

  #labels(inputs: Inputs, { labels, ratings }: RewardTarget): TensorHandle {
    if ((labels === undefined) === (ratings === undefined)) {
      throw new ArgumentError({
        argument: 'labels',
        received: labels === undefined ? 'neither labels nor ratings' : 'labels and ratings',
        expected: 'exactly one of them',
      });
    }
    if (ratings !== undefined) return inputs.ids(this.#classes(ratings), 'ratings');
    if (this.numBins !== undefined) return inputs.ids(labels as Ids, 'labels');
    return inputs.values(labels, 'labels', this.model.decoder.dtype === 'float64' ? 'float64' : 'float32');
  }

  #classes(ratings: readonly number[]): number[] {
    const bins = this.numBins;
    if (bins === undefined) {
      throw new ArgumentError({
        argument: 'ratings',
        received: 'ratings for a model without bins',
        expected: 'labels',
      });
    }
    for (const [i, rating] of ratings.entries()) {
      if (Number.isInteger(rating) && rating >= 1 && rating <= bins) continue;
      const expected = `an integer from 1 to ${bins}`;
      throw new ArgumentError({ argument: `ratings[${i}]`, received: printable(rating), expected });
    }
    return ratings.map((rating) => rating - 1);
  }
}

function withTrunkPrefix(named: NamedTensor): NamedTensor {
  return { ...named, name: TRUNK + named.name };
}

function checkRewardOptions(options: RewardModelOptions, model: LanguageModel) {
  checkOptions(options, ['numBins', 'lora', 'alpha', 'scope', 'dropout', 'pooling', 'seed'], 'RewardModel');
  const {
    numBins,
    lora = 8,
    alpha,
    scope = 'reward',
    dropout = 0,
    pooling = 'all',
    seed = model.config.seed,
  } = options;
  if (pooling !== 'all' && pooling !== 'response') {
    const expected = '"all" or "response"';
    throw new ArgumentError({ argument: 'RewardModel.pooling', received: printable(pooling), expected });
  }
  if (numBins !== undefined) checkInteger(numBins, 2, 'RewardModel.numBins');
  if (lora !== false) checkInteger(lora, 1, 'RewardModel.lora');
  checkAdapterOptions(lora, { alpha, scope: options.scope }, 'RewardModel');
  checkInteger(seed, 0, 'RewardModel.seed');
  if (!(typeof dropout === 'number' && dropout >= 0 && dropout < 1)) {
    const expected = 'a number >= 0 and < 1';
    throw new ArgumentError({ argument: 'RewardModel.dropout', received: printable(dropout), expected });
  }
  return { numBins, lora, alpha, scope, dropout, pooling, seed };
}
