/** A policy that learns by FlowRL, with the head that learns how much probability mass its prompts have. */
import { checkAdapterOptions, checkInteger, checkOptions } from '../checks/options.ts';
import { addon, type FlowrlPolicyHandle, type PolicyHandle, type TensorHandle } from '../native/addon.ts';
import { handleOf, queue } from '../native/resource.ts';
import { seedFor } from '../seed.ts';
import { type Ids, Inputs, type Mask } from '../tensor/arguments.ts';
import { Parameter, type Tensor, type TensorGroup, tensorGroup } from '../tensor/tensor.ts';
import type { Contents } from '../tensor/tensor-files.ts';
import type { LanguageModel } from './language-model.ts';
import { writeMetadata } from './model-file.ts';
import { type LogProb, Policy, type PolicyOptions } from './policy.ts';

/** Outputs for sequences [B, T] under the current weights. */
export interface FlowrlEvaluation extends LogProb {
  /** log Z of the prompt of every row [B], as the head reads it from the mean hidden state of the tokens before the response. */
  logPartition: Tensor;
}

/** The options of a policy that always has a reference. */
export type FlowrlPolicyOptions = Omit<PolicyOptions, 'reference'>;

/**
 * A policy with a reference and a head for log Z of a prompt, which is as wide as the model asks for. Its file also loads as a
 * language model, without the head.
 */
export class FlowrlPolicy extends Policy {
  readonly #native: FlowrlPolicyHandle;
  /** The head for log Z. */
  protected override readonly heads: readonly Parameter[];

  /**
   * @throws ArgumentError if its scope already exists.
   * @throws ArgumentError if `model` is not causal.
   */
  constructor(model: LanguageModel, options: FlowrlPolicyOptions = {}) {
    checkOptions(options, ['lora', 'alpha', 'seed', 'scope', 'numLayersUnfrozen'], 'FlowrlPolicy');
    const { lora = 8, alpha, scope, seed } = options;
    checkAdapterOptions(lora, { alpha, scope }, 'FlowrlPolicy');
    if (seed !== undefined) checkInteger(seed, 0, 'FlowrlPolicy.seed');
    super(model, { ...options, reference: true });
    try {
      this.#native = addon().flowrlPolicyCreate(handleOf(this));
    } catch (error) {
      super.release(handleOf(this));
      for (const each of this.scopes) model.removeScope(each);
      throw error;
    }
    const { dtype } = model.decoder;
    this.heads = addon()
      .flowrlPolicyParameters(this.#native)
      .map((head) => new Parameter(head, { dtype }));
    queue(this, addon().flowrlPolicyInitialise(this.#native, seedFor(seed ?? model.config.seed, 'log partition')));
  }

  /**
   * What `logProb` returns, and log Z of the prompt of every row. `responseMask` [B, T] is true where a token is response.
   * @throws ArgumentError while the model is in training mode, because dropout makes results non-reproducible.
   */
  async evaluate(
    sequence: Ids,
    responseMask: Mask,
    options: { temperature?: number; grad?: boolean } = {},
  ): Promise<TensorGroup<FlowrlEvaluation>> {
    checkOptions(options, ['temperature', 'grad'], 'evaluate');
    const { temperature = 1, grad = true } = options;
    using inputs = new Inputs(this.model.decoder.device);
    const mask = inputs.mask(responseMask, 'responseMask');
    const call = (ids: TensorHandle) =>
      addon().flowrlPolicyEvaluate(this.#native, ids, mask, temperature, this.gradients(grad));
    return tensorGroup(await this.read(sequence, temperature, call, inputs.used));
  }

  /** The model with its scopes, the head and any reference copy. The file also loads as a language model. */
  override contents(): Contents {
    return { ...super.contents(), metadata: writeMetadata('FlowrlPolicy', this.description()) };
  }

  /** Frees the head and the reference copy. The model keeps its scope. */
  protected override release(handle: PolicyHandle): void {
    for (const parameter of this.heads) parameter.dispose();
    addon().dispose(this.#native);
    super.release(handle);
  }
}
