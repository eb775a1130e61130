/**
 * What the addon exports, typed. Functions that compute return promises and run in program order on one native thread; the others
 * only allocate, name or release. Nothing here has a default: the classes above do. A test compares this file with the addon.
 */

/** Element types a tensor can have. */
export type Dtype = 'float32' | 'float64' | 'bfloat16' | 'int64' | 'int32' | 'uint8' | 'bool';
/** `cpu`, `cuda` or `cuda:N`. */
export type Device = string;

declare const kind: unique symbol;
/** An opaque native object. `dispose` releases what it holds; using it afterwards is a DisposedError. */
export interface Handle<Kind extends string = string> {
  readonly [kind]: Kind;
}
export type TensorHandle = Handle<'Tensor'>;
export type ParameterHandle = Handle<'Parameter'>;
export type LanguageModelHandle = Handle<'LanguageModel'>;
export type ScopeHandle = Handle<'Scope'>;
export type RewardModelHandle = Handle<'RewardModel'>;
export type ActorCriticHandle = Handle<'ActorCritic'>;
export type OptimizerHandle = Handle<'Optimizer'>;
export type GenerationLoopHandle = Handle<'GenerationLoop'>;
export type CancelHandle = Handle<'Cancel'>;

export type NumericArray =
  | Float32Array
  | Float64Array
  | Int32Array
  | BigInt64Array
  | Uint8Array
  | Int8Array
  | Uint16Array;

/** Which parameters a graph is recorded for: none, those of the scope that is read through, or all. */
export type Gradients = 'none' | 'adapters' | 'all';

/** A tensor that is trained, with the name that it has in checkpoints. */
export interface NativeParameter {
  name: string;
  shape: number[];
  handle: ParameterHandle;
}
/** A tensor of an optimizer's state, sharing its memory: reading saves it, copying into it restores it. */
export interface NativeState {
  name: string;
  tensor: TensorHandle;
}

/** What a decoder is, as data: a family makes it of its configuration, native/model/decoder.cc computes it. */
export interface DecoderDescription {
  /** V, ids that a token can have. */
  numTokens: number;
  /** D. */
  dim: number;
  /** L, layers. */
  depth: number;
  /** H query heads, which share the `kvHeads` heads of keys and values evenly. */
  heads: number;
  kvHeads: number;
  /** K, even. */
  dimHead: number;
  /** F, width of the feed-forward layer. */
  ff: number;
  /** False: every token sees every other; negative ids are padding. */
  causal: boolean;
  /** Whether queries and keys are normalised (l2), with learned scales. */
  qkNorm: boolean;
  /** Factor of attention scores. */
  qkScale: number;
  /** Positions over which xPos decays; undefined for plain rotary positions. */
  xposScaleBase: number | undefined;
  /** Target that the loss leaves out. */
  ignoreIndex: number;
  /** In training mode only. */
  attnDropout: number;
  ffDropout: number;
  recompute: 'none' | 'selective' | 'full';
  dtype: Dtype;
  device: Device;
}

/** A tensor before it is made. */
export interface NamedShape {
  name: string;
  shape: number[];
}

/** How tokens are drawn; see sampling.ts. */
export interface GenerateOptions {
  maxNewTokens: number;
  temperature: number;
  topK: number | undefined;
  topP: number | undefined;
  minP: number | undefined;
  eosToken: number | undefined;
  stop: number[][];
  suppress: number[];
  padToken: number;
  samplesPerPrompt: number;
  int8: boolean;
  seed: number;
}
export interface NativeGeneration {
  sequences: TensorHandle; // [B, T] int64
  responseMask: TensorHandle; // [B, T] bool
  logProbs: TensorHandle; // [B, T] float32, of the distribution sampled from
}

/** Which positions are prompt, and which exist at all: at most one of each pair, lengths [B] and masks [B, T]. */
export interface RewardInput {
  sequence: TensorHandle; // [B, T]
  promptLengths: TensorHandle | undefined; // [B]
  promptMask: TensorHandle | undefined; // [B, T] bool
  lengths: TensorHandle | undefined; // [B], what is behind is padding
  mask: TensorHandle | undefined; // [B, T] bool, false where padding
}

