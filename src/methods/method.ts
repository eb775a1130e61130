/** What a method of training is to those who run one: its configuration, how it is opened, and what a run of it changes. */
import type { z } from 'zod';
import type { Stateful } from '../checkpoint/parts.ts';
import type { ConfigSchema } from '../config/schema.ts';
import type { Numbers } from '../metrics/metrics.ts';
import type { MemoryPlan } from '../models/memory-plan.ts';
import type { Saveable } from '../tensor/tensor-files.ts';
import type { Tokenizer } from '../tokenizer/tokenizer.ts';
import type { SpikeOptions } from '../trainers/spikes.ts';

/** What the configuration of every method has; all of it is saved. */
export interface RunConfig {
  /** The folder of the run. */
  out: string;
  device: string;
  checkpoint: { every: number; keep: number; spikes?: SpikeOptions | undefined };
}

/** A training in memory. */
export interface Assembled {
  /** The steps of the whole training. */
  steps: number;
  /** All that changes from step to step: the model as `weights`, which is left at the end, and everything else by name. */
  parts: { weights: Saveable } & Record<string, Saveable | Stateful | undefined>;
  /** The steps after the first `start`. Where `signal` is aborted before a step has changed weights, it throws the reason. */
  train(start?: number, signal?: AbortSignal): AsyncGenerator<{ readonly step: number; readonly timing?: Numbers }>;
}

/** A training of a configuration's files, and what a run notes of it. */
export interface Training extends Assembled {
  /** The configuration, with what was chosen where it leaves a choice. */
  config: RunConfig;
  /** Noted in the model's files, and kept in the run. */
  tokenizer: Tokenizer;
  /** The files that decide the numbers, by the option that names them. */
  inputs: Readonly<Record<string, string | undefined>>;
  /** How many rows of the data were used, held out, cut. */
  rows: Readonly<Record<string, number>>;
  /** How large things are, in words that follow the number. */
  sizes: Readonly<Record<string, number>>;
}

/** A configuration whose files were read and found to fit; no model was made. */
export interface Opened {
  plan: MemoryPlan;
  /** Lines that a person should read: what is not used of the data, and warnings. */
  notices: readonly string[];
  /** Makes the models and all that trains them. */
  start(): Promise<Training>;
}

/** A schema with the fields of a RunConfig. */
export type RunSchema = ConfigSchema & z.ZodType<RunConfig>;

/** A way to train. It becomes a command by its row in methods.ts. */
export interface Method<Schema extends RunSchema = RunSchema> {
  /** What it does, for the list of commands. */
  readonly summary: string;
  readonly schema: Schema;
  /** What 0.1.0 did where the configuration of its run lacks the key: the run is resumed with that. */
  readonly before?: Readonly<Record<string, unknown>>;
  /** Reads what `config` names. @throws what is wrong with files and settings, before anything is made */
  open(config: z.output<Schema>): Promise<Opened>;
  /**
   * A training of what is in memory already, the same as that of a run with such files; each method says of what. The optimizer that
   * is made for it is the caller's to dispose of.
   */
  assemble(config: never, ingredients: never): Assembled;
}
