/** Actor and critic over one trunk: what PPO samples from, evaluates and trains. */
import type { Contents } from '../tensor/tensor-files.ts';
import type { Ids } from '../tensor/arguments.ts';
import { type ActorCriticHandle, addon, type PolicyHandle } from '../native/addon.ts';
import { checkAdapterOptions, checkOptions } from '../checks/options.ts';
import type { LanguageModel } from './language-model.ts';
import { writeMetadata } from './model-file.ts';
import { handleOf, queue } from '../native/resource.ts';
import { type LogProb, Policy, type PolicyOptions, type Rollout, type RolloutInput } from './policy.ts';
import { Parameter, type Tensor, type TensorGroup, tensorGroup } from '../tensor/tensor.ts';

/** Per-token outputs for sequences [B, T] under the current weights: entry t belongs to token t, entry 0 is 0. */
export interface Evaluation extends LogProb {
  /** The return that the critic predicts before the token is chosen. */
  value: Tensor;
  /** Of a critic with a histogram: the logits of its bins [B, T, bins]. */
  valueLogits?: Tensor;
}

/** Bins whose centres go from `min` to `max` in equal steps. */
export interface Histogram {
  /** Number of bins, at least 2. */
  bins: number;
  min: number;
  max: number;
  /** Standard deviation of targets, in steps between bins. */
  sigma: number;
}

/** A rollout with the critic's values; everything is [B, T]. */
export interface ValuedRollout extends Rollout {
  rolloutValue: Tensor;
}

/** A rollout with advantages and returns. */
export interface Experience extends ValuedRollout {
  advantage: Tensor;
  returns: Tensor;
}

/** The options of a policy, with names for two scopes. */
export interface ActorCriticOptions extends Omit<PolicyOptions, 'scope'> {
  /** Names of the scopes, for when several actor-critics share a trunk. Default to `actor` and `critic`. */
  scopes?: { actor?: string; critic?: string };
  /** If set, the critic gives a distribution over these bins, and the value is its mean. Defaults to a single number. */
  histogram?: Histogram | undefined;
}

/**
 * A policy and a critic that share the trunk they are given. With LoRA each reads it through its own scope, only the adapters
 * are trained, and the trunk without scopes is the reference policy. The critic's value head starts at 0.
 */
export class ActorCritic extends Policy {
  readonly #native: ActorCriticHandle;
  /** The value head. */
  protected override readonly heads: readonly Parameter[];

  /**
   * @throws ArgumentError if one of its scopes already exists.
   * @throws ArgumentError if `model` is not causal.
   */
  constructor(model: LanguageModel, options: ActorCriticOptions = {}) {
    checkOptions(
      options,
      ['lora', 'alpha', 'seed', 'scopes', 'reference', 'numLayersUnfrozen', 'histogram'],
      'ActorCritic',
    );
    const { scopes, histogram, ...policy } = options;
    checkAdapterOptions(policy.lora ?? 8, { scopes }, 'ActorCritic');
    checkOptions(scopes ?? {}, ['actor', 'critic'], 'ActorCritic.scopes');
    super(model, { ...policy, scope: scopes?.actor }, [scopes?.critic ?? 'critic']);
    const [, critic] = this.scopes.map((scope) => model.scopeHandle(scope));
    try {
      this.#native = addon().actorCriticCreate(handleOf(this), critic, histogram);
    } catch (error) {
      super.release(handleOf(this));
      for (const scope of this.scopes) model.removeScope(scope);
      throw error;
    }
    const parameters = addon().actorCriticParameters(this.#native);
    this.heads = parameters.map((parameter) => new Parameter(parameter, { dtype: model.decoder.dtype }));
    queue(this, addon().actorCriticInitialise(this.#native));
  }

  /** @deprecated Now `model`. */
  get palm(): LanguageModel {
    return this.model;
  }

  /**
   * What `logProb` returns, and the critic's value of every token of `sequence` [B, T]. With `grad: 'critic'` only the value is
   * differentiable: gradients reach the critic's scope and head, or without LoRA only the head.
   * @throws ArgumentError while the trunk is in training mode, because dropout makes results non-reproducible.
   */
  async evaluate(
    sequence: Ids,
    options: { temperature?: number; grad?: boolean | 'critic' } = {},
  ): Promise<TensorGroup<Evaluation>> {
    checkOptions(options, ['temperature', 'grad'], 'evaluate');
    const { temperature = 1, grad = true } = options;
    return tensorGroup(
      await this.read(sequence, temperature, (ids) => {
        const gradients = this.gradients(grad !== false);
        return addon().actorCriticEvaluate(this.#native, ids, temperature, gradients, grad === 'critic');
      }),
    );
  }

  /** The same as for a policy, with the critic's values. */
  override rollout(input: RolloutInput): Promise<TensorGroup<ValuedRollout>> {
    return this.roll(input, (...args) => addon().actorCriticRollout(this.#native, ...args));
  }

  /** The trunk with all its scopes, the value head and any reference copy. The file also loads as a language model. */
  override contents(): Contents {
    return { ...super.contents(), metadata: writeMetadata('ActorCritic', this.description()) };
  }

  /** Frees the value head and the reference copy. The trunk keeps its scopes. */
  protected override release(handle: PolicyHandle): void {
    for (const parameter of this.heads) parameter.dispose();
    addon().dispose(this.#native);
    super.release(handle);
  }
}
