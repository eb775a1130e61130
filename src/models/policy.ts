/** A policy: a model that answers prompts and is trained on the scores of its answers, with a reference it should stay near. */
import type { Contents, Saveable } from '../tensor/tensor-files.ts';
import type { SamplingConfigInput } from '../config/sampling.ts';
import { ArgumentError, printable } from '../errors.ts';
import { type Ids, Inputs } from '../tensor/arguments.ts';
import {
  addon,
  type GenerateOptions,
  type Gradients,
  type LanguageModelHandle,
  type Native,
  type NativeRollout,
  type PolicyHandle,
  type TensorHandle,
} from '../native/addon.ts';
import { checkAdapterOptions, checkObject, checkOptions } from '../checks/options.ts';
import type { LanguageModel } from './language-model.ts';
import { writeMetadata } from './model-file.ts';
import { handleOf, Resource, run } from '../native/resource.ts';
import { TopLayers } from './top-layers.ts';
import { checkTrained } from './trained.ts';
import { cancellable, nativeSampling, type PromptInput, promptTensors, withWeightNamed } from '../sampling.ts';
import { type Parameter, Tensor, type TensorGroup, tensorGroup } from '../tensor/tensor.ts';

export interface PolicyOptions {
  /** Rank of the adapters of its scope; false trains all weights of the model. Defaults to 8. */
  lora?: number | false;
  /** The output of the adapters is scaled by alpha / rank. Defaults to the rank, for a scale of 1. */
  alpha?: number;
  /** Seed of the adapters. Defaults to the model's. */
  seed?: number;
  /** Name of its scope, for when several policies share a model. Defaults to `actor`. */
  scope?: string;
  /** With `lora: false`, keep a frozen copy of what is trained as the reference policy. With LoRA, the model itself is the reference. */
  reference?: boolean;
  /**
   * With `lora: false`, train only so many of the top layers, the final norm, and the head unless it is tied to the embedding. What is
   * below is frozen, and the reference policy reads it too. By default, all weights are trained.
   */
  numLayersUnfrozen?: number | undefined;
}

/** Per-token outputs for sequences [B, T] under the current weights: entry t belongs to token t, entry 0 is 0. */
export interface LogProb {
  logProb: Tensor;
  entropy: Tensor;
}

/** The same with the log-probabilities of the reference policy [B, T], which are never differentiable. */
export interface ComparedLogProb extends LogProb {
  referenceLogProb: Tensor;
}

/** A batch of sampled responses; everything is [B, T], with rows in the same order. */
export interface Rollout {
  /** Prompt, response, padding; int64. */
  sequence: Tensor;
  /** True where a token is response, the eos included. */
  responseMask: Tensor;
  /** Log-probabilities as the sampler saw them. */
  samplerLogProb: Tensor;
  /** The same, recomputed by the forward pass of training; equal to samplerLogProb with `recompute: false`. */
  rolloutLogProb: Tensor;
  /** Log-probabilities under the reference policy; equal to rolloutLogProb if none was requested. */
  referenceLogProb: Tensor;
}

/** The fields of a rollout. */
export const ROLLOUT = [
  'sequence',
  'responseMask',
  'samplerLogProb',
  'rolloutLogProb',
  'referenceLogProb',
] as const satisfies readonly (keyof Rollout)[];

/** Prompts, how to answer them, and how to evaluate the answers. */
export type RolloutInput = PromptInput &
  Pick<
    SamplingConfigInput,
    'maxNewTokens' | 'temperature' | 'eosToken' | 'stop' | 'suppress' | 'padToken' | 'samplesPerPrompt' | 'seed'
  > & {
    /** Groups of rows to evaluate together. Defaults to all at once. Training on the same pieces starts at ratios of exactly 1. */
    pieces?: readonly (readonly number[])[];
    /** Whether to evaluate with the reference policy too. Defaults to false. */
    reference?: boolean;
    /** Whether to recompute rolloutLogProb; if false, the sampler's log-probabilities are used instead. Defaults to true. */
    recompute?: boolean;
    signal?: AbortSignal;
  };

/** A copy of the model that is not trained, whole or from some layer up. */
type Reference = Resource<LanguageModelHandle> & { contents(): Pick<Contents, 'tensors'> };

/** The arguments of a native rollout, apart from the policy. */
type RolloutArguments = Parameters<Native['policyRollout']> extends [unknown, ...infer Rest] ? Rest : never;

/**
 * A model that is trained as a policy. With LoRA it is read through a scope, only the adapters are trained, and the model
 * without scopes is the reference policy; others may read that model too.
 */
export class Policy extends Resource<PolicyHandle> implements Saveable {
  /** The model it was given. */
  readonly model: LanguageModel;
  /** Rank of the adapters; false if all weights of the model are trained. */
  readonly lora: number | false;
  /** Number of the model's layers that are trained, from the top; undefined with LoRA, and if all weights are trained. */
  readonly numLayersUnfrozen: number | undefined;
  /** Names of the scopes it reads and trains, its own first; empty without LoRA. */
  readonly scopes: readonly string[];
  /** The parameters it trains in addition to those of the model and its scopes. */
  protected readonly heads: readonly Parameter[] = [];
  /** The layers that are trained, if not all weights are. */
  readonly #top: TopLayers | undefined;
  readonly #reference: Reference | undefined;
  readonly #unregister: () => void;

