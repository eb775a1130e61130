import { printable } from '../../errors.ts';

/** Exceeds every token id, so that `left * TOKENS + right` identifies a pair, and every text length. */
const TOKENS = 2 ** 24;
const PLACES = 2 ** 30;

/** The pairs of tokens to merge, in order of priority. */
export class Merges {
  /** The rank of each pair, and the merged token of each rank. */
  private readonly ranks = new Map<number, number>();
  private readonly merged: number[] = [];

  /**
   * @param merges two tokens each: in a list, or separated by a space
   * @param prefixLength the number of leading characters of the second token that merging drops
   * @throws Error if a token or a merged pair is not in the vocabulary.
   */
  constructor(merges: readonly unknown[], vocabulary: ReadonlyMap<string, number>, prefixLength: number) {
    const tokenOf = (name: string) => vocabulary.get(name) ?? outOfVocabulary(name);
    if (new Set(merges.map((merge) => typeof merge)).size > 1) throw new Error('merges in two different formats');
    merges.forEach((merge, rank) => {
      const [left, right] = readMerge(merge);
      this.ranks.set(tokenOf(left) * TOKENS + tokenOf(right), rank);
      this.merged.push(tokenOf(left + right.slice(prefixLength)));
    });
  }

  /** Applies all merges to `tokens`; of equal pairs, the leftmost first. */
  apply(tokens: number[]): number[] {
    const { length } = tokens;
    const next = Int32Array.from({ length }, (_, place) => (place + 1 < length ? place + 1 : -1));
    const previous = Int32Array.from({ length }, (_, place) => place - 1);
    const gone = new Uint8Array(length);
    const queue = new Queue();
    const consider = (place: number) => {
      const rank = place < 0 || next[place] === -1 ? undefined : this.rankOf(tokens, place, next[place] as number);
      if (rank !== undefined) queue.push(rank * PLACES + place);
    };
    for (let place = 0; place + 1 < length; place++) consider(place);
    for (let entry = queue.pop(); entry !== undefined; entry = queue.pop()) {
      const rank = Math.floor(entry / PLACES);
      const place = entry % PLACES;
      const right = next[place] as number;
      if (gone[place] === 1 || right === -1) continue;
      // The pair at this position may have changed since it was queued.
      const now = this.rankOf(tokens, place, right);
      if (now === undefined || this.merged[now] !== this.merged[rank]) continue;
      tokens[place] = this.merged[now] as number;
      gone[right] = 1;
      next[place] = next[right] as number;
      if (next[place] !== -1) previous[next[place] as number] = place;
      consider(previous[place] as number);
      consider(place);
    }
    return tokens.filter((_, place) => gone[place] === 0);
  }

  private rankOf(tokens: number[], left: number, right: number): number | undefined {
    return this.ranks.get((tokens[left] as number) * TOKENS + (tokens[right] as number));
  }
}

/** A min-heap of numbers. */
class Queue {
  private readonly heap: number[] = [];

  push(entry: number): void {
    const { heap } = this;
    let at = heap.length;
    for (let above = (at - 1) >> 1; at > 0 && (heap[above] as number) > entry; above = (at - 1) >> 1) {
      heap[at] = heap[above] as number;
      at = above;
    }
    heap[at] = entry;
  }

  pop(): number | undefined {
    const { heap } = this;
    const first = heap[0];
    const last = heap.pop();
    if (last === undefined || heap.length === 0) return first;
    let at = 0;
    for (let below = 1; below < heap.length; below = 2 * at + 1) {
      if (below + 1 < heap.length && (heap[below + 1] as number) < (heap[below] as number)) below++;
      if ((heap[below] as number) >= last) break;
      heap[at] = heap[below] as number;
      at = below;
    }
    heap[at] = last;
    return first;
  }
}

function readMerge(merge: unknown): [string, string] {
  const parts = typeof merge === 'string' ? merge.split(' ') : merge;
  if (Array.isArray(parts) && parts.length === 2 && parts.every((part) => typeof part === 'string'))
    return parts as [string, string];
  throw new Error(`the merge ${printable(merge)}, which is not two tokens`);
}

function outOfVocabulary(name: string): never {
  throw new Error(`a merge with ${printable(name)}, which is not in the vocabulary`);
}
