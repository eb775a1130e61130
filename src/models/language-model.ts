/** A language model of any family: a decoder, its weights, named sets of adapters (scopes), and generation. */
import type { Family, ModelConfig } from '../families/family.ts';
import { type Contents, saveTensors } from '../tensor/tensor-files.ts';
import { ArgumentError, printable } from '../errors.ts';
import { type Ids, Inputs, type Mask } from '../tensor/arguments.ts';
import {
  addon,
  type DecoderDescription,
  type Gradients,
  type LanguageModelHandle,
  type ScopeHandle,
} from '../native/addon.ts';
import { checkInteger, checkOptions } from '../checks/options.ts';
import {
  type ModelDescription,
  type NamedScopes,
  namesFor,
  type OwnedContents,
  type SaveOptions,
  withTokenizerNote,
  writeMetadata,
} from './model-file.ts';
import { handleOf, queue, Resource, run } from '../native/resource.ts';
import { type AdapterExportOptions, type AdapterLoadOptions, readAdapter, writeAdapter } from './adapter-folder.ts';
import { exportable, type Exported, exportFolder, type ExportOptions } from './hf-export.ts';
import { type LoadModelOptions, readHfModel } from './hf-model.ts';
import { type Reader, Readers } from './readers.ts';
import { type ScopeOptions, Scopes } from './scopes.ts';
import {
  cancellable,
  DRAWING,
  type GenerateInput,
  type Generation,
  nativeSampling,
  promptTensors,
  readoutHandle,
  type StreamInput,
  withWeightNamed,
} from '../sampling.ts';
import { seedFor } from '../seed.ts';
import { type StreamedToken, tokenStream } from './token-stream.ts';
import { Parameter, requireGrad, Tensor, type TensorGroup, tensorGroup } from '../tensor/tensor.ts';

export type { DecoderDescription } from '../native/addon.ts';
export type { AdapterExportOptions, AdapterLoadOptions } from './adapter-folder.ts';
export type { ExportOptions } from './hf-export.ts';
export type { LoadModelOptions } from './hf-model.ts';
export type { SaveOptions } from './model-file.ts';
export type { GenerateInput, Generation, StreamInput } from '../sampling.ts';
export type { ScopeOptions } from './scopes.ts';

/** The result of `forward`: logits [B, T, V] and the hidden states [B, T, D] that they are computed from. */
export type ModelOutput = TensorGroup<{ logits: Tensor; embeddings: Tensor }>;
const PROMPTS = ['prompts', 'lengths'];
const ROWS_ONLY = ['padToken', 'samplesPerPrompt'];

/** A model of any family. Those of Hugging Face folders are of this class; a family may have one of its own, to create models. */
export class LanguageModel<Config extends ModelConfig = ModelConfig> extends Resource<LanguageModelHandle> {
  /** The hyperparameters, with defaults filled in. */
  readonly config: Config;
  /** The decoder that native code runs, described as data. */
  readonly decoder: DecoderDescription;
  readonly #family: Family<Config>;
  readonly #parameters: readonly Parameter[];
  readonly #scopes: Scopes;
  readonly #readers = new Readers();
  #training = false;

  /**
   * Creates a model in eval mode, with random weights determined by the seed. With `blank`, the weights and the scopes of these
   * sizes are uninitialised, to be read from a file.
   * @throws DeviceError if the device does not exist.
   * @throws OutOfMemoryError if the weights do not fit in memory.
   */
  protected constructor(family: Family<Config>, config: Config, blank?: NamedScopes) {
    const decoder = family.describe(config);
    super(addon().decoderCreate(decoder), family.kind);
    this.#family = family;
    this.config = config;
    this.decoder = decoder;
    const guard = () => this.#readers.checkNone('training all its weights', { butTrainer: true });
    const native = addon().modelParameters(handleOf(this));
    this.#parameters = native.map((parameter) => new Parameter(parameter, { dtype: decoder.dtype, guard }));
    this.#scopes = new Scopes(handleOf(this), family, decoder);
    if (blank === undefined) queue(this, addon().modelInitialise(handleOf(this), seedFor(config.seed, 'weights')));
    else this.#scopes.addAll(blank, () => this.dispose());
  }

  /**
   * Reads a Hugging Face folder, a GGUF file, a model of the Hugging Face hub by its id, which is downloaded once, or a file of
   * such a model that `save` wrote. Nothing in them is executed.
   * @throws ConfigError naming what config.json says and palm-rlhf does not know.
   * @throws FileError, HubError for files that are missing, damaged or do not belong together.
   */
  static async load(model: string, options: LoadModelOptions = {}): Promise<LanguageModel> {
    return await readHfModel(model, options, LanguageModel.of);
  }

