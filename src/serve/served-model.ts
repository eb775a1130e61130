/** A model as a server has it: its name, its text, and the scheduler of its slots. */
import type { Chat } from '../tokenizer/chat.ts';
import type { Tokenizer } from '../tokenizer/tokenizer.ts';
import type { Scheduler } from './scheduler.ts';

export interface ServedModel {
  /** What requests call it. */
  name: string;
  /** Seconds since 1970. */
  created: number;
  tokenizer: Tokenizer;
  /** Undefined for a model without a chat template. */
  chat: Chat | undefined;
  /** The number of tokens that the model can draw. */
  vocabulary: number;
  /** Tokens that end an answer. */
  endTokens: readonly number[];
  /** Tokens of a prompt and its answer together. */
  capacity: number;
  /** The adapters to answer with; undefined: none. */
  scope: string | undefined;
  scheduler: Scheduler;
  /** Names the weights, the library and the kernels: the same bits come from the same one. */
  fingerprint: string;
}
