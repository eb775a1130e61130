/** Answers that begin and end at different times and are computed together: what a server generates with. */
import { addon, type CancelHandle, type RowOptions, type RowProgress, type SlotsHandle } from '../native/addon.ts';
import { handleOf, Resource, run } from '../native/resource.ts';
import type { LanguageModel } from './language-model.ts';

export type { RowOptions, RowProgress } from '../native/addon.ts';

/** How many answers are computed at once, and what they may need. */
export interface SlotsOptions {
  /** Answers at once. */
  slots: number;
  /** Tokens of a prompt and its answer together. */
  capacity: number;
  /** Tokens that are never drawn. */
  suppress?: readonly number[];
  /** Weights rounded to 8 bits; a CPU only. */
  int8?: boolean;
}

/** Prompts with the rows that answer them. */
export interface Admission {
  /** A name for each row. */
  rows: number[];
  /** Tokens of the prompt that need not be read: some slot has begun with the same ones. */
  cached: number;
}

/**
 * Rows that come and go between two tokens. What a row answers depends on the model, its prompt and its options alone: on the CPU
 * bit for bit, whatever other rows there are, and whatever was cached.
 */
export class Slots extends Resource<SlotsHandle> {
  readonly #model: LanguageModel;
  readonly #cancels = new Map<number, CancelHandle>();

  private constructor(handle: SlotsHandle, model: LanguageModel) {
    super(handle, 'Slots');
    this.#model = model;
  }

  /**
   * Allocates the slots. The model must stay as it is while they are used.
   * @throws OutOfMemoryError if the keys and values do not fit in memory.
   * @throws ArgumentError for `int8` with a model that has no fast decoding.
   */
  static async create(model: LanguageModel, options: SlotsOptions): Promise<Slots> {
    const { slots, capacity, suppress = [], int8 = false } = options;
    const create = () => addon().slotsCreate(handleOf(model), slots, capacity, suppress, int8);
    return new Slots(await run([model], create), model);
  }

  /**
   * Takes a free slot for each of `rows`, answers to one prompt, with the adapters of a scope.
   * @throws ArgumentError if fewer slots are free, an answer may not fit, or a token does not exist.
   */
  async admit(prompt: readonly number[], rows: readonly RowOptions[], scope?: string): Promise<Admission> {
    const adapters = scope === undefined ? undefined : this.#model.scopeHandle(scope);
    const cancels = rows.map(() => addon().cancelCreate());
    try {
      const admit = () => addon().slotsAdmit(handleOf(this), prompt, adapters, rows, cancels);
      const admission = await run([this, this.#model], admit);
      for (const [i, row] of admission.rows.entries()) this.#cancels.set(row, cancels[i] as CancelHandle);
      return admission;
    } catch (error) {
      for (const cancel of cancels) addon().dispose(cancel);
      throw error;
    }
  }

  /** Ends a row before its next token, even while `advance` runs. Rows that have ended are ignored. */
  end(row: number): void {
    const cancel = this.#cancels.get(row);
    if (cancel !== undefined) addon().cancel(cancel);
  }

  /**
   * Reads about `promptTokens` tokens of prompts, those of rows that come first in `order` first, then draws up to `tokens` tokens
   * for every row whose prompt is read. Returns the rows to which something happened; those that ended are forgotten.
   */
  async advance(order: readonly number[], promptTokens: number, tokens: number): Promise<RowProgress[]> {
    const advance = () => addon().slotsAdvance(handleOf(this), order, promptTokens, tokens);
    const progress = await run([this, this.#model], advance);
    for (const { row, ended } of progress) if (ended !== 'no') this.#forget(row);
    return progress;
  }

  protected override release(handle: SlotsHandle): void {
    for (const row of this.#cancels.keys()) this.#forget(row);
    super.release(handle);
  }

  #forget(row: number): void {
    const cancel = this.#cancels.get(row);
    if (cancel !== undefined) addon().dispose(cancel);
    this.#cancels.delete(row);
  }
}
