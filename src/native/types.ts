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
export type TokenStreamHandle = Handle<'TokenStream'>;
export type CancelHandle = Handle<'Cancel'>;
export type SlotsHandle = Handle<'Slots'>;

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

/** A norm over the last axis; see native/kernels/norm.h. */
export interface NormDescription {
  kind: 'layer' | 'rms' | 'l2';
  eps: number;
  /** 1 if the weight is stored around 0: the norm multiplies by 1 + weight. */
  offset: 0 | 1;
  /** Whether there are weights and biases. */
  weight: boolean;
  bias: boolean;
}

/** Rotary positions; see native/kernels/rotary.h. */
export interface RopeDescription {
  /** One per pair of dimensions. The first 2 · length dimensions of a head turn, halves as in GPT-NeoX; the others stay. */
  inverseFrequency: number[];
  /** Multiplies cos and sin: the attention factor of YaRN and LongRoPE, otherwise 1. */
  factor: number;
  /** Whether angles are computed in float64 (PaLM) instead of float32 (transformers). */
  wide: boolean;
  /** Scale of the xPos decay, in positions; undefined without decay. */
  xposScaleBase: number | undefined;
  /** Tokens of the longest sequence with these frequencies; undefined: any. */
  reach: number | undefined;
}

/** What differs from layer to layer. */
export interface LayerDescription {
  /** Each token attends to the last `window` tokens, itself included; 0: to all. */
  window: number;
  /** Index into the decoder's `ropes`; -1 for no rotary positions. */
  rope: number;
  /** Scale of attention scores. */
  scale: number;
}

/** A decoder, described as data: a family creates it from a configuration, native/model/decoder.cc computes it. */
export interface DecoderDescription {
  /** V, the rows of the token embedding. */
  numTokens: number;
  /** The first rows, which can be drawn; the others only pad the table and have no logits. */
  usedTokens: number;
  /** D, the width of the model. */
  dim: number;
  /** L, the number of layers. */
  depth: number;
  /** H, the number of query heads, which share the `kvHeads` key/value heads evenly. */
  heads: number;
  kvHeads: number;
  /** K, the width of a head; even with rotary positions. */
  dimHead: number;
  /** F, the width of the feed-forward layer. */
  ff: number;
  /** If false, every token attends to all others, and negative ids are padding. */
  causal: boolean;

  /** Every norm but those of queries and keys. */
  norm: NormDescription;
  /** Where norms stand: x + f(norm x), x + norm(f x), x + norm(f(norm x)), norm(x + f x). */
  form: 'pre' | 'post' | 'sandwich' | 'after';
  /** Whether attention and feed-forward read the same input, and if so, through one norm. */
  parallel: boolean;
  sharedNorm: boolean;
  /** Whether the residual is the normed input: an option of BLOOM. */
  residualFromNorm: boolean;
  finalNorm: boolean;
  /** Whether the products for queries, keys and values have biases, that of attention's output, and both of the feed-forward. */
  qkvBias: boolean;
  outputBias: boolean;
  ffBias: boolean;
  /** Whether the feed-forward is activation(gate) · up, or activation(up). */
  gated: boolean;
  activation: 'silu' | 'gelu' | 'geluTanh' | 'relu';

  /** The norm of queries and keys: of each head with shared or own weights, or over all heads at once. */
  qkNorm: { over: 'head' | 'perHead' | 'all'; norm: NormDescription } | undefined;
  /** Queries, keys and values are clamped to ± this. */
  clipQkv: number | undefined;
  ropes: RopeDescription[];
  /** One per layer, or one for all of them. */
  layers: LayerDescription[];
  /** A slope for every head, added to a score times the position of the key; or none. */
  alibi: number[];
  /** Whether slope · position is rounded to bfloat16 and scaled like scores, as in Falcon-RW. */
  alibiRounded: boolean;
  /** Scores become softcap · tanh(score / softcap). */
  softcap: number | undefined;
  /** Learned positions: position t has row t + offset. */
  positions: { rows: number; offset: number } | undefined;

  embeddingNorm: boolean;
  embeddingScale: number;
  /** Multiplies what attention and feed-forward add. */
  residualScale: number;
  /** E, the width of the embedding; if it is not D, there are projections from E to D and back. */
  embeddingDim: number;
  /** Whether the head is the token embedding. */
  tied: boolean;
  headBias: boolean;
  logitScale: number;
  /** Logits become finalSoftcap · tanh(logit / finalSoftcap). */
  finalSoftcap: number | undefined;

  /** Target token that the loss ignores. */
  ignoreIndex: number;
  /** In training mode only. */
  attnDropout: number;
  ffDropout: number;
  recompute: 'none' | 'selective' | 'full';
  dtype: Dtype;
  device: Device;
}

/** An adapter of a scope: low-rank matrices on one of a layer's sites. */
export interface AdapterDescription {
  layer: number;
  site: string;
  rank: number;
  /** Of the adapter's output. */
  scale: number;
}

/** Name and shape of a tensor before it is created. */
export interface NamedShape {
  name: string;
  shape: number[];
}

/** The feature that keeps a decoder from fused blocks, and from fast decoding, in words; undefined where nothing does. */
export interface Fallbacks {
  training: string | undefined;
  decoding: string | undefined;
}

/** How tokens are sampled; see sampling.ts. */
export interface GenerateOptions {
  maxNewTokens: number;
  temperature: number;
  topK: number | undefined;
  topP: number | undefined;
  minP: number | undefined;
  eosTokens: number[];
  stop: number[][];
  suppress: number[];
  padToken: number;
  samplesPerPrompt: number;
  int8: boolean;
  seed: number;
}
/** How a row of slots draws (native/generation/row-sampler.h). */
export interface RowOptions {
  temperature: number;
  topK: number | undefined;
  topP: number | undefined;
  minP: number | undefined;
  frequencyPenalty: number;
  presencePenalty: number;
  repetitionPenalty: number;
  biasTokens: readonly number[];
  bias: readonly number[];
  endTokens: readonly number[];
  minTokens: number;
  maxTokens: number;
  /** Report the log-probabilities of so many likeliest tokens; undefined: none, not even the token's own. */
  top: number | undefined;
  seed: number;
  sample: number;
}
/** What happened to a row of slots since the last call. */
export interface RowProgress {
  row: number;
  promptRead: number;
  tokens: number[];
  /** Of the distributions that the tokens were drawn from. */
  logProbs: number[];
  /** At temperature 1, before penalties, bias and filters. */
  model: { token: number; topTokens: number[]; top: number[] }[];
  /** `numbers`: the logits were not finite. */
  ended: 'no' | 'token' | 'length' | 'released' | 'numbers';
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
/** What a policy and its reference say of the same tokens. */
export interface NativeComparedLogProb extends NativeLogProb {
  referenceLogProb: TensorHandle; // [B, T]
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
