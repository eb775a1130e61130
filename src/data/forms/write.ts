/** Writes rows back as records: of the same form, nothing is lost, and reading them again gives the same rows. */
import { ArgumentError, printable } from '../../errors.ts';
import { formNamed } from './detect.ts';
import type { DataObject } from './fields.ts';
import { messagesOf } from './oasst.ts';
import type { Asked, FormRow, RowKind, RowOf, Turn } from './rows.ts';

/** A form that rows are written in: the kind of row that it holds, and the record of one. */
export interface Writer {
  readonly kind: RowKind;
  /** The record of a row, which must be of that kind. */
  readonly write: (row: FormRow) => DataObject;
}

function writer<K extends RowKind>(kind: K, write: (row: RowOf<K>) => DataObject): Writer {
  return { kind, write: (row) => write(row as RowOf<K>) };
}

function messageOf({ role, content, train, meta }: Turn): DataObject {
  return { role, content, ...(train === undefined ? {} : { weight: train ? 1 : 0 }), ...meta };
}

function asked(prompt: Asked): unknown {
  return typeof prompt === 'string' ? prompt : prompt.map(messageOf);
}

/** A response as the prompt is: text after text, one message after messages. */
function answer(prompt: Asked, response: string): unknown {
  return typeof prompt === 'string' ? response : [{ role: 'assistant', content: response }];
}

/** The fields that have a value. */
function known(fields: DataObject): DataObject {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined));
}

/** The forms that can be written, by name. */
const WRITERS: { readonly [name: string]: Writer } = {
  text: writer('text', ({ text, meta }) => ({ ...meta, text })),
  messages: writer('turns', ({ turns, tools, meta }) => {
    return { ...meta, messages: turns.map(messageOf), ...known({ tools }) };
  }),
  prompt: writer('prompt', ({ prompt, meta }) => ({ ...meta, prompt: asked(prompt) })),
  'prompt-completion': writer('completion', ({ prompt, response, weight, reward, meta }) => {
    return { ...meta, prompt: asked(prompt), completion: answer(prompt, response), ...known({ weight, reward }) };
  }),
  preference: writer('pair', ({ prompt, chosen, rejected, margin, confidence, annotator, weight, meta }) => {
    const sides = { chosen: answer(prompt, chosen), rejected: answer(prompt, rejected) };
    return { ...meta, prompt: asked(prompt), ...sides, ...known({ margin, confidence, annotator, weight }) };
  }),
  ranking: writer('ranking', ({ prompt, responses, rank, noneGood, annotator, meta }) => {
    return { ...meta, prompt: asked(prompt), responses, ranking: rank, ...known({ none_good: noneGood, annotator }) };
  }),
  rating: writer('rating', ({ prompt, response, ratings, scale, meta }) => {
    return { ...meta, prompt: asked(prompt), response, ratings, ...known({ scale }) };
  }),
  unpaired: writer('label', ({ prompt, response, good, meta }) => {
    return { ...meta, prompt: asked(prompt), completion: answer(prompt, response), label: good };
  }),
  stepwise: writer('steps', ({ prompt, steps, meta }) => {
    const completions = steps.map(({ text }) => text);
    const labels = steps.map(({ good, neutral }) => (neutral ? 'neutral' : good));
    return { ...meta, prompt: asked(prompt), completions, labels };
  }),
};

/** The names of the forms that rows can be written in. */
export const WRITTEN = Object.keys(WRITERS);

/** How to write the form `name`. @throws ArgumentError for one that cannot be written */
export function writerOf(name: string): Writer {
  const found = Object.hasOwn(WRITERS, name) ? WRITERS[name] : undefined;
  if (found !== undefined) return found;
  formNamed(name); // another error for a name that no form has
  const expected = `one of ${[...WRITTEN, ...OASST].join(', ')}`;
  throw new ArgumentError({ argument: 'form', received: printable(name), expected });
}

/** The forms of Open Assistant, between which records are converted whole, with every field. */
export const OASST = ['oasst-trees', 'oasst-messages'];

/** The records of the form `name` for the tree in `record`. */
export function writeTree(name: string, record: DataObject): DataObject[] {
  return name === 'oasst-trees' ? [record] : messagesOf(record);
}
