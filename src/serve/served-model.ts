/** What a server offers by name: language models, which answer, and reward models, which score answers. */
import type { ModelText } from '../runs/model-file.ts';
import type { Judge } from '../trainers/combined-reward.ts';
import type { Scheduler } from './scheduler.ts';

/** What all models have. */
export interface Offered {
  /** What requests call it. */
  name: string;
  /** Seconds since 1970. */
  created: number;
  /** Its tokenizer, and its chat template if it has one. */
  text: ModelText;
  /** Tokens of a prompt and its answer together. */
  capacity: number;
  /** Names the weights, the library and the kernels: the same bits come from the same one. */
  fingerprint: string;
}

/** A language model, with the adapters of one scope or without any. */
export interface ServedModel extends Offered {
  /** The number of tokens that the model can draw. */
  vocabulary: number;
  /** Tokens that end an answer. */
  endTokens: readonly number[];
  /** The adapters to answer with; undefined: none. */
  scope: string | undefined;
  scheduler: Scheduler;
}

/** A reward model. */
export interface ServedJudge extends Offered {
  judge: Judge;
}

/** All that one file or folder gives: a model by its name and by those of its adapters, or a reward model. */
export interface Loaded {
  models: readonly ServedModel[];
  judges: readonly ServedJudge[];
  /** Waits for at most `grace` milliseconds until all answers have ended, and frees the memory. */
  close(grace: number): Promise<void>;
}
