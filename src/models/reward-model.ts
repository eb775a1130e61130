/** A reward model: scores the response to a prompt, as a number or as one of N ratings. */
import { statSync } from 'node:fs';
import { type Contents, type NamedTensor, readTensors, type Saveable, saveTensors } from '../tensor/tensor-files.ts';
import { openSafetensors } from '../files/safetensors/safetensors.ts';
import { ArgumentError, printable } from '../errors.ts';
import { type Ids, Inputs } from '../tensor/arguments.ts';
import { Loss } from '../tensor/loss.ts';
import { addon, type Device, type Gradients, type RewardModelHandle } from '../native/addon.ts';
import { checkKind, NUMBER, PATH } from '../checks/kinds.ts';
import { checkInteger, checkOptions } from '../checks/options.ts';
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
import type { ExportOptions } from './hf-export.ts';
import type { FolderOptions } from './hf-folder.ts';
import { exportHfReward, readHfReward } from './hf-reward.ts';
import { type Compared, nativeRanking, type RankingMetrics } from './ranking.ts';
import { handleOf, queue, Resource, run } from '../native/resource.ts';
import { type LoadOptions, readModel } from './registry.ts';
import { seedFor } from '../seed.ts';
import { POSITIONS, positions, type RewardPositions } from './reward-input.ts';
import { checkScope, findReward, isStatistics, type Pooling, type ScoreStatistics, TRUNK } from './reward-file.ts';
import { checkRewardOptions, type RewardModelOptions } from './reward-options.ts';
import { type RewardTarget, type StepLabelMetrics, targetOf } from './reward-target.ts';
import { Parameter, Tensor } from '../tensor/tensor.ts';

