/**
 * Predicts the memory that the tensors of a run need, by the same sums as the code in native/. The process itself (Node.js,
 * libtorch, data) comes on top. docs/memory.md explains the items; test/memory-plan.test.ts measures them.
 */
import { ATTENTION_SITES } from '../families/family.ts';
import { COUNT, checkKinds, either, type Kind, LIST, NUMBER, optional } from '../checks/kinds.ts';
import { addon, type DecoderDescription } from '../native/addon.ts';
import { block } from './memory-block.ts';
import { countAdapters, countParameters } from './parameter-shapes.ts';

/** Something that takes memory. */
export interface MemoryItem {
  what: string;
  bytes: number;
  /** How `bytes` is computed, in words. */
  how: string;
}
/** Memory that is held only during one part of a step, which `name` names. */
export interface MemoryMoment {
  name: string;
  items: MemoryItem[];
}
export interface MemoryPlan {
  /** Held from the first step to the last. */
  always: MemoryItem[];
  /** Held in addition, one moment after another. */
  moments: MemoryMoment[];
  /** The peak: all of `always` and the largest moment. */
  totalBytes: number;
}

/** The description of a model, such as `model.decoder`. */
export type PlannedModel = DecoderDescription;

const DTYPE: Kind = { is: (value) => Object.hasOwn(BYTES, String(value)), words: 'a dtype of weights' };
const LEVELS = ['none', 'selective', 'full'];
const RECOMPUTE: Kind = { is: (value) => LEVELS.includes(value as string), words: LEVELS.join(', ') };
const SIZES = { numTokens: COUNT, dim: COUNT, depth: COUNT, heads: COUNT, kvHeads: COUNT, dimHead: COUNT, ff: COUNT };
const MODEL = { ...SIZES, layers: LIST, attnDropout: NUMBER, ffDropout: NUMBER, recompute: RECOMPUTE, dtype: DTYPE };
type PlannedTexts = { batchSize: number; length: number; lora?: number | false };
export const LORA = either(COUNT, { is: (value) => value === false, words: 'false' });

export function checkModel(model: PlannedModel, argument = 'model'): void {
  checkKinds(argument, model, MODEL);
}

/** Plans `pretrain`, `sft` or any loop over a model's `loss` and AdamW: rows of `length` targets, `batchSize` at a time. */
export function planPretraining(model: PlannedModel, run: PlannedTexts): MemoryPlan {
  checkModel(model);
  checkKinds('planPretraining', run, { batchSize: COUNT, length: COUNT, lora: optional(LORA) });
  const reading = new Reading(model, run.batchSize, run.length, { trains: !run.lora });
  return planOf(
    [weightsItem('model', model), ...adapterItems(model, run.lora ?? false, 1)],
    [
      { name: 'computing the loss', items: [...reading.kept(), ...reading.head()] },
      { name: 'differentiating', items: [...reading.kept(), ...reading.backward()] },
    ],
  );
}

/** Plans `reward` on pairs, `batchSize` at a time: rows of up to `length` tokens. */
export function planReward(
  model: PlannedModel,
  run: { batchSize: number; length: number; lora: number | false; dropout: number },
): MemoryPlan {
  checkModel(model);
  checkKinds('planReward', run, { batchSize: COUNT, length: COUNT, lora: LORA, dropout: NUMBER });
  const { lora, dropout } = run;
  const read = { ...model, attnDropout: dropout, ffDropout: dropout };
  const reading = new Reading(read, 2 * run.batchSize, run.length, { trains: lora === false });
  return planOf(
    [weightsItem('model', model), ...adapterItems(model, lora, 1)],
    [{ name: 'differentiating', items: [...reading.kept(), ...reading.backward()] }],
  );
}

/** Plans a policy that learns from pairs, or from single responses, `batchSize` at a time: up to `length` tokens each. */
export function planPreferences(
  model: PlannedModel,
  run: { batchSize: number; length: number; lora: number | false; reference?: boolean; responses?: 1 | 2 },
): MemoryPlan {
  checkModel(model);
  checkKinds('planPreferences', run, { batchSize: COUNT, length: COUNT, lora: LORA });
  const { batchSize, length, lora, reference = true, responses = 2 } = run;
  const read = { ...model, attnDropout: 0, ffDropout: 0 };
  const reading = new Reading(read, responses * batchSize, length, { trains: lora === false });
  return planOf(
    [
      weightsItem('model', model),
      ...adapterItems(model, lora, 1),
      ...(lora === false && reference ? [weightsItem('reference policy', model)] : []),
    ],
    [
      { name: 'differentiating the head', items: [...reading.kept(), ...reading.head()] },
      { name: 'differentiating layers', items: [...reading.kept(), ...reading.backward()] },
    ],
  );
}

