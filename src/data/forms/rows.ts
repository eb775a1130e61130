/** What every form of feedback becomes: one of nine kinds of rows, still as text. */

/** Fields of a record that its row has no place for, by their names; nothing is dropped. */
export type Meta = Readonly<Record<string, unknown>>;

export type Role = 'system' | 'user' | 'assistant' | 'tool';

/** A message of a dialogue. */
export interface Turn {
  role: Role;
  content: string;
  /** False for a message of the assistant that is not to be learned. */
  train?: boolean;
  meta?: Meta;
}

/** What was asked: a text that the response continues, or a dialogue whose next message is the response. */
export type Asked = string | readonly Turn[];

export interface TextRow {
  kind: 'text';
  text: string;
  meta: Meta;
}

/** A whole dialogue. */
export interface TurnsRow {
  kind: 'turns';
  turns: readonly Turn[];
  tools?: unknown;
  meta: Meta;
}

export interface PromptRow {
  kind: 'prompt';
  prompt: Asked;
  meta: Meta;
}

export interface CompletionRow {
  kind: 'completion';
  prompt: Asked;
  response: string;
  weight?: number;
  reward?: number;
  meta: Meta;
}

export interface PairRow {
  kind: 'pair';
  prompt: Asked;
  chosen: string;
  rejected: string;
  /** How much better the chosen response is, in the scale of whoever judged. */
  margin?: number;
  /** How sure the annotator was, in their scale. */
  confidence?: number;
  annotator?: string;
  /** Share of the prompt that this pair is: one over the pairs of its ranking. */
  weight?: number;
  meta: Meta;
}

/** Responses in order: `rank[i]` is the place of `responses[i]`, smaller is better, equal is a tie. */
export interface RankingRow {
  kind: 'ranking';
  prompt: Asked;
  responses: readonly string[];
  rank: readonly number[];
  /** True if none of the responses is good. */
  noneGood?: boolean;
  annotator?: string;
  meta: Meta;
}

export interface RatingRow {
  kind: 'rating';
  prompt: Asked;
  response: string;
  /** Numbers by what they rate, such as `helpfulness`. */
  ratings: Readonly<Record<string, number>>;
  /** The lowest and the highest possible rating. */
  scale?: readonly [lowest: number, highest: number];
  meta: Meta;
}

export interface LabelRow {
  kind: 'label';
  prompt: Asked;
  response: string;
  good: boolean;
  meta: Meta;
}

export interface Step {
  text: string;
  /** Whether the step is right; null if the annotator left that open. */
  good: boolean | null;
  /** Whether the annotator found it neither right nor wrong; `good` is then null. */
  neutral?: true;
}

/** A solution in steps, each judged. */
export interface StepsRow {
  kind: 'steps';
  prompt: Asked;
  steps: readonly Step[];
  meta: Meta;
}

export type FormRow =
  | TextRow
  | TurnsRow
  | PromptRow
  | CompletionRow
  | PairRow
  | RankingRow
  | RatingRow
  | LabelRow
  | StepsRow;
export type RowKind = FormRow['kind'];
export type RowOf<K extends RowKind> = Extract<FormRow, { kind: K }>;
