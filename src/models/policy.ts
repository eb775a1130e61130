/** A policy: what answers prompts and is trained by what its answers are worth, with the reference that it shall stay near. */
import type { Contents, Saveable } from '../tensor/tensor-files.ts';
import type { SamplingConfigInput } from '../config/sampling.ts';
import { ArgumentError, printable } from '../errors.ts';
import { type Ids, Inputs } from '../tensor/arguments.ts';
import {
  addon,
  type GenerateOptions,
  type Gradients,
  type Native,
  type NativeRollout,
  type PolicyHandle,
  type TensorHandle,
} from '../native/addon.ts';
import { checkAdapterOptions, checkObject, checkOptions } from '../checks/options.ts';
import type { LanguageModel } from './language-model.ts';
import { writeMetadata } from './model-file.ts';
import { handleOf, Resource, run } from '../native/resource.ts';
import { cancellable, drawn, nativeSampling, type PromptInput, promptTensors } from '../sampling.ts';
import { type Parameter, Tensor, type TensorGroup, tensorGroup } from '../tensor/tensor.ts';

export interface PolicyOptions {
  /** Rank of the adapters of its scope, 8 unless given; false trains all weights of the model. */
  lora?: number | false;
  /** What the adapters add is scaled by alpha / rank; the rank unless given, so by 1. */
  alpha?: number;
  /** Of the adapters; the model's unless given. */
  seed?: number;
  /** Another name for the scope `actor`, where several share a model. */
  scope?: string;
  /** With `lora: false`, keep a frozen copy of the model as the reference policy. With LoRA the model itself is that. */
  reference?: boolean;
}

/** What the current weights say of sequences [B, T]: entry t belongs to token t, entry 0 is 0. */
export interface LogProb {
  logProb: Tensor;
  entropy: Tensor;
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
}

/** The fields of a rollout. */
export const ROLLOUT = [
  'sequence',
  'responseMask',
  'samplerLogProb',
  'rolloutLogProb',
  'referenceLogProb',
] as const satisfies readonly (keyof Rollout)[];

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
    /** Whether to read with the policy again for rolloutLogProb; true unless given, else the sampler's are taken for it. */
    recompute?: boolean;
    signal?: AbortSignal;
  };

/** What a native rollout takes besides who answers. */
type RolloutArguments = Parameters<Native['policyRollout']> extends [unknown, ...infer Rest] ? Rest : never;

/**
 * A model that is trained as a policy. With LoRA it is read through a scope, whose adapters alone get gradients, and the model
 * without scopes is the reference policy; others may read that model too.
 */
export class Policy extends Resource<PolicyHandle> implements Saveable {
  /** The model that is read: the one given. */
  readonly model: LanguageModel;
  /** Rank of the adapters; false where all weights of the model are trained. */
  readonly lora: number | false;
  /** Names of the scopes that it reads and trains, its own first; none without LoRA. */
  readonly scopes: readonly string[];
  /** What it trains besides the model and its scopes. */
  protected readonly heads: readonly Parameter[] = [];
  readonly #reference: LanguageModel | undefined;
  readonly #leave: () => void;

  /**
   * `more` are further scopes, for classes that read the model in other ways besides.
   * @throws ArgumentError when one of its scopes exists already, or when `model` is not causal.
   */
  constructor(model: LanguageModel, options: PolicyOptions = {}, more: readonly string[] = []) {
    const { name } = new.target;
    checkOptions(options, ['lora', 'alpha', 'seed', 'scope', 'reference'], name);
    const { lora = 8, alpha, seed, scope, reference = false } = options;
    checkAdapterOptions(lora, { alpha, scope }, name);
    handleOf(model, 'model');
    checkCausal(model);
    const copy = lora === false && reference ? model.clone() : undefined;
    const added: string[] = [];
    try {
      const add = (each: string, rank: number) => {
        model.addScope(each, { rank, alpha, seed });
        added.push(each);
      };
      if (lora !== false) for (const each of [scope ?? 'actor', ...more]) add(each, lora);
      const [own] = added.map((each) => model.scopeHandle(each));
      super(addon().policyCreate(handleOf(model), own, copy && handleOf(copy)), name);
    } catch (error) {
      for (const each of added) model.removeScope(each);
      copy?.dispose();
      throw error;
    }
    this.model = model;
    this.lora = lora;
    this.scopes = added;
    this.#reference = copy;
    this.#leave = model.addReader({ name, scopes: added, trainsTrunk: lora === false });
  }