/** Sizes of a PPO run, or of a similar run without a critic; prompts and responses have their max length. */
export interface PlannedPpo {
  /** Prompts per iteration, and answers per prompt. */
  rolloutBatch: number;
  samplesPerPrompt: number;
  promptLength: number;
  maxNewTokens: number;
  minibatchSize: number;
  lora: number | false;
  /** Whether there is a reference policy; with LoRA it takes no memory. */
  reference: boolean;
  /** Whether there is a critic. Defaults to true. */
  critic?: boolean | undefined;
  /** The trunks of the reward models; none if a function scores the answers. */
  reward?: PlannedModel | readonly PlannedModel[] | undefined;
}

const PPO_SIZES = {
  rolloutBatch: COUNT,
  samplesPerPrompt: COUNT,
  promptLength: COUNT,
  maxNewTokens: COUNT,
  minibatchSize: COUNT,
  lora: LORA,
};

/** Plans `ppo` with an actor-critic of `model`; with `critic: false`, a method whose policy has no critic. */
export function planPpo(model: PlannedModel, run: PlannedPpo): MemoryPlan {
  checkModel(model);
  checkKinds('planPpo', run, PPO_SIZES);
  const judges = [run.reward ?? []].flat();
  for (const judge of judges) checkModel(judge, 'reward');
  const { critic = true } = run;
  const items = [weightsItem('model', model), ...adapterItems(model, run.lora, critic ? 2 : 1)];
  if (run.lora === false && run.reference) items.push(weightsItem('reference policy', model));
  items.push(...judges.map((judge) => weightsItem('reward model', judge)));
  if (model.parallel && isFused(model))
    items.push(weightsItem('weights for decoding', model, 'the model again, in panels'));
  return planOf(items, ppoMoments(model, run, judges));
}

function ppoMoments(model: PlannedModel, run: PlannedPpo, judges: readonly PlannedModel[]): MemoryMoment[] {
  const rows = run.rolloutBatch * run.samplesPerPrompt;
  const length = run.promptLength + run.maxNewTokens;
  const trains = run.lora === false;
  const readings = trains || run.critic === false ? 1 : 2; // actor and critic each run a forward pass
  const read = (of: PlannedModel, batch: number, tokens: number) =>
    new Reading({ ...of, attnDropout: 0, ffDropout: 0 }, batch, tokens, { trains }); // PPO refuses dropout
  const prompts = read(model, run.rolloutBatch, run.promptLength);
  const answers = read(model, run.minibatchSize, length);
  const promptCache = cacheItem('cache of prompts', model, run.rolloutBatch, length);
  const cache = cacheItem('cache of answers', model, rows, 32 * Math.ceil(length / 32)); // stored in panels
  const rollout = rolloutItem(rows, length);
  return [
    { name: 'reading prompts', items: [promptCache, ...prompts.forward()] },
    { name: 'sampling', items: [promptCache, cache, nextTokenItem(model, rows)] },
    { name: 'reading answers', items: [rollout, ...answers.forward()] },
    ...judges.map((of) => ({ name: 'scoring', items: [rollout, ...read(of, run.minibatchSize, length).forward()] })),
    { name: 'differentiating the head', items: [rollout, ...answers.kept(readings), ...answers.head()] },
    { name: 'differentiating layers', items: [rollout, ...answers.kept(readings), ...answers.backward()] },
  ];
}

export function planOf(always: MemoryItem[], moments: MemoryMoment[]): MemoryPlan {
  const largest = Math.max(...moments.map(({ items }) => sum(items)));
  return { always, moments, totalBytes: sum(always) + largest };
}

/** The bytes of all `items` together. */
export function sum(items: readonly MemoryItem[]): number {
  return items.reduce((total, { bytes }) => total + bytes, 0);
}

// --- what is held throughout

const BYTES = { float32: 4, bfloat16: 2, float64: 8 } as const;

/** Bytes per value of the model. */
export function bytesEach({ dtype }: PlannedModel): number {
  return BYTES[dtype as keyof typeof BYTES];
}

/** The bytes of all weights, with `each` bytes per value: the embedding and each layer have a buffer of their own. */
function weightBytes(model: PlannedModel, each: number): number {
  const embedding = model.numTokens * model.dim;
  const layer = (countParameters(model).total - embedding) / model.depth;
  return block(embedding * each) + model.depth * block(layer * each);
}

export function weightsItem(what: string, model: PlannedModel, also?: string): MemoryItem {
  const each = bytesEach(model);
  return {
    what,
    bytes: weightBytes(model, each),
    how: also ?? `${count(countParameters(model).total)} values × ${each} bytes`,
  };
}

