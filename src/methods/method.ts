/** The interface of a training method: its configuration, how to open it, and the state that a run of it changes. */
import type * as z from 'zod';
import type { Stateful } from '../checkpoint/parts.ts';
import type { EvaluationConfig } from '../config/evaluation.ts';
import type { ConfigSchema } from '../config/schema.ts';
import type { Numbers } from '../metrics/metrics.ts';
import type { MemoryPlan } from '../models/memory-items.ts';
import type { Saveable } from '../tensor/tensor-files.ts';
import type { ModelText } from '../runs/model-file.ts';
import type { SpikeOptions } from '../trainers/spikes.ts';

/** Fields in the configuration of every method. A run saves its whole configuration. */
export interface RunConfig {
  /** The run folder. */
  out: string;
  device: string;
  checkpoint: { every: number; keep: number; spikes?: SpikeOptions | undefined };
  evaluation: EvaluationConfig;
}

/** A training run, assembled in memory. */
export interface Assembled {
  /** Total number of steps. */
  steps: number;
  /** All state that changes from step to step: the model as `weights`, which is the result, and everything else by name. */
  parts: { weights: Saveable } & Record<string, Saveable | Stateful | undefined>;
  /** Runs the steps after the first `start`. If `signal` is aborted before a step has changed weights, throws its reason. */
  train(start?: number, signal?: AbortSignal): AsyncGenerator<{ readonly step: number; readonly timing?: Numbers }>;
}

/** A training run of the files that a configuration names, and what is recorded about it. */
export interface Training extends Assembled {
  /** The configuration, with the options it left open filled in. */
  config: RunConfig;
  /** Recorded in the model's files and in the run. */
  tokenizer: ModelText;
  /** The files that the results depend on, by the option that names them. */
  inputs: Readonly<Record<string, string | readonly string[] | undefined>>;
  /** How many rows of the data were used, held out and truncated. */
  rows: Readonly<Record<string, number>>;
  /** Sizes to print, by the words that follow the number. */
  sizes: Readonly<Record<string, number>>;
}

/** A configuration whose files have been read and checked; no model exists yet. */
export interface Opened {
  plan: MemoryPlan;
  /** Lines for the user: which data is not used, and warnings. */
  notices: readonly string[];
  /** Creates the models and everything that trains them. */
  start(): Promise<Training>;
}

/** A schema with the fields of a RunConfig. */
export type RunSchema = ConfigSchema & z.ZodType<RunConfig>;

/** A way to train. Its row in methods.ts makes it a command. */
export interface Method<Schema extends RunSchema = RunSchema> {
  /** What it does, for the list of commands. */
  readonly summary: string;
  /** Names of at most five metrics that tell how a run goes, the most important first. */
  readonly watched: readonly string[];
  readonly schema: Schema;
  /** Brings the saved configuration of a 0.1.0 run to today's form; the run is resumed with the result. */
  before?(saved: Readonly<Record<string, unknown>>): Record<string, unknown>;
  /** Reads the files that `config` names. @throws for any error in files or settings, before anything is created. */
  open(config: z.output<Schema>): Promise<Opened>;
  /**
   * Assembles a training run from objects in memory; it equals a run of files with the same content. Each method defines its
   * ingredients. The caller must dispose of the optimizer that is created.
   */
  assemble(config: never, ingredients: never): Assembled;
}
