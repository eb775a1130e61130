/**
 * The types of the addon's exports. Functions that compute return promises and run in program order on one native thread; the
 * others only allocate, name or release. A test compares this file with the addon.
 */
import type { NumberFormat } from '../files/number-formats.ts';
import type { NativeLosses } from './losses.ts';
import type {
  ActorCriticHandle,
  CancelHandle,
  AdapterDescription,
  DecoderDescription,
  Device,
  Dtype,
  FlowrlPolicyHandle,
  GenerateOptions,
  Gradients,
  Handle,
  IlqlPolicyHandle,
  LanguageModelHandle,
  Fallbacks,
  NamedShape,
  NativeActionValues,
  NativeComparedLogProb,
  NativeEvaluation,
  NativeFlowrlEvaluation,
  NativeGeneration,
  NativeHistogram,
  NativeLogProb,
  NativeLoss,
  NativeParameter,
  NativePrediction,
  NativeRankingOptions,
  NativeRollout,
  NativeState,
  NativeValuedRollout,
  NumericArray,
  OptimizerHandle,
  ParameterHandle,
  PolicyHandle,
  ReadoutHandle,
  RewardInput,
  RewardModelHandle,
  RowOptions,
  RowProgress,
  ScopeHandle,
  SlotsHandle,
  TensorHandle,
  TokenStreamHandle,
} from './types.ts';

/** Everything that the addon exports. */
export interface Native extends NativeLosses {
  // Process (native/binding/process.cc)
  /** Stops all jobs of this thread and waits for the running one; later calls fail. */
  close(): void;
  dispose(handle: Handle): void;
  memory(): { liveTensors: number; liveBytes: number; usedBytes: number; cachedBytes: number; peakBytes: number };
  memoryResetPeak(): void;
  /** How often values were read back from a device; each read synchronises with the GPU. */
  reads(): number;
  /** Limits large blocks on the CPU, for the whole process; 0 for no limit. */
  memoryLimit(bytes: number): void;
  /** CPU time of the calling thread, in microseconds. */
  threadCpuTime(): number;
  info(): {
    libtorch: string;
    threads: number;
    cpuCapability: string;
    float32Precision: string;
    cudaFloat32: string; // precision of matrix products on a GPU: ieee or tf32
    cudaBfloat16Sums: string; // dtype of their partial sums
    deterministic: boolean;
    cudaDevices: number;
  };
  /** On a machine with a GPU: whether our own kernels run there, and which attention libtorch chooses for a dtype. */
  cudaInfo(): Promise<{ ownKernels: boolean; float32Attention: string; bfloat16Attention: string }>;
  cancelCreate(): CancelHandle;
  cancel(handle: CancelHandle): void;
  /** Whether to use the fused kernels or their ATen references, in the whole process. */
  useKernels(on: boolean): Promise<void>;
  /** Whether a GPU uses only bitwise reproducible algorithms. */
  useDeterministic(on: boolean): Promise<void>;