/** What training adds: gradients and AdamW's state, in at least float32. `bytes` is the total for a given size per value. */
export function trainingItems(model: PlannedModel, numbers: number, bytes: (each: number) => number): MemoryItem[] {
  const each = bytesEach(model);
  const precise = Math.max(each, 4);
  const copies = each < 4 ? 3 : 2;
  const state = copies === 3 ? '2 moments and a float32 copy' : '2 moments';
  return [
    { what: 'gradients', bytes: bytes(precise), how: `${count(numbers)} values × ${precise} bytes` },
    {
      what: 'optimizer',
      bytes: copies * bytes(precise),
      how: `${state} × ${count(numbers)} values × ${precise} bytes`,
    },
  ];
}

function trunkTrainingItems(model: PlannedModel): MemoryItem[] {
  return trainingItems(model, countParameters(model).total, (each) => weightBytes(model, each));
}

/** What `scopes` scopes of rank `lora` need, including their training; without LoRA, what training the trunk needs. */
export function adapterItems(model: PlannedModel, lora: number | false, scopes: number): MemoryItem[] {
  if (lora === false) return trunkTrainingItems(model);
  const numbers = countAdapters(model, ATTENTION_SITES, lora);
  const bytes = (each: number) => scopes * block(numbers * each);
  const each = bytesEach(model);
  return [
    { what: 'adapters', bytes: bytes(each), how: `${count(scopes * numbers)} values × ${each} bytes` },
    ...trainingItems(model, scopes * numbers, bytes),
  ];
}

/** An id, seven float32 values and a flag per token. */
function rolloutItem(rows: number, length: number): MemoryItem {
  return {
    what: 'rollout',
    bytes: rows * length * 37,
    how: `${count(rows)} rows × ${count(length)} tokens × 37 bytes`,
  };
}

/** Keys and values of every layer for `rows` of up to `length` tokens. */
function cacheItem(what: string, model: PlannedModel, rows: number, length: number): MemoryItem {
  const { depth } = model;
  const { keys } = widthsOf(model);
  const bytes = 2 * block(depth * rows * length * keys * bytesEach(model));
  return { what, bytes, how: `2 × ${depth} layers × ${count(rows)} rows × ${count(length)} tokens × ${keys}` };
}

/** Logits of the next token, and the sampler's copy of them. */
function nextTokenItem({ numTokens }: PlannedModel, rows: number): MemoryItem {
  const bytes = 2 * block(rows * numTokens * 4);
  return { what: 'next token', bytes, how: `2 × ${count(rows)} rows × ${count(numTokens)} × 4 bytes` };
}

// --- what forward and backward passes need

interface Widths {
  queries: number; // of all heads
  keys: number; // of all heads; values are as wide
  projected: number; // output of a layer's first product: queries, keys, values, both halves of the feed-forward
  mixed: number; // input of its second product
}

function widthsOf({ heads, kvHeads, dimHead, ff, gated }: PlannedModel): Widths {
  const [queries, keys] = [heads * dimHead, kvHeads * dimHead];
  return { queries, keys, projected: queries + 2 * keys + (gated ? 2 : 1) * ff, mixed: queries + ff };
}

/** Whether the fused blocks support this model; if not, autograd differentiates the plain blocks and keeps much more. */
function isFused(model: PlannedModel): boolean {
  return model.causal && model.dtype !== 'float64' && addon().decoderIsFused(model);
}

/** Passes of `model` over `batch` rows of `length` tokens; `trains` says whether its own weights are trained. */
export class Reading {
  readonly #model: PlannedModel;
  readonly #rows: number;
  readonly #length: number;
  readonly #trains: boolean;
  readonly #fused: boolean;

  constructor(model: PlannedModel, batch: number, length: number, { trains }: { trains: boolean }) {
    this.#model = model;
    this.#rows = batch * length;
    this.#length = length;
    this.#trains = trains;
    this.#fused = isFused(model) && model.attnDropout === 0 && model.ffDropout === 0;
  }

  /** What a graph keeps of every layer until its backward pass, for `readings` such graphs. */
  kept(readings = 1): MemoryItem[] {
    const { depth, recompute } = this.#model;
    const layer = this.#fused ? this.#keptByFused() : this.#keptByPlain();
    const level = this.#fused ? `recompute ${recompute}` : 'without fused kernels';
    const how = `${readings === 1 ? '' : `${readings} readings × `}${depth} layers × ${count(this.#rows)} tokens, ${level}`;
    const ends = this.#matrices([this.#model.dim]) * (2 * readings - 2); // ends of the passes that wait for their backward pass
    return [{ what: 'activations', bytes: readings * depth * layer + ends, how }];
  }