  /**
   * `more` names further scopes, for subclasses that read the model in additional ways. With `loaded`, which is for this package
   * only, the model was read from a file and already has the scopes.
   * @throws ArgumentError if one of its scopes already exists.
   * @throws ArgumentError if `model` is not causal.
   * @throws ArgumentError for more unfrozen layers than the model has.
   */
  constructor(model: LanguageModel, options: PolicyOptions = {}, more: readonly string[] = [], loaded = false) {
    const { name } = new.target;
    checkOptions(options, ['lora', 'alpha', 'seed', 'scope', 'reference', 'numLayersUnfrozen'], name);
    const { lora = 8, alpha, seed, scope, reference = false, numLayersUnfrozen } = options;
    checkAdapterOptions(lora, { alpha, scope }, name);
    handleOf(model, 'model');
    checkCausal(model);
    checkTrained({ lora, numLayersUnfrozen }, model.decoder.depth);
    const top = numLayersUnfrozen === undefined ? undefined : new TopLayers(model, numLayersUnfrozen);
    let copy: Reference | undefined;
    const added: string[] = [];
    try {
      if (lora === false && reference) copy = top?.branch() ?? model.clone();
      const add = (each: string, rank: number) => {
        if (!loaded) model.addScope(each, { rank, alpha, seed });
        added.push(each);
      };
      if (lora !== false) for (const each of [scope ?? 'actor', ...more]) add(each, lora);
      const [actor] = added.map((each) => model.scopeHandle(each));
      super(addon().policyCreate(handleOf(model), actor, copy && handleOf(copy)), name);
    } catch (error) {
      if (!loaded) for (const each of added) model.removeScope(each);
      copy?.dispose();
      top?.release();
      throw error;
    }
    this.model = model;
    this.numLayersUnfrozen = numLayersUnfrozen;
    this.lora = lora;
    this.scopes = added;
    this.#top = top;
    this.#reference = copy;
    this.#unregister = model.addReader({ name, scopes: added, trainsTrunk: lora === false });
  }

  /** Whether there is a reference policy: always with LoRA, otherwise if it was requested. */
  get hasReference(): boolean {
    return this.scopes.length > 0 || this.#reference !== undefined;
  }

  /** The trained parameters: those of the scopes, or without LoRA of the whole model or its top layers, and of any heads. */
  parameters(): Parameter[] {
    const others = this.scopes.slice(1).flatMap((scope) => this.model.parameters({ scope }));
    return [...this.ownParameters(), ...others, ...this.heads];
  }

  /** Those that decide what it answers: without further scopes and heads. @internal */
  ownParameters(): Parameter[] {
    handleOf(this);
    const [scope] = this.scopes;
    if (scope !== undefined) return this.model.parameters({ scope });
    return this.#top ? [...this.#top.parameters] : this.model.parameters();
  }

  /**
   * log p and entropy of every token of `sequence` [B, T]. Logits are divided by `temperature`, which must be the one used for
   * sampling. The results are differentiable only with `grad`.
   * @throws ArgumentError while the model is in training mode, because dropout makes results non-reproducible.
   */
  async logProb(sequence: Ids, options: { temperature?: number; grad?: boolean } = {}): Promise<TensorGroup<LogProb>> {
    checkOptions(options, ['temperature', 'grad'], 'logProb');
    const { temperature = 1, grad = true } = options;
    return tensorGroup(
      await this.read(sequence, temperature, (ids) =>
        addon().policyLogProb(handleOf(this), ids, temperature, this.gradients(grad)),
      ),
    );
  }

  /** log p of every token of `sequence` [B, T] under the reference policy. @throws ArgumentError if there is none. */
  async referenceLogProb(sequence: Ids, options: { temperature?: number } = {}): Promise<Tensor> {
    checkOptions(options, ['temperature'], 'referenceLogProb');
    const { temperature = 1 } = options;
    return new Tensor(
      await this.read(sequence, temperature, (ids) => addon().policyReferenceLogProb(handleOf(this), ids, temperature)),
    );
  }

  /**
   * What `logProb` returns and what `referenceLogProb` does, in one call: layers that policy and reference share are computed once.
   * @throws ArgumentError while the model is in training mode, because dropout makes results non-reproducible.
   * @throws ArgumentError if there is no reference.
   */
  async compare(
    sequence: Ids,
    options: { temperature?: number; grad?: boolean } = {},
  ): Promise<TensorGroup<ComparedLogProb>> {
    checkOptions(options, ['temperature', 'grad'], 'compare');
    const { temperature = 1, grad = true } = options;
    return tensorGroup(
      await this.read(sequence, temperature, (ids) =>
        addon().policyCompare(handleOf(this), ids, temperature, this.gradients(grad)),
      ),
    );
  }

