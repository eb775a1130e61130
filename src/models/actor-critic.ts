/** Actor and critic over one trunk: what PPO samples from, evaluates and trains. */
import type { Contents, NamedTensor, Saveable } from '../tensor/tensor-files.ts';
import type { SamplingConfigInput } from '../config/sampling.ts';
import { ArgumentError, printable } from '../errors.ts';
import { type Ids, Inputs } from '../tensor/arguments.ts';
import { type ActorCriticHandle, addon, type GenerateOptions } from '../native/addon.ts';
import { checkAdapterOptions, checkObject, checkOptions } from '../checks/options.ts';
import type { LanguageModel } from './language-model.ts';
import { writeMetadata } from './model-file.ts';
import { handleOf, queue, Resource, run } from '../native/resource.ts';
import { cancellable, drawn, nativeSampling, type PromptInput, promptTensors } from '../sampling.ts';
import { Parameter, type Tensor, type TensorGroup, tensorGroup } from '../tensor/tensor.ts';

/** What the current weights say of sequences [B, T]: entry t belongs to token t, entry 0 is 0. */
export interface Evaluation {
  logProb: Tensor;
  entropy: Tensor;
  /** The return that the critic expected before the token was chosen. */
  value: Tensor;
}

/** A batch of sampled responses; everything is [B, T] with rows in the same order. */
export interface Rollout {
  /** Prompt, response, padding; int64. */
  sequence: Tensor;
  /** True where a token is response, the eos included. */
  responseMask: Tensor;
  /** Log-probabilities as the sampler saw them. */
  samplerLogProb: Tensor;
  /** The same, recomputed by the forward pass that training uses; samplerLogProb with `recompute: false`. */
  rolloutLogProb: Tensor;
  /** Those of the reference policy; equal to rolloutLogProb where none was asked for. */
  referenceLogProb: Tensor;
  rolloutValue: Tensor;
}

/** A rollout with rewards, advantages and returns. */
export interface Experience extends Rollout {
  advantage: Tensor;
  returns: Tensor;
}

export interface ActorCriticOptions {
  /** Rank of the adapters of the scopes `actor` and `critic`, 8 unless given; false trains all weights of the trunk. */
  lora?: number | false;
  /** What the adapters add is scaled by alpha / rank; the rank unless given, so by 1. */
  alpha?: number;
  /** Of the adapters; the trunk's unless given. */
  seed?: number;
  /** Other names for the scopes `actor` and `critic`, where several share a trunk. */
  scopes?: { actor?: string; critic?: string };
  /** With `lora: false`, keep a frozen copy of the trunk as the reference policy. With LoRA the trunk itself is that. */
  reference?: boolean;
}

/** Prompts, how to answer them, and how to read the answers. */
export type RolloutInput = PromptInput &
  Pick<
    SamplingConfigInput,
    'maxNewTokens' | 'temperature' | 'eosToken' | 'stop' | 'suppress' | 'padToken' | 'samplesPerPrompt' | 'seed'
  > & {
    /** Rows that are read together; all at once unless given. Training on the same pieces has ratios of exactly 1. */
    pieces?: readonly (readonly number[])[];
    /** Whether to read with the reference policy too; false unless given. */
    reference?: boolean;
    /** Whether to read with the actor again for rolloutLogProb; true unless given, else the sampler's are taken for it. */
    recompute?: boolean;
    signal?: AbortSignal;
  };

/**
 * A policy and a critic that share the trunk they are given. With LoRA each reads it through a scope of its own, whose
 * adapters alone get gradients, and the trunk without scopes is the reference policy. The critic's value head starts at 0.
 */
export class ActorCritic extends Resource<ActorCriticHandle> implements Saveable {
  /** The trunk that they share. */
  readonly model: LanguageModel;
  /** Rank of the adapters; false where all weights of the trunk are trained. */
  readonly lora: number | false;
  readonly #scopes: readonly string[];
  readonly #head: readonly Parameter[];
  readonly #reference: LanguageModel | undefined;
  readonly #leave: () => void;

  /** @throws ArgumentError when one of its scopes exists already, or when `model` is not causal. */
  constructor(model: LanguageModel, options: ActorCriticOptions = {}) {
    checkOptions(options, ['lora', 'alpha', 'seed', 'scopes', 'reference'], 'ActorCritic');
    const { lora = 8, alpha, seed, scopes, reference = false } = options;
    const { actor: actorName = 'actor', critic: criticName = 'critic' } = scopes ?? {};
    checkAdapterOptions(lora, { alpha, scopes }, 'ActorCritic');
    checkOptions(scopes ?? {}, ['actor', 'critic'], 'ActorCritic.scopes');
    handleOf(model, 'model');
    checkCausal(model);
    const added: string[] = [];
    const add = (name: string, rank: number) => {
      model.addScope(name, { rank, alpha, seed });
      added.push(name);
      return model.scopeHandle(name);
    };
    const copy = lora === false && reference ? model.clone() : undefined;
    try {
      const [actor, critic] = lora === false ? [] : [add(actorName, lora), add(criticName, lora)];
      super(addon().actorCriticCreate(handleOf(model, 'model'), actor, critic, copy && handleOf(copy)), 'ActorCritic');
    } catch (error) {
      for (const name of added) model.removeScope(name);
      copy?.dispose();
      throw error;
    }
    this.model = model;
    this.lora = lora;
    this.#scopes = added;
    this.#reference = copy;
    this.#leave = model.addReader({ name: 'ActorCritic', scopes: added, trainsTrunk: lora === false });
    const native = addon().actorCriticParameters(handleOf(this));
    this.#head = native.map((parameter) => new Parameter(parameter, { dtype: model.decoder.dtype }));
    queue(this, addon().actorCriticInitialise(handleOf(this)));
  }