  /** The layer being differentiated: recomputed matrices, their gradients, and the gradients of its weights. */
  backward(): MemoryItem[] {
    const { dim, numTokens } = this.#model;
    const { projected, mixed } = widthsOf(this.#model);
    const bytes = this.#fused ? this.#backwardOfFused() : this.#backwardOfPlain();
    const items = [{ what: 'one layer', bytes, how: `gradients of ${count(this.#rows)} tokens, recomputed matrices` }];
    if (this.#trains) {
      const numbers = dim * (projected + mixed);
      const bytes = [dim * projected, dim * mixed, numTokens * dim].reduce((total, n) => total + this.#precise(n), 0);
      const how = `${count(numbers)} of a layer, ${count(numTokens * dim)} of the embedding`;
      items.push({ what: 'weight gradients', bytes, how });
    }
    return items;
  }

  /** The head: logits in pieces, and the gradients that are computed before those of the layers. */
  head(): MemoryItem[] {
    const { dim, numTokens } = this.#model;
    const piece = Math.min(this.#rows, Math.floor(2 ** 25 / numTokens));
    const how = `${count(piece)} of ${count(this.#rows)} tokens × ${count(numTokens)}`;
    const ends = (this.#trains ? this.#precise(numTokens * dim) : 0) + this.#matrices([dim, dim, dim]);
    return [
      { what: 'logits', bytes: this.#bytes(piece * numTokens), how },
      { what: 'gradients', bytes: ends, how: `of hidden states${this.#trains ? ' and embedding' : ''}` },
    ];
  }

  /** A forward pass without a graph, which keeps nothing. */
  forward(): MemoryItem[] {
    const { dim } = this.#model;
    const { projected, mixed } = widthsOf(this.#model);
    const bytes = this.#matrices([dim, dim, dim, projected, mixed]) + (this.#fused ? 0 : this.#plainScores(2));
    return [{ what: 'one layer', bytes, how: `${count(this.#rows)} tokens × (${projected + mixed} + 3 × ${dim})` }];
  }

  #keptByFused(): number {
    const { dim, recompute } = this.#model;
    const { queries, projected, mixed } = widthsOf(this.#model);
    if (recompute === 'full') return this.#matrices([dim]);
    const kept = recompute === 'none' ? [dim, dim, projected, mixed] : [dim, projected, queries];
    return this.#matrices([...kept, ...this.#moreOfSequential(recompute)]) + this.#statistics();
  }

  /** What a sequential block has besides: the sum in its middle, that normalised, normalised queries and keys. */
  #moreOfSequential(recompute: 'none' | 'selective' | 'full'): number[] {
    const { dim, parallel, qkNorm } = this.#model;
    const { queries, keys } = widthsOf(this.#model);
    return parallel ? [] : [dim, ...(recompute === 'selective' ? [] : [dim]), ...(qkNorm ? [queries + keys] : [])];
  }

  #backwardOfFused(): number {
    const { dim, recompute, parallel, ff } = this.#model;
    const { projected, mixed } = widthsOf(this.#model);
    const gradients = this.#matrices([dim, dim, dim, projected, mixed]);
    if (recompute === 'none') return gradients;
    if (recompute === 'selective') return gradients + this.#matrices(parallel ? [dim, mixed] : [dim, dim, ff]);
    return gradients + this.#matrices([dim, projected, mixed, ...this.#moreOfSequential('full')]) + this.#statistics();
  }

  /** Everything that autograd saves, including the attention weights. */
  #keptByPlain(): number {
    const { dim, ff, qkNorm, attnDropout, ffDropout } = this.#model;
    const { queries, keys, projected, mixed } = widthsOf(this.#model);
    const dropped = ffDropout > 0 ? [ff] : [];
    const scaled = qkNorm !== undefined ? [queries, queries, keys, keys] : [];
    const scores = this.#plainScores(attnDropout > 0 ? 3 : 1) + block(this.#length ** 2);
    return this.#matrices([dim, dim, projected, queries, keys, ff, mixed, ...dropped, ...scaled]) + scores;
  }

  /** Autograd frees what it kept for an operation once that is differentiated, so little comes on top. */
  #backwardOfPlain(): number {
    const { dim } = this.#model;
    const { mixed } = widthsOf(this.#model);
    return Math.max(this.#matrices([dim, dim, mixed]), this.#plainScores(2));
  }

  /** Statistics of layer norm and softmax, in float32. */
  #statistics(): number {
    return (this.#model.parallel ? 2 : 4) * block(this.#rows * 4) + block(this.#rows * this.#model.heads * 4);
  }

  #plainScores(copies: number): number {
    return copies * this.#bytes(this.#rows * this.#model.heads * this.#length);
  }

  /** Matrices with a row for every token, in the model's precision. */
  #matrices(widths: number[]): number {
    return widths.reduce((total, width) => total + this.#bytes(this.#rows * width), 0);
  }

  #bytes(numbers: number): number {
    return block(numbers * bytesEach(this.#model));
  }

  /** The same for gradients of weights, in at least float32. */
  #precise(numbers: number): number {
    return block(numbers * Math.max(bytesEach(this.#model), 4));
  }
}

export function count(number: number): string {
  return number.toLocaleString('en-US');
}
