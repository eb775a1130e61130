/** A language model that answers many requests at once: its slots, and the turns of their scheduler. */
import { setTimeout as delay } from 'node:timers/promises';
import type { LanguageModel } from '../models/language-model.ts';
import { Slots, type SlotsOptions } from '../models/slots.ts';
import { type Policy, Scheduler, type Turn } from './scheduler.ts';

export interface EngineOptions {
  slots: Omit<SlotsOptions, 'slots'>;
  policy: Policy;
  onTurn: (turn: Turn) => void;
  /** Told of failures that no client understands; the engine goes on. */
  onError: (error: unknown) => void;
  /** Told why the engine cannot go on. */
  onBroken: (error: unknown) => void;
}

/** How often to look whether all answers have ended, in milliseconds. */
const DRAIN_MS = 20;

export class Engine {
  readonly scheduler: Scheduler;
  readonly #model: LanguageModel;
  readonly #slots: Slots;
  readonly #stop = new AbortController();
  readonly #turning: Promise<void>;
  /** When answers that have not ended are ended. */
  #late = Number.POSITIVE_INFINITY;
  #closing: Promise<void> | undefined;

  private constructor(model: LanguageModel, slots: Slots, { policy, onTurn, onError, onBroken }: EngineOptions) {
    this.#model = model;
    this.#slots = slots;
    this.scheduler = new Scheduler(slots, policy, () => performance.now(), onError);
    this.#turning = this.#turns(onTurn).catch((error: unknown) => {
      this.scheduler.refuseAll();
      onBroken(error);
    });
  }

  /** Takes over `model`, which ends with the engine. @throws OutOfMemoryError if the slots do not fit beside it */
  static async start(model: LanguageModel, options: EngineOptions): Promise<Engine> {
    const slots = await Slots.create(model, { ...options.slots, slots: options.policy.slots });
    return new Engine(model, slots, options);
  }

  async #turns(onTurn: (turn: Turn) => void): Promise<void> {
    for await (const turn of this.scheduler.turns(this.#stop.signal)) onTurn(turn);
  }

  /**
   * Waits until all answers have ended, for at most `grace` milliseconds, ends those that have not, and frees the memory. Called again,
   * it may end them earlier.
   */
  close(grace: number): Promise<void> {
    this.#late = Math.min(this.#late, performance.now() + grace);
    this.#closing ??= this.#end();
    return this.#closing;
  }

  async #end(): Promise<void> {
    while (this.scheduler.waiting + this.scheduler.running > 0 && performance.now() < this.#late) await delay(DRAIN_MS);
    this.scheduler.refuseAll();
    this.#stop.abort();
    await this.#turning;
    this.scheduler.refuseAll(); // those that were being admitted
    this.#slots.dispose();
    this.#model.dispose();
  }
}
