/** The types of what crosses the native border: handles, and objects of handles. Defaults belong to the classes above. */

/** The element types of tensors. */
export type Dtype = 'float32' | 'float64' | 'bfloat16' | 'int64' | 'int32' | 'uint8' | 'bool';
/** `cpu`, `cuda` or `cuda:N`. */
export type Device = string;

declare const kind: unique symbol;
/** An opaque native object. `dispose` releases what it holds; later use throws a DisposedError. */
export interface Handle<Kind extends string = string> {
  readonly [kind]: Kind;
}
export type TensorHandle = Handle<'Tensor'>;
export type ParameterHandle = Handle<'Parameter'>;
export type LanguageModelHandle = Handle<'LanguageModel'>;
export type ScopeHandle = Handle<'Scope'>;
export type RewardModelHandle = Handle<'RewardModel'>;
export type PolicyHandle = Handle<'Policy'>;
export type ActorCriticHandle = Handle<'ActorCritic'>;
export type FlowrlPolicyHandle = Handle<'FlowrlPolicy'>;
export type IlqlPolicyHandle = Handle<'IlqlPolicy'>;
export type ReadoutHandle = Handle<'Readout'>;
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

/** Which parameters a graph is recorded for: none, those of the scope in use, or all. */
export type Gradients = 'none' | 'adapters' | 'all';

/** A trained tensor, with its name in checkpoints. */
export interface NativeParameter {
  name: string;
  shape: number[];
  handle: ParameterHandle;
}
/** A tensor that shares the memory of an optimizer's state: read it to save the state, copy into it to restore the state. */
export interface NativeState {
  name: string;
  tensor: TensorHandle;
}

/** A decoder, described as data: a family creates it from a configuration, native/model/decoder.cc computes it. */
export interface DecoderDescription {
  /** V, the size of the vocabulary. */
  numTokens: number;
  /** D, the width of the model. */
  dim: number;
  /** L, the number of layers. */
  depth: number;
  /** H, the number of query heads, which share the `kvHeads` key/value heads evenly. */
  heads: number;
  kvHeads: number;
  /** K, the width of a head; even. */
  dimHead: number;
  /** F, the width of the feed-forward layer. */
  ff: number;
  /** If false, every token attends to all others, and negative ids are padding. */
  causal: boolean;
  /** Whether queries and keys are l2-normalised, with learned scales. */
  qkNorm: boolean;
  /** Scale of attention scores. */
  qkScale: number;
  /** Scale of the xPos decay, in positions; undefined for plain rotary positions. */
  xposScaleBase: number | undefined;
  /** Target token that the loss ignores. */
  ignoreIndex: number;
  /** In training mode only. */
  attnDropout: number;
  ffDropout: number;
  recompute: 'none' | 'selective' | 'full';
  dtype: Dtype;
  device: Device;
}

/** Name and shape of a tensor before it is created. */
export interface NamedShape {
  name: string;
  shape: number[];
}

/** How tokens are sampled; see sampling.ts. */
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
  logProbs: TensorHandle; // [B, T] float32, under the distribution sampled from
}

/** Which positions are prompt, and which are padding: at most one of each pair of lengths [B] and mask [B, T]. */
export interface RewardInput {
  sequence: TensorHandle; // [B, T]
  promptLengths: TensorHandle | undefined; // [B]
  promptMask: TensorHandle | undefined; // [B, T] bool
  lengths: TensorHandle | undefined; // [B], everything after is padding
  mask: TensorHandle | undefined; // [B, T] bool, false at padding
}

/** How compared answers are turned into a loss; see native/losses/ranking.h. */
export interface NativeRankingOptions {
  margin: TensorHandle | undefined; // [B]
  noneGood: TensorHandle | undefined; // [B] bool
  labelSmoothing: number;
  centerWeight: number;
  l2Weight: number;
  anchorWeight: number;
  tieWidth: number | undefined;
  plackettLuce: boolean;
}

/** The responses of a policy and their log-probabilities; all rows are in the same order. */
export interface NativeRollout {
  sequence: TensorHandle; // [B, T] int64
  responseMask: TensorHandle; // [B, T] bool
  samplerLogProb: TensorHandle; // [B, T], as the sampler saw it
  rolloutLogProb: TensorHandle; // [B, T], recomputed by the forward pass of training, or samplerLogProb
  referenceLogProb: TensorHandle; // [B, T], equal to rolloutLogProb if no reference is requested
}
/** A rollout with the critic's values. */
export interface NativeValuedRollout extends NativeRollout {
  rolloutValue: TensorHandle; // [B, T]
}
/** A rollout with advantages and returns. */
export interface NativeExperience extends NativeValuedRollout {
  advantage: TensorHandle; // [B, T]
  returns: TensorHandle; // [B, T]
}
export interface NativeLogProb {
  logProb: TensorHandle; // [B, T]
  entropy: TensorHandle; // [B, T]
}
/** How a model predicted each token. */
export interface NativePrediction extends NativeLogProb {
  right: TensorHandle; // [B, T] bool
}
export interface NativeEvaluation extends NativeLogProb {
  value: TensorHandle; // [B, T]
  valueLogits?: TensorHandle | undefined; // [B, T, bins], of a critic with a histogram
}
/** The bins of a value; native/losses/histogram.h. */
export interface NativeHistogram {
  bins: number;
  min: number;
  max: number;
  sigma: number;
}
/** What a policy with a head for log Z says of sequences. */
export interface NativeFlowrlEvaluation extends NativeLogProb {
  logPartition: TensorHandle; // [B], of the prompts
}

/** What a policy with heads for implicit language Q-learning reads in the states of response tokens. */
export interface NativeActionValues {
  logits: TensorHandle; // [B, R, V]
  q1: TensorHandle; // [B, R, V]
  q2: TensorHandle; // [B, R, V]
  targetQ1: TensorHandle; // [B, R, V]
  targetQ2: TensorHandle; // [B, R, V]
  value: TensorHandle; // [B, R]
}

/** Named numbers, which are copied from the device at once: `values` [M] float32. */
export interface NativeMetrics {
  names: string[];
  values: TensorHandle;
}
export interface NativeLoss {
  loss: TensorHandle;
  metrics: NativeMetrics;
}