  // Tensors (native/binding/tensor.cc)
  tensorEmpty(shape: number[], dtype: Dtype, device: Device): TensorHandle;
  /** Like tensorEmpty on the CPU, but later jobs wait until `tensorSeal`, because it is still being written piece by piece. */
  tensorOpen(shape: number[], dtype: Dtype): TensorHandle;
  /** Copies a whole array to `offset` (in elements) of an open tensor, synchronously on this thread. */
  tensorWrite(tensor: TensorHandle, source: NumericArray, offset: number): void;
  tensorSeal(tensor: TensorHandle): void;
  tensorShape(tensor: TensorHandle): number[];
  tensorDtype(tensor: TensorHandle): Dtype;
  tensorDevice(tensor: TensorHandle): Device;
  /** A view of `length` entries of dimension `dim`, from `start` on. */
  tensorNarrow(tensor: TensorHandle, dim: number, start: number, length: number): TensorHandle;
  /** The elements, row by row; bfloat16 arrives as Float32Array, bool as Uint8Array. */
  tensorData(tensor: TensorHandle): Promise<NumericArray>;
  /** `target.copy_(source)`, converting dtype and device; the shapes must be equal. */
  tensorCopy(target: TensorHandle, source: TensorHandle): Promise<void>;
  /** Copies bytes [begin, begin + target.length) of a contiguous tensor into `target`, which must not be touched meanwhile. */
  tensorReadBytes(tensor: TensorHandle, begin: number, target: Uint8Array): Promise<void>;
  /** The opposite: copies `source` into the bytes from `begin` on. */
  tensorWriteBytes(tensor: TensorHandle, begin: number, source: Uint8Array): Promise<void>;
  /**
   * Decodes `source`, whole blocks of numbers of `format` (src/files/number-formats.ts), to the elements of `target`, row by
   * row, converting them to its dtype and device. `source` must not be touched meanwhile.
   */
  tensorDecode(target: TensorHandle, format: NumberFormat, source: Uint8Array): Promise<void>;
  tensorBackward(tensor: TensorHandle): Promise<void>;
  /** Copies of the given rows of each of `tensors`, which all have the same number of rows. */
  tensorsRows(tensors: TensorHandle[], rows: number[]): Promise<TensorHandle[]>;
  /** The rows of all `tensors` [., T] in one, those of smaller widths padded on the right with zeros. */
  tensorsJoined(tensors: TensorHandle[]): Promise<TensorHandle>;

  // Parameters (native/binding/parameter.cc)
  parameterCreate(value: TensorHandle): NativeParameter;
  parameterValue(parameter: ParameterHandle): Promise<TensorHandle>;
  /** The values as what graphs lead to. */
  parameterLeaf(parameter: ParameterHandle): Promise<TensorHandle>;
  parameterGrad(parameter: ParameterHandle): Promise<TensorHandle | undefined>;
  parameterSetGrad(parameter: ParameterHandle, grad: TensorHandle): Promise<void>;
  parametersCopy(targets: ParameterHandle[], sources: ParameterHandle[]): Promise<void>;
  /** target ← target + share · (source − target), in the target's precision. */
  parametersMove(targets: ParameterHandle[], sources: ParameterHandle[], share: number): Promise<void>;
  parametersRequireGrad(parameters: ParameterHandle[], on: boolean): Promise<void>;
  /** The index of the first parameter with a non-finite value. */
  parametersFirstNonFinite(parameters: ParameterHandle[]): Promise<number | undefined>;

  // Models (native/binding/model.cc)
  decoderCreate(description: DecoderDescription): LanguageModelHandle;
  /** A model with the weights of `model` before layer `firstLayer`, and with its own from there on, which have no values yet. */
  modelBranch(model: LanguageModelHandle, firstLayer: number): LanguageModelHandle;
  /** The parameters of such a decoder, in order, without creating it. @throws OutOfMemoryError if no machine could hold it. */
  decoderParameters(description: DecoderDescription): NamedShape[];
  /** What keeps such a decoder from the fast paths. */
  decoderFallbacks(description: DecoderDescription): Fallbacks;
  /** The sites where adapters can be added: `layers.0.query` and so on, each with the shape [out, in] of its part of a matrix. */
  decoderSites(description: DecoderDescription): NamedShape[];
  modelInitialise(model: LanguageModelHandle, seed: number): Promise<void>;
  modelParameters(model: LanguageModelHandle): NativeParameter[];
  modelTrain(model: LanguageModelHandle, on: boolean, seed: number): Promise<void>;
  /** Gets the state of the dropout generator, a uint8 tensor to save; the next function restores it. */
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
  modelPredict(
    model: LanguageModelHandle,
    tokens: TensorHandle,
    scope: ScopeHandle | undefined,
    segments: TensorHandle | undefined,
    gradients: Gradients,
  ): Promise<NativePrediction>;
  modelMergeScope(model: LanguageModelHandle, scope: ScopeHandle): Promise<void>;
  /** Adapters on the sites named by `targets` (such as `query`) in every layer; their output is scaled by alpha / rank. */
  scopeCreate(model: LanguageModelHandle, adapters: AdapterDescription[], dropout: number): ScopeHandle;
  scopeInitialise(scope: ScopeHandle, seed: number): Promise<void>;
  scopeParameters(scope: ScopeHandle): NativeParameter[];

