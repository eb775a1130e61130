/** What takes memory in a run: the sums that all plans share. */
import { ATTENTION_SITES } from '../families/family.ts';
import type { DecoderDescription } from '../native/addon.ts';
import { block } from './memory-block.ts';
import { countAdapters, countParameters } from './parameter-shapes.ts';
import type { Trained } from './trained.ts';

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

export function planOf(always: MemoryItem[], moments: MemoryMoment[]): MemoryPlan {
  const largest = Math.max(...moments.map(({ items }) => sum(items)));
  return { always, moments, totalBytes: sum(always) + largest };
}

/** The bytes of all `items` together. */
export function sum(items: readonly MemoryItem[]): number {
  return items.reduce((total, { bytes }) => total + bytes, 0);
}

/** A number with thousands separated. */
export function count(number: number): string {
  return number.toLocaleString('en-US');
}

/** Bytes per value. */
export const BYTES = { float32: 4, bfloat16: 2, float64: 8 } as const;

/** Bytes per value of the model. */
export function bytesEach({ dtype }: PlannedModel): number {
  return BYTES[dtype as keyof typeof BYTES];
}

/** Weights of a model: how many, and their bytes with `each` bytes per value. */
interface Weights {
  numbers: number;
  bytes(each: number): number;
}

/** The weights of the model, or with `layers` those of its top layers and after them. Each layer has a buffer of its own. */
function weightsOf(model: PlannedModel, layers?: number): Weights {
  const { front, layer, back } = countParameters(model);
  const [before, count] = layers === undefined ? [front, model.depth] : [0, layers];
  return {
    numbers: before + count * layer + back,
    bytes: (each) => block(before * each) + count * block(layer * each) + block(back * each),
  };
}

/** All weights of a model. */
export function weightsItem(what: string, model: PlannedModel, also?: string): MemoryItem {
  return itemOf(what, weightsOf(model), bytesEach(model), also);
}

/** A copy of those weights of the model itself that are trained: what a reference policy needs. */
export function copyItem(what: string, model: PlannedModel, { numLayersUnfrozen }: Trained): MemoryItem {
  return itemOf(what, weightsOf(model, numLayersUnfrozen), bytesEach(model));
}

function itemOf(what: string, { numbers, bytes }: Weights, each: number, also?: string): MemoryItem {
  return { what, bytes: bytes(each), how: also ?? `${count(numbers)} values × ${each} bytes` };
}

/** What training adds: gradients and AdamW's state, in at least float32. `bytes` is the total for a given size per value. */
export function trainingItems(model: PlannedModel, { numbers, bytes }: Weights): MemoryItem[] {
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

/** What `scopes` scopes need, including their training; without LoRA, what training the model's own weights needs. */
export function trainedItems(model: PlannedModel, { lora, numLayersUnfrozen }: Trained, scopes: number): MemoryItem[] {
  if (lora === false) return trainingItems(model, weightsOf(model, numLayersUnfrozen));
  const numbers = countAdapters(model, ATTENTION_SITES, lora);
  const adapters = { numbers: scopes * numbers, bytes: (each: number) => scopes * block(numbers * each) };
  return [itemOf('adapters', adapters, bytesEach(model)), ...trainingItems(model, adapters)];
}

/** An id, seven float32 values and a flag per token. */
export function rolloutItem(rows: number, length: number): MemoryItem {
  return {
    what: 'rollout',
    bytes: rows * length * 37,
    how: `${count(rows)} rows × ${count(length)} tokens × 37 bytes`,
  };
}

/** Keys and values of every layer for `rows` of up to `length` tokens. */
export function cacheItem(what: string, model: PlannedModel, rows: number, length: number): MemoryItem {
  const { depth } = model;
  const { keys } = widthsOf(model);
  const bytes = 2 * block(depth * rows * length * keys * bytesEach(model));
  return { what, bytes, how: `2 × ${depth} layers × ${count(rows)} rows × ${count(length)} tokens × ${keys}` };
}

/** Logits of the next token, and the sampler's copy of them. */
export function nextTokenItem({ numTokens }: PlannedModel, rows: number): MemoryItem {
  const bytes = 2 * block(rows * numTokens * 4);
  return { what: 'next token', bytes, how: `2 × ${count(rows)} rows × ${count(numTokens)} × 4 bytes` };
}

/** Numbers per token. */
interface Widths {
  queries: number; // of all heads
  keys: number; // of all heads; values are as wide
  projected: number; // output of a layer's first product: queries, keys, values, both halves of the feed-forward
  mixed: number; // input of its second product
}

export function widthsOf({ heads, kvHeads, dimHead, ff, gated }: PlannedModel): Widths {
  const [queries, keys] = [heads * dimHead, kvHeads * dimHead];
  return { queries, keys, projected: queries + 2 * keys + (gated ? 2 : 1) * ff, mixed: queries + ff };
}
