/** The forms of feedback: how each is recognised and which rows it gives. The first form that fits a record is its form. */
import type { Kind } from '../../checks/kinds.ts';
import {
  ASKED,
  BOOLEAN,
  type DataObject,
  type FormRows,
  ID,
  isObject,
  listOf,
  MESSAGES,
  NUMBER,
  OBJECT,
  oneOf,
  TEXT,
} from './fields.ts';
import { HELPSTEER, helpsteer, label, oneRating, ranking, rating, ultrafeedback } from './judged.ts';
import { type Placed, thread, tree, treesOf } from './oasst.ts';
import {
  conversationalPreference,
  helpsteer2,
  helpsteer3,
  implicitPreference,
  openaiPreference,
  preference,
  shp,
  summarize,
} from './pairs.ts';
import type { RowKind } from './rows.ts';
import { prm800k, stepwise } from './steps.ts';
import { alpaca, completion, messages, prompt, sharegpt, text } from './texts.ts';

/** A form of feedback. */
export interface Form {
  readonly name: string;
  /** The fields that every record has, by their paths. */
  readonly needs: Readonly<Record<string, Kind>>;
  /** The kinds of rows that a record may give. */
  readonly gives: readonly RowKind[];
  /** What else the first record must look like. */
  readonly looks?: (record: DataObject) => boolean;
  /** Makes records of others, for a form whose records belong together; it sees all of them. */
  readonly gather?: (records: readonly Placed[]) => Placed[];
  /** The rows of a record that has what is needed. @throws WrongField for a value that no row may have */
  readonly read: (record: DataObject) => FormRows;
}

/** Whether a text is a dialogue as hh-rlhf writes it. */
function isTranscript(text: unknown): boolean {
  const human = (text as string).indexOf('\n\nHuman:');
  return human >= 0 && (text as string).indexOf('\n\nAssistant:', human) >= 0;
}

const OASST_MESSAGE: Kind = {
  is: (value) => isObject(value) && ID.is(value.message_id) && TEXT.is(value.text) && TEXT.is(value.role),
  words: 'a message with message_id, role and text',
};
const RATED: Kind = {
  is: (value) => isObject(value) && TEXT.is(value.response),
  words: 'a completion with a response',
};
const SUMMARY: Kind = { is: (value) => isObject(value) && TEXT.is(value.text), words: 'a summary with a text' };
const MAYBE: Kind = {
  is: (value) => value === null || value === 'neutral' || BOOLEAN.is(value),
  words: "true, false, 'neutral' or null",
};
const CHOICE = oneOf(0, 1, '0', '1');