  // Generation (native/binding/generation.cc)
  /** Without `readout`, tokens are sampled from the model's own logits. */
  generate(
    model: LanguageModelHandle,
    scope: ScopeHandle | undefined,
    prompts: TensorHandle,
    lengths: TensorHandle,
    options: GenerateOptions,
    readout: ReadoutHandle | undefined,
    cancel: CancelHandle | undefined,
  ): Promise<NativeGeneration>;
  /** An answer to one prompt [1, P], which is read when the first tokens are asked for. */
  tokenStreamCreate(
    model: LanguageModelHandle,
    scope: ScopeHandle | undefined,
    prompt: TensorHandle,
    options: GenerateOptions,
    readout: ReadoutHandle | undefined,
  ): TokenStreamHandle;
  /** Samples up to `count` more tokens. */
  tokenStreamAdvance(
    stream: TokenStreamHandle,
    count: number,
    cancel: CancelHandle | undefined,
  ): Promise<{ tokens: number[]; logProbs: number[]; done: boolean }>;
  /** The tokens [B] that `uniform` [B], in [0, 1), draws from logits [B, V], with their log-probabilities. */
  sampleRows(
    logits: TensorHandle,
    options: Pick<GenerateOptions, 'temperature' | 'topK' | 'topP' | 'minP'>,
    uniform: TensorHandle,
  ): Promise<{ token: TensorHandle; logProb: TensorHandle }>;
  /** `slots` rows at once, each with room for `capacity` tokens; allocates the cache. */
  slotsCreate(
    model: LanguageModelHandle,
    slots: number,
    capacity: number,
    suppress: readonly number[],
    int8: boolean,
  ): Promise<SlotsHandle>;
  /** A row for each of `rows`: answers to one prompt, each ended by its cancel handle. */
  slotsAdmit(
    slots: SlotsHandle,
    prompt: readonly number[],
    scope: ScopeHandle | undefined,
    rows: readonly RowOptions[],
    cancels: readonly CancelHandle[],
  ): Promise<{ rows: number[]; cached: number }>;
  /** Reads about `promptTokens` tokens of prompts, of earlier rows of `order` first; then draws up to `tokens` tokens a row. */
  slotsAdvance(
    slots: SlotsHandle,
    order: readonly number[],
    promptTokens: number,
    tokens: number,
  ): Promise<RowProgress[]>;