  /** For this package: a model of a family without a class, as the constructor creates it. */
  static of<Config extends ModelConfig>(
    family: Family<Config>,
    config: Config,
    blank: NamedScopes,
  ): LanguageModel<Config> {
    return new LanguageModel(family, config, blank);
  }

  /** Another model with this configuration, with uninitialised weights and scopes. */
  protected blank(scopes: NamedScopes): this {
    return LanguageModel.of(this.#family, this.config, scopes) as this;
  }

  /**
   * Writes a Hugging Face folder, which transformers reads, without scopes: `path` must not exist. Tensors that were not trained
   * are stored as they were.
   * @throws FileError if it cannot be written.
   * @throws ArgumentError for a family without such folders.
   */
  async export(path: string, options: ExportOptions = {}): Promise<void> {
    await exportFolder(path, this.exported(), options);
  }

  /** What `export` writes. @internal */
  exported(): Exported {
    return { parameters: this.parameters(), ...exportable(this.#family, this.config) };
  }

  /**
   * Reads an adapter of PEFT (adapter_config.json, adapter_model.safetensors) as the scope `name`. Nothing in it is executed.
   * @throws ConfigError naming what it says and palm-rlhf does not support.
   * @throws FileError for files that are missing, damaged or do not belong together.
   */
  async loadAdapter(name: string, path: string, options: AdapterLoadOptions = {}): Promise<void> {
    await readAdapter(path, this.exported(), options, (size, read) => this.#scopes.addFilled(name, size, read));
  }

  /** Writes a scope as a folder that PEFT reads: `path` must not exist. @throws FileError if it cannot be written. */
  async exportAdapter(name: string, path: string, options: AdapterExportOptions = {}): Promise<void> {
    await writeAdapter(path, this.exported(), this.#scopes.get(name), options);
  }

  /** Names of the scopes, in the order they were added. */
  get scopes(): string[] {
    return this.#scopes.names;
  }

  /** Whether dropout is on; see `train`. */
  get training(): boolean {
    return this.#training;
  }

  /**
   * Logits and hidden states of `tokens` [B, T], computed through the adapters of `scope` if given. They are differentiable
   * only with `grad`. `segments` [B, T] packs several sequences into a row, see `loss`.
   */
  async forward(tokens: Ids, options: { scope?: string; segments?: Ids; grad?: boolean } = {}): Promise<ModelOutput> {
    checkOptions(options, ['scope', 'segments', 'grad'], 'forward');
    using inputs = new Inputs(this.decoder.device);
    const ids = inputs.ids(tokens, 'tokens');
    const segments = options.segments === undefined ? undefined : inputs.ids(options.segments, 'segments');
    const scope = this.#scopeHandle(options.scope);
    const gradients = this.gradients(options.grad ?? false, options.scope);
    const forward = () => addon().modelForward(handleOf(this), ids, scope, segments, gradients);
    return tensorGroup(await run([this, ...inputs.used], forward));
  }

  /**
   * Next-token cross entropy of `tokens` [B, T], a scalar: the mean over targets that are not `ignoreIndex` and where
   * `mask` [B, T] is true, or their sum divided by `denominator`. `grad: false` saves memory when nothing is trained.
   * `segments` [B, T] packs several sequences into a row (see `packSequences`): integers that are equal within a
   * sequence and change from one to the next. No token attends to another sequence or is predicted from one.
   */
  async loss(
    tokens: Ids,
    options: { scope?: string; mask?: Mask; segments?: Ids; denominator?: number; grad?: boolean } = {},
  ): Promise<Tensor> {
    checkOptions(options, ['scope', 'mask', 'segments', 'denominator', 'grad'], 'loss');
    const { denominator, grad = true } = options;
    using inputs = new Inputs(this.decoder.device);
    const ids = inputs.ids(tokens, 'tokens');
    const mask = options.mask === undefined ? undefined : inputs.mask(options.mask, 'mask');
    const segments = options.segments === undefined ? undefined : inputs.ids(options.segments, 'segments');
    const scope = this.#scopeHandle(options.scope);
    const gradients = this.gradients(grad, options.scope);
    const loss = () => addon().modelLoss(handleOf(this), ids, scope, mask, segments, denominator, gradients);
    return new Tensor(await run([this, ...inputs.used], loss));
  }

  /** The trunk's parameters, or with `scope` only those of its adapters. */
  parameters(options: { scope?: string } = {}): Parameter[] {
    handleOf(this);
    checkOptions(options, ['scope'], 'parameters');
    return [...(options.scope === undefined ? this.#parameters : this.#scopes.get(options.scope).parameters)];
  }

  /** Adds adapters to modules of every layer. They have no effect until they are trained. @throws ArgumentError */
  addScope(name: string, options: ScopeOptions = {}): void {
    checkOptions(options, ['rank', 'alpha', 'targets', 'dropout', 'rslora', 'seed'], 'addScope');
    const { rank = 8, alpha = rank, targets, seed = this.config.seed, ...rest } = options;
    checkInteger(seed, 0, 'addScope.seed');
    const modules = typeof targets === 'string' ? [targets] : targets;
    const scope = this.#scopes.add(name, { rank, alpha, targets: modules, ...rest });
    queue(this, addon().scopeInitialise(scope.handle, seedFor(seed, `scope ${name}`)));
  }

  /** Folds the adapters into the trunk's weights and removes the scope. @throws SharedTrunkError naming the other readers. */
  async mergeScope(name: string): Promise<void> {
    this.#scopes.get(name); // report an unknown name first
    this.#readers.checkNone(`merging scope ${printable(name)}`);
    await this.#scopes.removing(name, ({ handle }) =>
      run([this], () => addon().modelMergeScope(handleOf(this), handle)),
    );
  }

  /** Removes a scope and discards its adapters. @throws SharedTrunkError naming the readers that need them. */
  removeScope(name: string): void {
    handleOf(this);
    this.#scopes.get(name); // report an unknown name first
    this.#readers.checkUnused(name, `removing scope ${printable(name)}`);
    this.#scopes.remove(name);
  }

  /** From now on, only the scopes named in `except` get gradients, whichever model reads them. By default, nothing does. */
  freeze(options: { except?: string | readonly string[] } = {}): void {
    checkOptions(options, ['except'], 'freeze');
    const kept = new Set([options.except ?? []].flat().map((name) => this.#scopes.get(name)));
    const trained = [...kept].flatMap(({ parameters }) => parameters);
    requireGrad(this, this.#all(), false);
    requireGrad(this, trained, true);
  }

  /** From now on, everything gets gradients again. */
  unfreeze(): void {
    requireGrad(this, this.#all(), true);
  }

  /** Turns dropout on and restarts its random generator from `seed`, which defaults to the model's. */
  train(options: { seed?: number } = {}): void {
    checkOptions(options, ['seed'], 'train');
    const seed = options.seed ?? this.config.seed;
    checkInteger(seed, 0, 'train.seed');
    queue(this, addon().modelTrain(handleOf(this), true, seedFor(seed, 'dropout')));
    this.#training = true;
  }

  /** Turns dropout off, which is the initial state. */
  eval(): void {
    queue(this, addon().modelTrain(handleOf(this), false, 0));
    this.#training = false;
  }

  /** The state of the dropout generator, to save with a run. */
  async generatorState(): Promise<Tensor> {
    return new Tensor(await run([this], () => addon().modelGeneratorState(handleOf(this))));
  }

  /** Restores the dropout generator to a state returned by `generatorState`. */
  setGeneratorState(state: Tensor): Promise<void> {
    return run([this, state], () => addon().modelSetGeneratorState(handleOf(this), handleOf(state, 'state')));
  }

  /** An independent copy of weights and scopes: without readers, in eval mode and unfrozen. */
  clone(): this {
    handleOf(this);
    const copy = this.blank(this.scopes.map((name) => [name, this.#scopes.get(name).size]));
    const handles = (model: LanguageModel<Config>) => model.#all().map((parameter) => handleOf(parameter));
    queue(copy, addon().parametersCopy(handles(copy), handles(this)));
    return copy;
  }

  /**
   * Writes the model and all its scopes to `path` as safetensors; with `names: 'python'`, under the names of the Python library
   * that the family comes from. Do not train meanwhile.
   * @throws FileError if the file cannot be written.
   * @throws ArgumentError for a model that the Python library cannot compute.
   */
  async save(path: string, options: SaveOptions = {}): Promise<void> {
    const names = namesFor(options);
    const { tokenizer } = options;
    if (names === 'palm') return await saveTensors(path, withTokenizerNote(this.contents(), tokenizer));
    using contents = this.pythonContents();
    await saveTensors(path, withTokenizerNote(contents, tokenizer));
  }

  /**
   * The same as `contents`, in the form of that library. Dispose of it. @throws ArgumentError if the family comes from none.
   * @internal
   */
  pythonContents(_scopes: readonly string[] = this.scopes): OwnedContents {
    const received = `"python" for a ${this.#family.kind}`;
    throw new ArgumentError({ argument: 'save.names', received, expected: '"palm"' });
  }

  /** Everything that a file of this model holds, by its names in the file; only the given `scopes` are included. */
  contents(scopes: readonly string[] = this.scopes): Contents {
    const parameters = [undefined, ...scopes].flatMap((scope) => this.parameters({ scope }));
    const tensors = parameters.map((tensor) => ({ name: tensor.name, tensor }));
    return { tensors, metadata: writeMetadata(this.#family.kind, this.metadata(scopes)) };
  }

  /** The hyperparameters and scopes as stored in files; see `contents`. @internal */
  description(scopes: readonly string[] = this.scopes): ModelDescription<Config> {
    const sizes = scopes.map((name) => [name, this.#scopes.get(name).size]);
    return { config: this.config, scopes: Object.fromEntries(sizes) };
  }

  /** For models that read this trunk: its entry in the metadata of their files, under the key of its family. */
  metadata(scopes: readonly string[] = this.scopes): Record<string, ModelDescription<Config>> {
    return { [this.#family.key]: this.description(scopes) };
  }

  /**
   * Answers prompts, `samplesPerPrompt` times each, with rows in the order of the prompts: prompt, response, then `padToken`,
   * without gaps. A row ends at its own `eosToken`, which belongs to the response. `logProbs` are those of the distribution
   * that was sampled from, 0 outside the response.
   * @throws the signal's reason once it is aborted.
   * @throws NumericsError naming the first non-finite weight, if the logits are not finite.
   */
  async generate(input: GenerateInput): Promise<Generation> {
    checkOptions(input, [...PROMPTS, ...DRAWING], 'generate');
    const { prompts, lengths, scope, readout, signal, ...sampling } = input;
    const options = nativeSampling(sampling, 'generate');
    const adapters = this.#scopeHandle(scope);
    const read = readoutHandle(readout, this);
    using inputs = new Inputs(this.decoder.device);
    const rows = promptTensors(inputs, { prompts, lengths }, options.padToken);
    return await cancellable(signal, async (cancel) => {
      const draw = () => addon().generate(handleOf(this), adapters, rows.prompts, rows.lengths, options, read, cancel);
      return tensorGroup(await withWeightNamed(this.#read(scope), () => run([this, ...inputs.used], draw)));
    });
  }

  /**
   * Answers one prompt token by token, each with the log-probability it was sampled with; the last may be `eosToken`.
   * Tokens are computed up to 16 at a time, and only while the consumer asks for more.
   * @throws the signal's reason once it is aborted.
   * @throws NumericsError naming the first non-finite weight, if the logits are not finite.
   */
  stream(input: StreamInput): AsyncGenerator<StreamedToken> {
    checkOptions(input, ['prompt', ...DRAWING.filter((name) => !ROWS_ONLY.includes(name))], 'stream');
    const { prompt, scope, readout, signal, ...sampling } = input;
    const options = { ...nativeSampling(sampling, 'stream'), device: this.decoder.device };
    const reading = () => {
      const [adapters, read] = [this.#scopeHandle(scope), readoutHandle(readout, this)];
      return { scope: adapters, readout: read, weights: this.#read(scope) };
    };
    handleOf(this);
    reading(); // report what is wrong at once
    return tokenStream(this, reading, { prompt, signal }, options);
  }

  /**
   * For models that read this trunk: from now on it cannot be changed under them. Returns a function that ends this.
   * @internal
   */
  addReader(reader: Reader): () => void {
    handleOf(this);
    return this.#readers.add(reader);
  }

  /** For models that read this trunk: the native adapters of `name`. @internal */
  scopeHandle(name: string): ScopeHandle {
    return this.#scopes.get(name).handle;
  }

  /**
   * For models that read this trunk: which parameters a graph is recorded for. When the trunk is read through adapters, its
   * own weights get no gradient if a model shares the trunk for these adapters, or if an optimizer owns the adapters and none
   * of the weights.
   * @internal
   */
  gradients(grad: boolean, scope: string | undefined): Gradients {
    if (!grad) return 'none';
    if (scope === undefined) return 'all';
    const owned = (parameters: readonly Parameter[]) => parameters.some((parameter) => parameter.owned);
    const adapters =
      this.#readers.share(scope) || (owned(this.#scopes.get(scope).parameters) && !owned(this.#parameters));
    return adapters ? 'adapters' : 'all';
  }

  protected override release(handle: LanguageModelHandle): void {
    for (const parameter of this.#parameters) parameter.dispose();
    this.#scopes.dispose();
    super.release(handle);
  }

  #all(): Parameter[] {
    return [...this.#parameters, ...this.#scopes.parameters];
  }

  /** The weights that a forward pass through `scope` reads. */
  #read(scope: string | undefined): Parameter[] {
    return [...this.#parameters, ...(scope === undefined ? [] : this.#scopes.get(scope).parameters)];
  }

  #scopeHandle(name: string | undefined): ScopeHandle | undefined {
    return name === undefined ? undefined : this.#scopes.get(name).handle;
  }
}