/** A batch of experience; every field is a tensor with rows in the same order. */
export interface NativeRollout {
  sequence: TensorHandle; // [B, T] int64
  responseMask: TensorHandle; // [B, T] bool
  samplerLogProb: TensorHandle; // [B, T], as the sampler saw it
  rolloutLogProb: TensorHandle; // [B, T], recomputed by the forward pass that training uses, or samplerLogProb
  referenceLogProb: TensorHandle; // [B, T], equal to rolloutLogProb where no reference is asked for
  rolloutValue: TensorHandle; // [B, T]
}
/** A rollout with rewards, advantages and returns. */
export interface NativeExperience extends NativeRollout {
  advantage: TensorHandle; // [B, T]
  returns: TensorHandle; // [B, T]
}
export interface NativeEvaluation {
  logProb: TensorHandle; // [B, T]
  entropy: TensorHandle; // [B, T]
  value: TensorHandle; // [B, T]
}
/** Numbers with names, which cross in one copy: `values` [M] float32. */
export interface NativeMetrics {
  names: string[];
  values: TensorHandle;
}
export interface NativeLoss {
  loss: TensorHandle;
  metrics: NativeMetrics;
}

/** Everything that the addon exports. */
export interface Native {
  // Process (native/binding/process.cc)
  /** Stops all jobs of this thread and waits for the running one; later calls are refused. */
  close(): void;
  dispose(handle: Handle): void;
  memory(): { liveTensors: number; liveBytes: number; usedBytes: number; cachedBytes: number; peakBytes: number };
  memoryResetPeak(): void;
  /** Of large blocks on the CPU, for the whole process; 0 for none. */
  memoryLimit(bytes: number): void;
  /** Microseconds of processor time that the calling thread has had. */
  threadCpuTime(): number;
  info(): {
    libtorch: string;
    threads: number;
    cpuCapability: string;
    float32Precision: string;
    cudaFloat32: string; // how a GPU multiplies: ieee or tf32
    cudaBfloat16Sums: string; // in which dtype it adds partial sums of such products
    deterministic: boolean;
    cudaDevices: number;
  };
  /** Of a machine with a GPU: whether our own kernels run there, and which attention libtorch chooses for a dtype. */
  cudaInfo(): Promise<{ ownKernels: boolean; float32Attention: string; bfloat16Attention: string }>;
  cancelCreate(): CancelHandle;
  cancel(handle: CancelHandle): void;
  /** Computes with the fused kernels, or with the ATen references beside them. For the whole process. */
  useKernels(on: boolean): Promise<void>;
  /** Algorithms of a GPU that give the same bits each time, alone. */
  useDeterministic(on: boolean): Promise<void>;

  // Tensors (native/binding/tensor.cc)
  tensorEmpty(shape: number[], dtype: Dtype, device: Device): TensorHandle;
  /** Like tensorEmpty on the CPU, but later jobs wait until `tensorSeal`: it is still being written, piece by piece. */
  tensorOpen(shape: number[], dtype: Dtype): TensorHandle;
  /** Copies a whole array to `offset` (in elements) of an open tensor, now, on this thread. */
  tensorWrite(tensor: TensorHandle, source: NumericArray, offset: number): void;
  tensorSeal(tensor: TensorHandle): void;
  tensorShape(tensor: TensorHandle): number[];
  tensorDtype(tensor: TensorHandle): Dtype;
  tensorDevice(tensor: TensorHandle): Device;
  /** A view of `length` entries of dimension `dim` from `start` on. */
  tensorNarrow(tensor: TensorHandle, dim: number, start: number, length: number): TensorHandle;
  /** The elements, row by row; bfloat16 arrives as Float32Array, bool as Uint8Array. */
  tensorData(tensor: TensorHandle): Promise<NumericArray>;
  /** `target.copy_(source)`, converting dtype and device; the shapes must be equal. */
  tensorCopy(target: TensorHandle, source: TensorHandle): Promise<void>;
  /** Bytes [begin, begin + target.length) of a contiguous tensor into `target`, which nobody may touch meanwhile. */
  tensorReadBytes(tensor: TensorHandle, begin: number, target: Uint8Array): Promise<void>;
  /** The opposite: `source` into the bytes from `begin` on. */
  tensorWriteBytes(tensor: TensorHandle, begin: number, source: Uint8Array): Promise<void>;
  tensorBackward(tensor: TensorHandle): Promise<void>;