  /**
   * Samples responses, then evaluates them with the policy and, if requested, the reference policy. There are no filters: the
   * distribution that is sampled from must be the one that is trained. A `padToken` other than the eos is never sampled.
   * @throws the signal's reason once it is aborted.
   * @throws NumericsError naming the first non-finite weight, if the logits are not finite.
   */
  rollout(input: RolloutInput): Promise<TensorGroup<Rollout>> {
    return this.roll(input, (...args) => addon().policyRollout(handleOf(this), ...args));
  }

  /** The model with all its scopes, any heads and any reference copy. The file also loads as a language model. */
  contents(): Contents {
    handleOf(this);
    const heads = this.heads.map((tensor) => ({ name: tensor.name, tensor }));
    const copied = this.#reference?.contents().tensors ?? [];
    const reference = copied.map(({ name, tensor }) => ({ name: `reference.${name}`, tensor }));
    const metadata = writeMetadata('Policy', this.description());
    return { tensors: [...this.model.contents().tensors, ...heads, ...reference], metadata };
  }

  /** How files describe it: its model, and what is trained of it. */
  protected description(): Record<string, unknown> {
    const { numLayersUnfrozen } = this;
    return { ...this.model.metadata(), ...(numLayersUnfrozen !== undefined && { numLayersUnfrozen }) };
  }

  /** Which parameters a graph is recorded for when the policy is evaluated. */
  protected gradients(grad: boolean): Gradients {
    return this.model.gradients(grad, this.scopes[0]);
  }

  /** Runs `call` on a sequence [B, T], given as a tensor or as arrays; it also reads the tensors `used`. */
  protected async read<T>(
    sequence: Ids,
    temperature: number,
    call: (ids: TensorHandle) => Promise<T>,
    used: readonly Tensor[] = [],
  ): Promise<T> {
    checkTemperature(temperature);
    using inputs = new Inputs(this.model.decoder.device);
    const ids = inputs.ids(sequence, 'sequence');
    return await run([this, this.model, ...inputs.used, ...used], () => call(ids));
  }

  /** A rollout by `call`, with all the fields that it returns. */
  protected async roll<Handles extends NativeRollout>(
    input: RolloutInput,
    call: (...args: RolloutArguments) => Promise<Handles>,
  ): Promise<TensorGroup<{ [Field in keyof Handles]: Tensor }>> {
    checkObject(input, 'rollout');
    const { prompts, lengths, pieces, reference = false, recompute = true, signal, ...sampling } = input;
    const options = withoutPadding(nativeSampling(sampling, 'rollout'), sampling.padToken);
    checkTemperature(options.temperature);
    checkUnfiltered(sampling);
    using inputs = new Inputs(this.model.decoder.device);
    const rows = promptTensors(inputs, { prompts, lengths }, options.padToken);
    const batch = (Array.isArray(prompts) ? prompts.length : (prompts as Tensor).shape[0]) as number;
    const all = Array.from({ length: batch * options.samplesPerPrompt }, (_, row) => row);
    const read = (pieces ?? [all]).map((piece) => [...piece]);
    const weights = [...this.model.parameters(), ...this.parameters()];
    return await cancellable(signal, async (cancel) => {
      const draw = () => call(rows.prompts, rows.lengths, options, read, reference, recompute, cancel);
      return tensorGroup(await withWeightNamed(weights, () => run([this, this.model, ...inputs.used], draw)));
    });
  }

  /** Frees the reference copy. The model keeps its scopes; its frozen layers can be trained again. */
  protected override release(handle: PolicyHandle): void {
    this.#unregister();
    this.#top?.release();
    this.#reference?.dispose();
    super.release(handle);
  }
}

// If tokens attend to later tokens, the model sees the token it predicts: its log-probability would be that of a copy.
function checkCausal({ decoder }: LanguageModel): void {
  if (decoder.causal) return;
  throw new ArgumentError({
    argument: 'model',
    received: 'a model with causal: false, whose tokens attend to later tokens',
    expected: 'a causal model',
    fix: 'A policy generates from left to right; a non-causal model can only be the trunk of a reward model.',
  });
}

// A sampled padding token would be trained as an action. An eos that also serves as padding has to remain possible.
function withoutPadding(options: GenerateOptions, padToken: number | undefined): GenerateOptions {
  if (padToken === undefined || options.eosTokens.includes(padToken)) return options;
  return { ...options, suppress: [...options.suppress, padToken] };
}

function checkTemperature(temperature: number): void {
  if (Number.isFinite(temperature) && temperature >= 1e-6) return;
  throw new ArgumentError({
    argument: 'temperature',
    received: printable(temperature),
    expected: 'a number >= 1e-6',
    fix: 'A policy learns nothing from greedy responses: sample instead.',
  });
}

function checkUnfiltered({ topK, topP, minP, weights }: SamplingConfigInput): void {
  for (const [filter, value] of Object.entries({ topK, topP, minP, weights })) {
    if (value === undefined) continue;
    throw new ArgumentError({
      argument: `rollout.${filter}`,
      received: printable(value),
      expected: 'none',
      fix: 'Change the temperature instead: a policy is trained on the distribution that it samples from.',
    });
  }
}