  // Feedback (native/binding/rlhf.cc)
  /** numBins 0 is a scalar head; pooling is all, response or last. */
  rewardModelCreate(
    model: LanguageModelHandle,
    scope: ScopeHandle | undefined,
    numBins: number,
    dropout: number,
    pooling: string,
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
    options: NativeRankingOptions,
    denominator: number | undefined,
    gradients: Gradients,
  ): Promise<NativeLoss>;
  /** Adds `shift` to every score from now on. */
  rewardModelSetShift(rewardModel: RewardModelHandle, shift: number): Promise<void>;
  /** The head read at every token, [B, T]. */
  rewardModelTokenScores(
    rewardModel: RewardModelHandle,
    input: RewardInput,
    gradients: Gradients,
  ): Promise<TensorHandle>;
  rewardModelStepLoss(
    rewardModel: RewardModelHandle,
    input: RewardInput,
    labels: TensorHandle,
    denominator: number | undefined,
    gradients: Gradients,
  ): Promise<NativeLoss>;
  policyCreate(
    model: LanguageModelHandle,
    scope: ScopeHandle | undefined,
    reference: LanguageModelHandle | undefined,
  ): PolicyHandle;
  policyLogProb(
    policy: PolicyHandle,
    sequence: TensorHandle,
    temperature: number,
    gradients: Gradients,
  ): Promise<NativeLogProb>;
  policyReferenceLogProb(policy: PolicyHandle, sequence: TensorHandle, temperature: number): Promise<TensorHandle>;
  /** Both at once; layers that policy and reference share are computed once. */
  policyCompare(
    policy: PolicyHandle,
    sequence: TensorHandle,
    temperature: number,
    gradients: Gradients,
  ): Promise<NativeComparedLogProb>;
  /** Samples, then evaluates `pieces` of rows with the policy (if `recompute`) and the reference (if `withReference`). */
  policyRollout(
    policy: PolicyHandle,
    prompts: TensorHandle,
    lengths: TensorHandle,
    options: GenerateOptions,
    pieces: number[][],
    withReference: boolean,
    recompute: boolean,
    cancel: CancelHandle | undefined,
  ): Promise<NativeRollout>;
  ilqlPolicyCreate(policy: PolicyHandle): IlqlPolicyHandle;
  ilqlPolicyParameters(policy: IlqlPolicyHandle): NativeParameter[];
  /** The target heads, in the order of the parameters that they follow. */
  ilqlPolicyTargets(policy: IlqlPolicyHandle): NativeParameter[];
  ilqlPolicyInitialise(policy: IlqlPolicyHandle, seed: number): Promise<void>;
  /** Reads sequences [B, T] in the states whose last tokens are at `state` [B, R]. */
  ilqlPolicyEvaluate(
    policy: IlqlPolicyHandle,
    sequence: TensorHandle,
    state: TensorHandle,
    gradients: Gradients,
  ): Promise<NativeActionValues>;
  /** target ← alpha · q + (1 − alpha) · target */
  ilqlPolicySync(policy: IlqlPolicyHandle, alpha: number): Promise<void>;
  ilqlReadoutCreate(policy: IlqlPolicyHandle, beta: number): ReadoutHandle;
  flowrlPolicyCreate(policy: PolicyHandle): FlowrlPolicyHandle;
  flowrlPolicyParameters(policy: FlowrlPolicyHandle): NativeParameter[];
  flowrlPolicyInitialise(policy: FlowrlPolicyHandle, seed: number): Promise<void>;
  /** `responseMask` [B, T] is true where the response is. */
  flowrlPolicyEvaluate(
    policy: FlowrlPolicyHandle,
    sequence: TensorHandle,
    responseMask: TensorHandle,
    temperature: number,
    gradients: Gradients,
  ): Promise<NativeFlowrlEvaluation>;
  actorCriticCreate(
    policy: PolicyHandle,
    criticScope: ScopeHandle | undefined,
    histogram: NativeHistogram | undefined,
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
  /** The same as policyRollout, with the critic's values. */
  actorCriticRollout(
    actorCritic: ActorCriticHandle,
    prompts: TensorHandle,
    lengths: TensorHandle,
    options: GenerateOptions,
    pieces: number[][],
    withReference: boolean,
    recompute: boolean,
    cancel: CancelHandle | undefined,
  ): Promise<NativeValuedRollout>;

  // Optimizers (native/binding/optim.cc)
  adamWCreate(
    parameters: ParameterHandle[],
    options: { beta1: number; beta2: number; eps: number; weightDecay: number },
  ): OptimizerHandle;
  /** `weightDecay` is relative to `lr`: the decay per step is current lr / this lr · weightDecay. */
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
  /**
   * Changes nothing if a gradient, `loss` or one of `losses` (scalars that the gradients belong to) is not finite. The tensors
   * in `read` are returned as numbers: all results of a step are copied from the device at once.
   */
  optimizerStep(
    optimizer: OptimizerHandle,
    lr: number,
    maxGradNorm: number | undefined,
    loss: number | undefined,
    losses: TensorHandle[],
    read: TensorHandle[],
  ): Promise<{
    gradNorm: number;
    skipped: boolean;
    nonFinite: { parameter: number; gradient: boolean } | undefined;
    /** Indices of parameters in the list. */
    unreached: number[];
    losses: number[];
    /** The values of each tensor of `read`, row by row. */
    read: number[][];
  }>;
  optimizerZeroGrad(optimizer: OptimizerHandle): Promise<void>;
  optimizerState(optimizer: OptimizerHandle): NativeState[];
}