  // Parameters (native/binding/parameter.cc)
  parameterCreate(value: TensorHandle): NativeParameter;
  parameterValue(parameter: ParameterHandle): Promise<TensorHandle>;
  parameterGrad(parameter: ParameterHandle): Promise<TensorHandle | undefined>;
  parameterSetGrad(parameter: ParameterHandle, grad: TensorHandle): Promise<void>;
  parametersCopy(targets: ParameterHandle[], sources: ParameterHandle[]): Promise<void>;
  parametersRequireGrad(parameters: ParameterHandle[], on: boolean): Promise<void>;
  /** The place of the first that has a number which is not finite. */
  parametersFirstNonFinite(parameters: ParameterHandle[]): Promise<number | undefined>;

  // Models (native/binding/model.cc)
  decoderCreate(description: DecoderDescription): LanguageModelHandle;
  /** The parameters of such a decoder, in order, without making it. @throws OutOfMemoryError where no machine could hold it */
  decoderParameters(description: DecoderDescription): NamedShape[];
  /** Where its adapters can sit: `layers.0.query` and so on, with the shape [out, in] of that part of a matrix. */
  decoderSites(description: DecoderDescription): NamedShape[];
  modelInitialise(model: LanguageModelHandle, seed: number): Promise<void>;
  modelParameters(model: LanguageModelHandle): NativeParameter[];
  modelTrain(model: LanguageModelHandle, on: boolean, seed: number): Promise<void>;
  /** The dropout generator's state, a uint8 tensor to save; and back. */
  modelGeneratorState(model: LanguageModelHandle): Promise<TensorHandle>;
  modelSetGeneratorState(model: LanguageModelHandle, state: TensorHandle): Promise<void>;
  modelForward(
    model: LanguageModelHandle,
    tokens: TensorHandle,
    scope: ScopeHandle | undefined,
    segments: TensorHandle | undefined,
    gradients: Gradients,
  ): Promise<{ logits: TensorHandle; embeddings: TensorHandle }>;
  modelLoss(
    model: LanguageModelHandle,
    tokens: TensorHandle,
    scope: ScopeHandle | undefined,
    mask: TensorHandle | undefined,
    segments: TensorHandle | undefined,
    denominator: number | undefined,
    gradients: Gradients,
  ): Promise<TensorHandle>;
  modelMergeScope(model: LanguageModelHandle, scope: ScopeHandle): Promise<void>;
  /** Adapters on the sites of every layer that `targets` names (`query`); what they add is scaled by alpha / rank. */
  scopeCreate(model: LanguageModelHandle, targets: string[], rank: number, alpha: number): ScopeHandle;
  scopeInitialise(scope: ScopeHandle, seed: number): Promise<void>;
  scopeParameters(scope: ScopeHandle): NativeParameter[];

  // Generation (native/binding/generation.cc)
  generate(
    model: LanguageModelHandle,
    scope: ScopeHandle | undefined,
    prompts: TensorHandle,
    lengths: TensorHandle,
    options: GenerateOptions,
    cancel: CancelHandle | undefined,
  ): Promise<NativeGeneration>;
  generationLoopCreate(
    model: LanguageModelHandle,
    scope: ScopeHandle | undefined,
    prompts: TensorHandle,
    lengths: TensorHandle,
    options: GenerateOptions,
  ): GenerationLoopHandle;
  /** Draws up to `count` tokens for the single row of a loop. */
  generationLoopAdvance(
    loop: GenerationLoopHandle,
    count: number,
    cancel: CancelHandle | undefined,
  ): Promise<{ tokens: number[]; logProbs: number[]; done: boolean }>;