  /** @deprecated Now `model`. */
  get palm(): LanguageModel {
    return this.model;
  }

  /** Whether there is a reference policy: always with LoRA, else where it was asked for. */
  get hasReference(): boolean {
    return this.#scopes.length > 0 || this.#reference !== undefined;
  }

  /** What PPO trains: the value head and both scopes, or the value head and the whole trunk. */
  parameters(): Parameter[] {
    handleOf(this);
    const scoped = this.#scopes.flatMap((scope) => this.model.parameters({ scope }));
    return [...(this.#scopes.length > 0 ? scoped : this.model.parameters()), ...this.#head];
  }

  /**
   * log p, entropy and value of every token of `sequence` [B, T]. Logits are divided by `temperature`, which has to be the
   * one that was sampled with. Without `grad` nothing can be differentiated later; with `critic` only the value can, to the
   * critic's scope and head, or without LoRA to the head alone.
   * @throws ArgumentError while the trunk is in training mode: with dropout nothing can be computed twice.
   */
  async evaluate(
    sequence: Ids,
    options: { temperature?: number; grad?: boolean | 'critic' } = {},
  ): Promise<TensorGroup<Evaluation>> {
    checkOptions(options, ['temperature', 'grad'], 'evaluate');
    const { temperature = 1, grad = true } = options;
    checkTemperature(temperature);
    using inputs = new Inputs(this.model.decoder.device);
    const ids = inputs.ids(sequence, 'sequence');
    const gradients = () => this.model.gradients(grad !== false, this.#scopes[0]);
    const evaluate = () =>
      addon().actorCriticEvaluate(handleOf(this), ids, temperature, gradients(), grad === 'critic');
    return tensorGroup(await run([this, this.model, ...inputs.used], evaluate));
  }

  /**
   * Samples responses from the actor, then reads them with actor, critic and, if asked for, the reference policy. There are
   * no filters: what is sampled from has to be what is trained. A `padToken` other than the eos is never drawn.
   * @throws the signal's reason once it is aborted, NumericsError naming the weight where logits are not finite.
   */
  async rollout(input: RolloutInput): Promise<TensorGroup<Rollout>> {
    checkObject(input, 'rollout');
    const { prompts, lengths, pieces, reference = false, recompute = true, signal, ...sampling } = input;
    const options = withoutPadding(nativeSampling(sampling, 'rollout'), sampling.padToken);
    checkTemperature(options.temperature);
    const { topK, topP, minP, weights } = sampling as SamplingConfigInput;
    for (const [filter, value] of Object.entries({ topK, topP, minP, weights })) {
      if (value !== undefined) throw filterRefused(filter, value);
    }
    using inputs = new Inputs(this.model.decoder.device);
    const rows = promptTensors(inputs, { prompts, lengths }, options.padToken);
    const batch = (Array.isArray(prompts) ? prompts.length : (prompts as Tensor).shape[0]) as number;
    const all = Array.from({ length: batch * options.samplesPerPrompt }, (_, row) => row);
    const read = (pieces ?? [all]).map((piece) => [...piece]);
    const own = [...this.model.parameters(), ...this.parameters()];
    return await cancellable(signal, async (cancel) => {
      const roll = () =>
        addon().actorCriticRollout(
          handleOf(this),
          rows.prompts,
          rows.lengths,
          options,
          read,
          reference,
          recompute,
          cancel,
        );
      return tensorGroup(await drawn(own, () => run([this, this.model, ...inputs.used], roll)));
    });
  }

  /** The trunk with all its scopes, the value head and any reference copy. A language model loads from it too. */
  contents(): Contents {
    handleOf(this);
    const head: NamedTensor[] = this.#head.map((tensor) => ({ name: tensor.name, tensor }));
    const copied = this.#reference?.contents().tensors ?? [];
    const reference = copied.map(({ name, tensor }) => ({ name: `reference.${name}`, tensor }));
    const metadata = writeMetadata('ActorCritic', this.model.metadata());
    return { tensors: [...this.model.contents().tensors, ...head, ...reference], metadata };
  }

  /** Frees the value head and the reference copy. The trunk keeps its scopes. */
  protected override release(handle: ActorCriticHandle): void {
    this.#leave();
    this.#reference?.dispose();
    for (const parameter of this.#head) parameter.dispose();
    super.release(handle);
  }
}

// Where a token sees those behind it, it sees itself: its log-probability would be that of a copy.
function checkCausal({ decoder }: LanguageModel): void {
  if (decoder.causal) return;
  throw new ArgumentError({
    argument: 'model',
    received: 'a model with causal: false, whose tokens see those behind them',
    expected: 'a causal model',
    fix: 'A policy writes from left to right; such a trunk can carry a reward model.',
  });
}

// As a response token, padding would be trained as an action; an eos that pads has its meaning.
function withoutPadding(options: GenerateOptions, padToken: number | undefined): GenerateOptions {
  if (padToken === undefined || padToken === options.eosToken) return options;
  return { ...options, suppress: [...options.suppress, padToken] };
}

function checkTemperature(temperature: number): void {
  if (Number.isFinite(temperature) && temperature >= 1e-6) return;
  throw new ArgumentError({
    argument: 'temperature',
    received: printable(temperature),
    expected: 'a number >= 1e-6',
    fix: 'Greedy responses teach a policy nothing: sample.',
  });
}

function filterRefused(filter: string, value: unknown): ArgumentError {
  return new ArgumentError({
    argument: `rollout.${filter}`,
    received: printable(value),
    expected: 'none',
    fix: 'PPO trains the distribution that it samples from: change the temperature instead of filters or weights.',
  });
}