/** All forms, in the order in which they are tried. */
export const FORMS: readonly Form[] = [
  {
    name: 'openai-preference',
    needs: { 'input.messages': MESSAGES, preferred_output: MESSAGES, non_preferred_output: MESSAGES },
    gives: ['pair'],
    read: openaiPreference,
  },
  {
    name: 'oasst-trees',
    needs: { message_tree_id: ID, prompt: OASST_MESSAGE },
    gives: ['ranking', 'turns', 'prompt'],
    read: tree,
  },
  { name: 'oasst-threads', needs: { thread: listOf(OASST_MESSAGE, 1) }, gives: ['turns', 'prompt'], read: thread },
  {
    name: 'oasst-messages',
    needs: { message_id: ID, text: TEXT, role: oneOf('prompter', 'assistant', 'system') },
    gives: ['ranking', 'turns', 'prompt'],
    gather: treesOf,
    read: tree,
  },
  {
    name: 'prm800k',
    needs: { 'question.problem': TEXT, 'label.steps': listOf(OBJECT, 1) },
    gives: ['steps'],
    read: prm800k,
  },
  {
    name: 'stepwise',
    needs: { prompt: ASKED, completions: listOf(TEXT, 1), labels: listOf(MAYBE, 1) },
    gives: ['steps'],
    read: stepwise,
  },
  {
    name: 'ranking',
    needs: { prompt: ASKED, responses: listOf(TEXT, 2), ranking: listOf(NUMBER, 2) },
    gives: ['ranking'],
    read: ranking,
  },
  { name: 'rating', needs: { prompt: ASKED, response: ASKED, ratings: OBJECT }, gives: ['rating'], read: rating },
  {
    name: 'one-rating',
    needs: { prompt: ASKED, response: ASKED, rating: NUMBER },
    gives: ['rating'],
    read: oneRating,
  },
  {
    name: 'ultrafeedback',
    needs: { instruction: TEXT, completions: listOf(RATED, 1) },
    gives: ['rating'],
    read: ultrafeedback,
  },
  {
    name: 'conversational-preference',
    needs: { chosen: MESSAGES, rejected: MESSAGES },
    gives: ['pair'],
    read: conversationalPreference,
  },
  { name: 'preference', needs: { prompt: TEXT, chosen: TEXT, rejected: TEXT }, gives: ['pair'], read: preference },
  {
    name: 'hh-rlhf',
    needs: { chosen: TEXT, rejected: TEXT },
    looks: ({ chosen, rejected }) => isTranscript(chosen) && isTranscript(rejected),
    gives: ['pair'],
    read: implicitPreference,
  },
  { name: 'implicit-preference', needs: { chosen: TEXT, rejected: TEXT }, gives: ['pair'], read: implicitPreference },
  {
    name: 'shp',
    needs: { history: TEXT, human_ref_A: TEXT, human_ref_B: TEXT, labels: CHOICE },
    gives: ['pair'],
    read: shp,
  },
  {
    name: 'helpsteer2-preference',
    needs: { prompt: TEXT, response_1: TEXT, response_2: TEXT, preference_strength: NUMBER },
    gives: ['pair'],
    read: helpsteer2,
  },
  {
    name: 'helpsteer3',
    needs: { context: MESSAGES, response1: TEXT, response2: TEXT, overall_preference: NUMBER },
    gives: ['pair'],
    read: helpsteer3,
  },
  {
    name: 'helpsteer',
    needs: { prompt: TEXT, response: TEXT, ...Object.fromEntries(HELPSTEER.map((name) => [name, NUMBER])) },
    gives: ['rating'],
    read: helpsteer,
  },
  {
    name: 'summarize-from-feedback',
    needs: { info: OBJECT, summaries: { ...listOf(SUMMARY), is: isPairOfSummaries }, choice: CHOICE },
    gives: ['pair'],
    read: summarize,
  },
  { name: 'unpaired', needs: { prompt: ASKED, completion: ASKED, label: BOOLEAN }, gives: ['label'], read: label },
  { name: 'prompt-completion', needs: { prompt: ASKED, completion: ASKED }, gives: ['completion'], read: completion },
  { name: 'messages', needs: { messages: MESSAGES }, gives: ['turns', 'prompt'], read: messages },
  { name: 'sharegpt', needs: { conversations: MESSAGES }, gives: ['turns', 'prompt'], read: sharegpt },
  { name: 'alpaca', needs: { instruction: TEXT, output: TEXT }, gives: ['completion'], read: alpaca },
  { name: 'prompt', needs: { prompt: ASKED }, gives: ['prompt'], read: prompt },
  { name: 'text', needs: { text: TEXT }, gives: ['text'], read: text },
];

function isPairOfSummaries(value: unknown): boolean {
  return Array.isArray(value) && value.length === 2 && value.every(SUMMARY.is);
}

/** The names of all forms. */
export const FORM_NAMES = FORMS.map(({ name }) => name);

const FIELDS = new Set(FORMS.flatMap(({ needs }) => Object.keys(needs)));

/** Whether one of these names is a field that a form needs: how a header of CSV is told from text. */
export function knowsField(names: readonly string[]): boolean {
  return names.some((name) => FIELDS.has(name));
}
