/** What crosses to the addon and back, typed: handles, and objects of them. Nothing here has a default: the classes above do. */

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
export type PolicyHandle = Handle<'Policy'>;
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

/** What a policy answered, and what is read of it; rows in the same order. */
export interface NativeRollout {
  sequence: TensorHandle; // [B, T] int64
  responseMask: TensorHandle; // [B, T] bool
  samplerLogProb: TensorHandle; // [B, T], as the sampler saw it
  rolloutLogProb: TensorHandle; // [B, T], recomputed by the forward pass that training uses, or samplerLogProb
  referenceLogProb: TensorHandle; // [B, T], equal to rolloutLogProb where no reference is asked for
}
/** What a critic is asked as well. */
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
export interface NativeEvaluation extends NativeLogProb {
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