  // Feedback (native/binding/rlhf.cc)
  /** numBins 0 is a scalar head; poolResponse leaves the prompt out of the mean. */
  rewardModelCreate(
    model: LanguageModelHandle,
    scope: ScopeHandle | undefined,
    numBins: number,
    dropout: number,
    poolResponse: boolean,
  ): RewardModelHandle;
  rewardModelInitialise(rewardModel: RewardModelHandle, seed: number): Promise<void>;
  rewardModelParameters(rewardModel: RewardModelHandle): NativeParameter[];
  rewardModelTrain(rewardModel: RewardModelHandle, on: boolean, seed: number): Promise<void>;
  rewardModelForward(rewardModel: RewardModelHandle, input: RewardInput, gradients: Gradients): Promise<TensorHandle>;
  rewardModelScore(rewardModel: RewardModelHandle, input: RewardInput): Promise<TensorHandle>;
  rewardModelLoss(
    rewardModel: RewardModelHandle,
    input: RewardInput,
    labels: TensorHandle,
    denominator: number | undefined,
    gradients: Gradients,
  ): Promise<TensorHandle>;
  rewardModelRankingLoss(
    rewardModel: RewardModelHandle,
    input: RewardInput,
    groups: TensorHandle,
    ranks: TensorHandle,
    denominator: number | undefined,
    gradients: Gradients,
  ): Promise<NativeLoss>;
  actorCriticCreate(
    model: LanguageModelHandle,
    actorScope: ScopeHandle | undefined,
    criticScope: ScopeHandle | undefined,
    reference: LanguageModelHandle | undefined,
  ): ActorCriticHandle;
  actorCriticParameters(actorCritic: ActorCriticHandle): NativeParameter[];
  actorCriticInitialise(actorCritic: ActorCriticHandle): Promise<void>;
  actorCriticEvaluate(
    actorCritic: ActorCriticHandle,
    sequence: TensorHandle,
    temperature: number,
    gradients: Gradients,
    criticOnly: boolean,
  ): Promise<NativeEvaluation>;
  /**
   * Samples, then reads what was sampled with actor (to recompute log-probs), critic and (if asked) reference, `pieces` of
   * rows at a time.
   */
  actorCriticRollout(
    actorCritic: ActorCriticHandle,
    prompts: TensorHandle,
    lengths: TensorHandle,
    options: GenerateOptions,
    pieces: number[][],
    withReference: boolean,
    recompute: boolean,
    cancel: CancelHandle | undefined,
  ): Promise<NativeRollout>;
  rolloutRows(experience: NativeExperience, rows: number[]): Promise<NativeExperience>;
  /** Scores [B] to rewards, advantages and returns. */
  judge(
    rollout: NativeRollout,
    score: TensorHandle,
    options: { klWeight: number; gamma: number; lambda: number; whiten: boolean },
  ): Promise<{ reward: TensorHandle; advantage: TensorHandle; returns: TensorHandle; metrics: NativeMetrics }>;

  // Losses (native/binding/losses.cc)
  ppoLoss(
    evaluation: NativeEvaluation,
    experience: NativeExperience,
    options: { clip: number; valueClip: number; valueWeight: number; entropyWeight: number },
    denominator: number | undefined,
  ): Promise<NativeLoss>;
  maskedMean(values: TensorHandle, mask: TensorHandle | undefined): Promise<TensorHandle>;
  whiten(values: TensorHandle, mask: TensorHandle | undefined): Promise<TensorHandle>;
  entropy(logits: TensorHandle): Promise<TensorHandle>;

  // Optimizers (native/binding/optim.cc)
  adamWCreate(
    parameters: ParameterHandle[],
    options: { beta1: number; beta2: number; eps: number; weightDecay: number },
  ): OptimizerHandle;
  /** `lr` is the one that `weightDecay` is measured at: decay per step is lr now / this lr · weightDecay. */
  adoptAtan2Create(
    parameters: ParameterHandle[],
    options: { lr: number; beta1: number; beta2: number; weightDecay: number },
  ): OptimizerHandle;
  adamAtan2Create(
    parameters: ParameterHandle[],
    options: { lr: number; beta1: number; beta2: number; weightDecay: number },
  ): OptimizerHandle;
  /** Copies bfloat16 weights to their float32 masters. */
  optimizerInitialise(optimizer: OptimizerHandle): Promise<void>;
  optimizerStep(
    optimizer: OptimizerHandle,
    lr: number,
    maxGradNorm: number | undefined,
    loss: number | undefined,
  ): Promise<{
    gradNorm: number;
    skipped: boolean;
    nonFinite: { parameter: number; gradient: boolean } | undefined;
    /** Parameters by their place in the list. */
    unreached: number[];
  }>;
  optimizerZeroGrad(optimizer: OptimizerHandle): Promise<void>;
  optimizerState(optimizer: OptimizerHandle): NativeState[];
}
