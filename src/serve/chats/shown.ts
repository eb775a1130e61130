/** What pages get: types without any code, for both sides. */

export interface ShownChat {
  id: string;
  title: string;
  /** Whether it may be used for training. */
  training: boolean;
  created: string;
}
export interface ShownUser {
  id: string;
  parent: string | null;
  role: 'user';
  text: string;
}
export interface ShownAnswer {
  id: string;
  parent: string;
  role: 'assistant';
  text: string;
  /** What the answers that were asked for at once share, and the place among them. */
  turn: string;
  place: number;
  state: 'in_progress' | 'complete' | 'stopped' | 'failed' | 'lost';
  finish: 'stop' | 'length' | null;
  /** Whether it was said to be the better one; null while nobody has said anything about its turn. */
  picked: boolean | null;
  vote: -1 | 0 | 1;
  /** Null while nobody may know it. */
  model: string | null;
}
export type ShownMessage = ShownUser | ShownAnswer;

/** How rows draw, as the fields of the API say it. */
export interface ShownSampling {
  temperature?: number | null | undefined;
  top_p?: number | null | undefined;
  top_k?: number | null | undefined;
  min_p?: number | null | undefined;
  frequency_penalty?: number | null | undefined;
  presence_penalty?: number | null | undefined;
  repetition_penalty?: number | null | undefined;
  stop?: string | string[] | null | undefined;
  max_tokens?: number | null | undefined;
  seed?: number | null | undefined;
}
export interface ShownParameters {
  models: string[];
  n: number;
  system: string | null;
  sampling: ShownSampling;
}
export interface ShownTree extends ShownChat {
  parameters: ShownParameters;
  /** The message with which the thread that is shown ends. */
  leaf: string | null;
  messages: ShownMessage[];
}
/** A model that can be asked. */
export interface ShownModel {
  name: string;
  /** Whether a chat template writes the conversation, or it is one text that goes on. */
  form: 'messages' | 'text';
}

/** What a reader is told about a turn. */
export type TurnEvent =
  /** It is stored: the message and its answers, which are empty. */
  | { type: 'turn'; messages: ShownMessage[] }
  | { type: 'text'; id: string; text: string }
  /** It has ended, and is stored. */
  | { type: 'done'; messages: ShownMessage[]; error: string | null };

/** The request of the API that gives an answer again, and which of its choices it is. */
export interface ShownRequest {
  path: string;
  body: object;
  choice: number;
}