  /** Whether there is a reference policy: always with LoRA, else where it was asked for. */
  get hasReference(): boolean {
    return this.scopes.length > 0 || this.#reference !== undefined;
  }

  /** What is trained: the scopes, or without LoRA the whole model, and any heads. */
  parameters(): Parameter[] {
    handleOf(this);
    const scoped = this.scopes.flatMap((scope) => this.model.parameters({ scope }));
    return [...(this.scopes.length > 0 ? scoped : this.model.parameters()), ...this.heads];
  }

  /**
   * log p and entropy of every token of `sequence` [B, T]. Logits are divided by `temperature`, which has to be the one that was
   * sampled with. Without `grad` nothing can be differentiated later.
   * @throws ArgumentError while the model is in training mode: with dropout nothing can be computed twice.
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

  /** log p of every token of `sequence` [B, T] by the reference policy. @throws ArgumentError where there is none. */
  async referenceLogProb(sequence: Ids, options: { temperature?: number } = {}): Promise<Tensor> {
    checkOptions(options, ['temperature'], 'referenceLogProb');
    const { temperature = 1 } = options;
    return new Tensor(
      await this.read(sequence, temperature, (ids) => addon().policyReferenceLogProb(handleOf(this), ids, temperature)),
    );
  }

  /**
   * Samples responses, then reads them with the policy and, if asked for, the reference policy. There are no filters: what is
   * sampled from has to be what is trained. A `padToken` other than the eos is never drawn.
   * @throws the signal's reason once it is aborted, NumericsError naming the weight where logits are not finite.
   */
  rollout(input: RolloutInput): Promise<TensorGroup<Rollout>> {
    return this.roll(input, (...args) => addon().policyRollout(handleOf(this), ...args));
  }

  /** The model with all its scopes, any heads and any reference copy. A language model loads from it too. */
  contents(): Contents {
    handleOf(this);
    const heads = this.heads.map((tensor) => ({ name: tensor.name, tensor }));
    const copied = this.#reference?.contents().tensors ?? [];
    const reference = copied.map(({ name, tensor }) => ({ name: `reference.${name}`, tensor }));
    const metadata = writeMetadata('Policy', this.model.metadata());
    return { tensors: [...this.model.contents().tensors, ...heads, ...reference], metadata };
  }

  /** Which parameters a graph is recorded for when the policy is read. */
  protected gradients(grad: boolean): Gradients {
    return this.model.gradients(grad, this.scopes[0]);
  }

  /** What `call` gives for a sequence [B, T] from anywhere. */
  protected async read<T>(sequence: Ids, temperature: number, call: (ids: TensorHandle) => Promise<T>): Promise<T> {
    checkTemperature(temperature);
    using inputs = new Inputs(this.model.decoder.device);
    const ids = inputs.ids(sequence, 'sequence');
    return await run([this, this.model, ...inputs.used], () => call(ids));
  }

  /** A rollout by `call`, with whatever fields that gives. */
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
      return tensorGroup(await drawn(weights, () => run([this, this.model, ...inputs.used], draw)));
    });
  }

  /** Frees the reference copy. The model keeps its scopes. */
  protected override release(handle: PolicyHandle): void {
    this.#leave();
    this.#reference?.dispose();
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

function checkUnfiltered({ topK, topP, minP, weights }: SamplingConfigInput): void {
  for (const [filter, value] of Object.entries({ topK, topP, minP, weights })) {
    if (value === undefined) continue;
    throw new ArgumentError({
      argument: `rollout.${filter}`,
      received: printable(value),
      expected: 'none',
      fix: 'A policy is trained on the distribution that it samples from: change the temperature instead of filters or weights.',
    });
  }
}
