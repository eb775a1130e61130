/** A policy that learns from scored samples by implicit language Q-learning, and the heads that it learns with. */
import { checkKind, NUMBER, SHARE } from '../checks/kinds.ts';
import { checkAdapterOptions, checkInteger, checkOptions } from '../checks/options.ts';
import { openSafetensors, type SafetensorsFile } from '../files/safetensors/safetensors.ts';
import { addon, type IlqlPolicyHandle, type PolicyHandle } from '../native/addon.ts';
import { handleOf, queue, run } from '../native/resource.ts';
import { type GenerateInput, type Generation, Readout } from '../sampling.ts';
import { seedFor } from '../seed.ts';
import { type Ids, Inputs } from '../tensor/arguments.ts';
import { type Contents, type NamedTensor, readTensors } from '../tensor/tensor-files.ts';
import { Parameter, type Tensor, type TensorGroup, tensorGroup } from '../tensor/tensor.ts';
import type { LanguageModel } from './language-model.ts';
import { checkModel, isPolicyOnly, readMetadata, type ScopeSize, unfrozenIn, writeMetadata } from './model-file.ts';
import { Policy, type PolicyOptions } from './policy.ts';
import { type LoadOptions, readModel } from './registry.ts';
import { checkScope } from './reward-file.ts';

/** What is read in the states where response tokens are chosen; q and targetQ are values of every token. */
export interface ActionValues {
  /** [B, R, V], like all but `value`. */
  logits: Tensor;
  q1: Tensor;
  q2: Tensor;
  /** Of the slow copies of the heads; never differentiable. */
  targetQ1: Tensor;
  targetQ2: Tensor;
  /** [B, R], of the states themselves. */
  value: Tensor;
}

/** The options of a policy without a reference. */
export type IlqlPolicyOptions = Omit<PolicyOptions, 'reference'>;

/** How strongly samples follow the values. */
export interface ReadoutOptions {
  /** Factor of the smaller target value in the logits; 0 samples from the policy alone. */
  beta: number;
}

/**
 * A policy with two heads for the values of actions, their slow copies (the targets), and one head for the value of a state. Its
 * file also loads as a language model, without the heads.
 */
export class IlqlPolicy extends Policy {
  readonly #native: IlqlPolicyHandle;
  /** The trained heads. */
  protected override readonly heads: readonly Parameter[];
  readonly #targets: readonly Parameter[];