export type { RankingMetrics, RankingOptions } from './ranking.ts';
export type { RewardModelOptions } from './reward-options.ts';
export type { RewardPositions } from './reward-input.ts';
export type { ScoreStatistics } from './reward-file.ts';
export type { RewardTarget, StepLabelMetrics } from './reward-target.ts';

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
  readonly #pooling: Pooling;
  readonly #seed: number;
  readonly #ownParameters: readonly Parameter[];
  readonly #ownsTrunk: boolean;
  readonly #unregister: () => void;
  #training = false;
  #shift = 0;
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
      const trunkHandle = handleOf(trunk, 'model');
      super(addon().rewardModelCreate(trunkHandle, adapters, numBins ?? 0, dropout, pooling), 'RewardModel');
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
   * Reads a safetensors file written by `save`, one with the names of palm-rlhf-pytorch, or a Hugging Face folder of a
   * `…ForSequenceClassification` with one label; bins and LoRA are detected. The model has a trunk of its own, which also gets
   * gradients unless an optimizer owns only the adapters.
   * @throws FileError for a missing, damaged or foreign file.
   * @throws ConfigError for bad options.
   */
  static async load(path: string, load: RewardLoadOptions = {}): Promise<RewardModel> {
    checkKind('path', path, PATH);
    checkOptions(load, ['options', 'device'], 'RewardModel.load');
    const { numBins, dropout, ...options } = load.options ?? {};
    if (statSync(path, { throwIfNoEntry: false })?.isDirectory()) return await RewardModel.#loadFolder(path, load);
    await using file = await openSafetensors(path);
    checkModel(file, ['RewardModel'], 'RewardModel');
    const found = findReward(file, numBins);
    const trunk = await readModel(file, { options, device: load.device }, TRUNK, (name) => !name.startsWith(TRUNK));
    try {
      const { numBins: bins, pooling, scope } = found;
      checkScope(file, trunk.scopes, scope);
      const model = new RewardModel(trunk, { numBins: bins, pooling, scope, dropout: dropout ?? found.dropout }, true);
      model.#statistics = found.statistics;
      if (found.shift !== undefined) model.shift = found.shift;
      await readTensors(file, model.#named(found.python), (name) => name.startsWith(TRUNK));
      return model;
    } catch (error) {
      trunk.dispose();
      throw error;
    }
  }

  static async #loadFolder(path: string, { options, device }: RewardLoadOptions): Promise<RewardModel> {
    const { dropout = 0, ...folder } = options ?? {};
    return await readHfReward(path, { ...(folder as FolderOptions), ...(device && { device }) }, (trunk) => {
      const model = new RewardModel(trunk, { pooling: 'last', dropout }, true);
      queue(model, addon().rewardModelInitialise(handleOf(model), seedFor(model.#seed, 'reward head')));
      return model;
    });
  }

  /** @deprecated Now `model`. */
  get palm(): LanguageModel {
    return this.model;
  }

  /** Whether it reads the trunk through adapters, which are trained instead of the trunk. */
  get adapts(): boolean {
    return this.#scope !== undefined;
  }

  /** Name of the adapters through which it reads the trunk, if it does. */
  get scope(): string | undefined {
    return this.#scope;
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

  /**
   * A number added to every score, so that an answer as good as the reference answers scores 0; 0 unless set. Losses do without it.
   * Files store it.
   */
  get shift(): number {
    return this.#shift;
  }

  /** @throws ArgumentError unless it is finite. */
  set shift(shift: number) {
    checkKind('RewardModel.shift', shift, NUMBER);
    queue(this, addon().rewardModelSetShift(handleOf(this), shift));
    this.#shift = shift;
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
    const labels = targetOf(inputs, options, { numBins: this.numBins, dtype: this.model.decoder.dtype });
    const loss = () => addon().rewardModelLoss(handleOf(this), input, labels, denominator, this.#gradients(grad));
    return new Tensor(await this.#run(inputs, loss));
  }

  /**
   * Bradley–Terry loss over all pairs of sequences [B, T] that answer the same prompt (equal `groups` [B]) and differ in
   * `ranks` [B] (lower is better): the mean within each prompt, then over prompts, or their sum divided by `denominator`.
   */
  async rankingLoss(
    sequences: Ids,
    options: RewardPositions & Compared & { denominator?: number; grad?: boolean },
  ): Promise<Loss<keyof RankingMetrics>> {
    checkOptions(options, [...POSITIONS, 'groups', 'ranks', 'ranking', 'denominator', 'grad'], 'rankingLoss');
    const { ranking = {}, denominator, grad = true } = options;
    using inputs = this.#inputs();
    const input = positions(inputs, sequences, options);
    const groups = inputs.ids(options.groups, 'groups');
    const ranks = inputs.ids(options.ranks, 'ranks');
    const native = nativeRanking(inputs, ranking);
    const loss = () =>
      addon().rewardModelRankingLoss(handleOf(this), input, groups, ranks, native, denominator, this.#gradients(grad));
    return new Loss(await this.#run(inputs, loss));
  }

  /** The output of the head at every token of sequences [B, T], for models without bins. Differentiable only with `grad`. */
  async tokenScores(sequence: Ids, options: RewardPositions & { grad?: boolean } = {}): Promise<Tensor> {
    checkOptions(options, [...POSITIONS, 'grad'], 'tokenScores');
    using inputs = this.#inputs();
    const input = positions(inputs, sequence, options);
    const read = () => addon().rewardModelTokenScores(handleOf(this), input, this.#gradients(options.grad));
    return new Tensor(await this.#run(inputs, read));
  }

  /**
   * Binary cross entropy of `tokenScores` against `labels` [B, T]: 1 at the last token of a right step, 0 at that of a wrong one,
   * negative elsewhere. The mean over labels, or their sum divided by `denominator`.
   */
  async stepLoss(
    sequence: Ids,
    options: RewardPositions & { labels: Ids; denominator?: number; grad?: boolean },
  ): Promise<Loss<keyof StepLabelMetrics>> {
    checkOptions(options, [...POSITIONS, 'labels', 'denominator', 'grad'], 'stepLoss');
    const { denominator, grad = true } = options;
    using inputs = this.#inputs();
    const input = positions(inputs, sequence, options);
    const labels = inputs.ids(options.labels, 'labels');
    const loss = () => addon().rewardModelStepLoss(handleOf(this), input, labels, denominator, this.#gradients(grad));
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

  /**
   * Writes a Hugging Face folder, for a model that came from one: `path` must not exist. Statistics are not in it.
   * @throws ArgumentError naming what such a folder cannot hold: adapters, bins, a shift, embeddings of prompt and response.
   * @throws FileError if it cannot be written.
   */
  async export(path: string, options: ExportOptions = {}): Promise<void> {
    const more = {
      adapters: this.#scope !== undefined,
      bins: this.numBins !== undefined,
      [`pooling "${this.#pooling}"`]: this.#pooling !== 'last',
      'a shift of scores': this.#shift,
    };
    const parameters = this.parameters();
    await exportHfReward(path, { model: this.model, parameters, more }, options);
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
    return writeMetadata('RewardModel', {
      names,
      ...trunk,
      ...head,
      statistics: this.#statistics,
      shift: this.#shift || undefined,
    });
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
}

function withTrunkPrefix(named: NamedTensor): NamedTensor {
  return { ...named, name: TRUNK + named.name };
}
