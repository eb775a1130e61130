/** A policy that judges answers token by token: its log-ratio to its reference is a reward (Yuan et al. 2024). docs/implicit-prm.md */
import { checkAdapterOptions, checkOptions, checkPositive } from '../checks/options.ts';
import { FileError, printable } from '../errors.ts';
import { openSafetensors, type SafetensorsFile } from '../files/safetensors/safetensors.ts';
import { addon, type PolicyHandle, type TensorHandle } from '../native/addon.ts';
import { handleOf, run } from '../native/resource.ts';
import { type Ids, Inputs, type Mask } from '../tensor/arguments.ts';
import { type Contents, readTensors } from '../tensor/tensor-files.ts';
import { Tensor } from '../tensor/tensor.ts';
import type { LanguageModel } from './language-model.ts';
import { checkModel, isPolicyOnly, readMetadata, type ScopeSize, unfrozenIn, writeMetadata } from './model-file.ts';
import { Policy, type PolicyOptions } from './policy.ts';
import { type LoadOptions, readModel } from './registry.ts';
import { checkScope } from './reward-file.ts';

/** The options of a policy that has a reference, and: */
export interface ImplicitPRMOptions extends Omit<PolicyOptions, 'reference'> {
  /** Scale of the rewards, per nat of log-ratio. Defaults to 0.05. */
  beta?: number;
}

/**
 * A policy with a reference, whose reward for a token is beta · (log π − log π_ref). Training it on whether whole answers are right
 * (`implicitPrm`) makes these rewards say which tokens were. With LoRA the model without scopes is the reference, else a frozen copy.
 * Log-probabilities are those at temperature 1. Its file also loads as a language model.
 */
export class ImplicitPRM extends Policy {
  readonly beta: number;
  readonly #ownsModel: boolean;

  /**
   * `loaded` is for this package only.
   * @throws ArgumentError if its scope already exists.
   * @throws ArgumentError if `model` is not causal.
   */
  constructor(model: LanguageModel, options: ImplicitPRMOptions = {}, loaded = false) {
    checkOptions(options, ['lora', 'alpha', 'seed', 'scope', 'numLayersUnfrozen', 'beta'], 'ImplicitPRM');
    const { beta = 0.05, ...adapters } = options;
    checkPositive(beta, 'ImplicitPRM.beta');
    checkAdapterOptions(options.lora ?? 8, { alpha: options.alpha, scope: options.scope }, 'ImplicitPRM');
    super(model, { ...adapters, reference: true }, [], loaded);
    this.beta = beta;
    this.#ownsModel = loaded;
  }

  /**
   * Reads a file that holds such a model, which then has a language model of its own.
   * @throws FileError for a missing, damaged or foreign file, such as one whose adapters are merged.
   */
  static async load(path: string, load: LoadOptions = {}): Promise<ImplicitPRM> {
    checkOptions(load, ['options', 'device'], 'ImplicitPRM.load');
    await using file = await openSafetensors(path);
    checkModel(file, ['ImplicitPRM'], 'ImplicitPRM');
    const model = await readModel(file, load, '', isPolicyOnly);
    try {
      const prm = new ImplicitPRM(model, optionsIn(file, model), true);
      await readTensors(file, prm.#reference(), (name) => !name.startsWith('reference.'));
      return prm;
    } catch (error) {
      model.dispose();
      throw error;
    }
  }

  /** The reward of every token of `sequence` [B, T]; 0 where `responseMask` [B, T] is false. No gradient flows. */
  async tokenRewards(sequence: Ids, responseMask: Mask): Promise<Tensor> {
    return await this.#compare(sequence, responseMask, (...ratio) => addon().implicitReward(...ratio, this.beta));
  }

  /** One score per row [B]: the sum of its `tokenRewards`. σ(score) is the probability that the answer is right. */
  async score(sequence: Ids, responseMask: Mask): Promise<Tensor> {
    return await this.#compare(sequence, responseMask, (...ratio) => addon().implicitScore(...ratio, this.beta));
  }

  /** The model with its scope, and the reference if it is a copy. The file also loads as a language model. */
  override contents(): Contents {
    const { tensors } = super.contents();
    const description = { ...this.description(), scope: this.scopes[0], beta: this.beta };
    return { tensors, metadata: writeMetadata('ImplicitPRM', description) };
  }

  /** Frees the reference copy, and the model if it was loaded with it. Any other model keeps its scope. */
  protected override release(handle: PolicyHandle): void {
    super.release(handle);
    if (this.#ownsModel) this.model.dispose();
  }

  async #compare(
    sequence: Ids,
    responseMask: Mask,
    call: (now: TensorHandle, reference: TensorHandle, mask: TensorHandle) => Promise<TensorHandle>,
  ): Promise<Tensor> {
    using inputs = new Inputs(this.model.decoder.device);
    const mask = inputs.mask(responseMask, 'responseMask');
    using now = await this.compare(sequence, { grad: false });
    const { logProb, referenceLogProb } = now;
    const ratio = [handleOf(logProb), handleOf(referenceLogProb), mask] as const;
    return new Tensor(await run([logProb, referenceLogProb, ...inputs.used], () => call(...ratio)));
  }

  #reference(): Contents['tensors'] {
    return super.contents().tensors.filter(({ name }) => name.startsWith('reference.'));
  }
}

/** How a file describes such a model. @throws FileError unless it does */
function optionsIn(file: SafetensorsFile, model: LanguageModel): ImplicitPRMOptions {
  const { scope, beta } = readMetadata(file) ?? {};
  if (typeof beta !== 'number' || !(beta > 0)) {
    const expected = 'the scale of an ImplicitPRM, written by its run';
    throw new FileError({
      argument: `${file.path}, beta`,
      received: printable(beta),
      expected,
      fix: 'Get the file again.',
    });
  }
  checkScope(file, model.scopes, scope as string | undefined);
  if (scope === undefined) return { lora: false, beta, numLayersUnfrozen: unfrozenIn(file, model.decoder) };
  const { rank, alpha } = model.description().scopes[scope as string] as ScopeSize;
  return { lora: rank, alpha, scope: scope as string, beta };
}
