/** What forward and backward passes of a model need in memory. */
import { addon } from '../native/addon.ts';
import { block } from './memory-block.ts';
import { bytesEach, count, type MemoryItem, type PlannedModel, widthsOf } from './memory-items.ts';
import type { Trained } from './trained.ts';

/** Whether the fused blocks support this model; if not, autograd differentiates the plain blocks and keeps much more. */
export function isFused(model: PlannedModel): boolean {
  return addon().decoderFallbacks(model).training === undefined;
}

/** Passes of `model` over `batch` rows of `length` tokens, which may train some of its weights. */
export class Reading {
  readonly #model: PlannedModel;
  readonly #rows: number;
  readonly #length: number;
  readonly #trains: boolean;
  /** Whether those before the layers are trained too. */
  readonly #trainsFront: boolean;
  /** The layers that a graph covers. */
  readonly #layers: number;
  readonly #fused: boolean;

  constructor(model: PlannedModel, batch: number, length: number, { lora, numLayersUnfrozen }: Trained) {
    this.#model = model;
    this.#rows = batch * length;
    this.#length = length;
    this.#trains = lora === false;
    this.#trainsFront = this.#trains && numLayersUnfrozen === undefined;
    this.#layers = numLayersUnfrozen ?? model.depth;
    this.#fused = isFused(model) && model.attnDropout === 0 && model.ffDropout === 0;
  }

  /** What a graph keeps of every layer until its backward pass, for `readings` such graphs. */
  kept(readings = 1): MemoryItem[] {
    const layers = this.#layers;
    const { recompute } = this.#model;
    const layer = this.#fused ? this.#keptByFused() : this.#keptByPlain();
    const level = this.#fused ? `recompute ${recompute}` : 'without fused kernels';
    const how = `${readings === 1 ? '' : `${readings} readings × `}${layers} layers × ${count(this.#rows)} tokens, ${level}`;
    const ends = this.#matrices([this.#model.dim]) * (2 * readings - 2); // ends of the passes that wait for their backward pass
    return [{ what: 'activations', bytes: readings * layers * layer + ends, how }];
  }

  /** The layer being differentiated: recomputed matrices, their gradients, and the gradients of its weights. */
  backward(): MemoryItem[] {
    const { dim, numTokens } = this.#model;
    const { projected, mixed } = widthsOf(this.#model);
    const bytes = this.#fused ? this.#backwardOfFused() : this.#backwardOfPlain();
    const items = [{ what: 'one layer', bytes, how: `gradients of ${count(this.#rows)} tokens, recomputed matrices` }];
    if (this.#trains) {
      const embedding = this.#trainsFront ? numTokens * dim : 0;
      const bytes = [dim * projected, dim * mixed, embedding].reduce((total, n) => total + this.#precise(n), 0);
      const how = `${count(dim * (projected + mixed))} of a layer, ${count(embedding)} of the embedding`;
      items.push({ what: 'weight gradients', bytes, how });
    }
    return items;
  }

  /** The head: logits in pieces, and the gradients that are computed before those of the layers. */
  head(): MemoryItem[] {
    const { dim, numTokens, tied } = this.#model;
    const trained = tied ? this.#trainsFront : this.#trains;
    const piece = Math.min(this.#rows, Math.floor(2 ** 25 / numTokens));
    const how = `${count(piece)} of ${count(this.#rows)} tokens × ${count(numTokens)}`;
    const ends = (trained ? this.#precise(numTokens * dim) : 0) + this.#matrices([dim, dim, dim]);
    return [
      { what: 'logits', bytes: this.#bytes(piece * numTokens), how },
      { what: 'gradients', bytes: ends, how: `of hidden states${trained ? ' and head' : ''}` },
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
    const gradients = this.#gradientsOfFused();
    if (recompute === 'none') return gradients;
    if (recompute === 'selective') return gradients + this.#matrices(parallel ? [dim, mixed] : [dim, dim, ff]);
    return gradients + this.#matrices([dim, projected, mixed, ...this.#moreOfSequential('full')]) + this.#statistics();
  }

  /** Of the matrices that are differentiated at once: sequential blocks do one half after the other. */
  #gradientsOfFused(): number {
    const { dim, parallel, ff } = this.#model;
    const { queries, keys, projected, mixed } = widthsOf(this.#model);
    const ends = [dim, dim, dim];
    if (parallel) return this.#matrices([...ends, projected, mixed]);
    const halves = [
      [queries, queries + 2 * keys],
      [ff, projected - queries - 2 * keys],
    ];
    return Math.max(...halves.map((half) => this.#matrices([...ends, ...half])));
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