  /**
   * `loaded` is for this package only.
   * @throws ArgumentError if its scope already exists.
   * @throws ArgumentError if `model` is not causal.
   */
  constructor(model: LanguageModel, options: IlqlPolicyOptions = {}, loaded = false) {
    checkOptions(options, ['lora', 'alpha', 'seed', 'scope', 'numLayersUnfrozen'], 'IlqlPolicy');
    const { lora = 8, alpha, scope } = options;
    checkAdapterOptions(lora, { alpha, scope }, 'IlqlPolicy');
    if (options.seed !== undefined) checkInteger(options.seed, 0, 'IlqlPolicy.seed');
    super(model, options, [], loaded);
    try {
      this.#native = addon().ilqlPolicyCreate(handleOf(this));
    } catch (error) {
      super.release(handleOf(this));
      if (!loaded) for (const each of this.scopes) model.removeScope(each);
      throw error;
    }
    const { dtype } = model.decoder;
    const slow = dtype === 'bfloat16' ? 'float32' : dtype;
    const heads = addon().ilqlPolicyParameters(this.#native);
    const targets = addon().ilqlPolicyTargets(this.#native);
    this.heads = heads.map((head) => new Parameter(head, { dtype }));
    this.#targets = targets.map((target) => new Parameter(target, { dtype: slow }));
    if (!loaded)
      queue(this, addon().ilqlPolicyInitialise(this.#native, seedFor(options.seed ?? model.config.seed, 'ilql heads')));
  }

  /**
   * Reads a file that holds such a policy, with a model of its own.
   * @throws FileError for a missing, damaged or foreign file.
   */
  static async load(path: string, load: LoadOptions = {}): Promise<IlqlPolicy> {
    checkOptions(load, ['options', 'device'], 'IlqlPolicy.load');
    await using file = await openSafetensors(path);
    checkModel(file, ['IlqlPolicy'], 'IlqlPolicy');
    const model = await readModel(file, load, '', isPolicyOnly);
    try {
      const policy = new IlqlPolicy(model, adaptersOf(file, model), true);
      await readTensors(file, policy.#values(), (name) => !name.startsWith('ilql.'));
      return policy;
    } catch (error) {
      model.dispose();
      throw error;
    }
  }

  /**
   * What the policy and its heads say of `sequence` [B, T] in states that end with the tokens at `states` [B, R], which are indices
   * from 0 to T − 1: where the token before each response token is. Differentiable only with `grad`.
   * @throws ArgumentError while the model is in training mode, because dropout makes results non-reproducible.
   */
  async actionValues(sequence: Ids, states: Ids, options: { grad?: boolean } = {}): Promise<TensorGroup<ActionValues>> {
    checkOptions(options, ['grad'], 'actionValues');
    using inputs = new Inputs(this.model.decoder.device);
    const ids = inputs.ids(sequence, 'sequence');
    const ends = inputs.ids(states, 'state');
    const gradients = this.gradients(options.grad ?? true);
    const read = () => addon().ilqlPolicyEvaluate(this.#native, ids, ends, gradients);
    return tensorGroup(await run([this, this.model, ...inputs.used], read));
  }

  /** Moves the targets a share `alpha`, from 0 to 1, of the way to the heads that they follow. */
  async sync(alpha: number): Promise<void> {
    checkKind('alpha', alpha, SHARE);
    await run([this], () => addon().ilqlPolicySync(this.#native, alpha));
  }

  /** Logits that prefer tokens of high value: log π + beta · min(targetQ1, targetQ2). For `model.generate` and `stream`. */
  readout(options: ReadoutOptions): Readout {
    checkOptions(options, ['beta'], 'readout');
    checkKind('beta', options.beta, NUMBER);
    handleOf(this);
    return new Readout(addon().ilqlReadoutCreate(this.#native, options.beta), this.model);
  }

  /** Answers prompts as `model.generate` does, through the policy's scope and its readout. */
  async generate(input: Omit<GenerateInput, 'scope' | 'readout'> & ReadoutOptions): Promise<Generation> {
    const { beta, ...rest } = Object(input) as typeof input;
    using readout = this.readout({ beta });
    return await this.model.generate({ ...rest, scope: this.scopes[0], readout });
  }

  /** The model with its scope and all heads. The file also loads as a language model. */
  override contents(): Contents {
    const { tensors } = super.contents();
    const targets = this.#targets.map((tensor) => ({ name: tensor.name, tensor }));
    const metadata = writeMetadata('IlqlPolicy', { ...this.description(), scope: this.scopes[0] });
    return { tensors: [...tensors, ...targets], metadata };
  }

  #values(): NamedTensor[] {
    return [...this.heads, ...this.#targets].map((tensor) => ({ name: tensor.name, tensor }));
  }

  /** Frees the heads. The model keeps its scope. */
  protected override release(handle: PolicyHandle): void {
    for (const parameter of [...this.heads, ...this.#targets]) parameter.dispose();
    addon().dispose(this.#native);
    super.release(handle);
  }
}

/** The scope of the policy in a file, and the rank of its adapters. @throws FileError if the file does not contain it. */
function adaptersOf(file: SafetensorsFile, model: LanguageModel): IlqlPolicyOptions {
  const scope = readMetadata(file)?.scope as string | undefined;
  checkScope(file, model.scopes, scope);
  if (scope === undefined) return { lora: false, numLayersUnfrozen: unfrozenIn(file, model.decoder) };
  const { rank, alpha } = model.description().scopes[scope] as ScopeSize;
  return { lora: rank, alpha, scope };
}
