/** Reads the fields of a record: what kind of value a field must have, and what is wrong with one that has not. */
import type { Kind } from '../../checks/kinds.ts';
import { isWellFormed } from '../../files/json.ts';
import { printable } from '../../errors.ts';
import type { Row } from '../row.ts';
import type { FormRow, Meta, Role, Turn } from './rows.ts';

/** An object as JSON has it. */
export type DataObject = Readonly<Record<string, unknown>>;
/** The rows that a record gives, or the reason why it gives none. */
export type FormRows = Row<FormRow[]>;

/** A field with a value that no row of this form may have; becomes a DataError that names file and line. */
export class WrongField extends Error {
  readonly received: string;
  readonly expected: string;

  constructor(received: string, expected: string) {
    super(received);
    this.received = received;
    this.expected = expected;
  }
}

export function isObject(value: unknown): value is DataObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

export const TEXT: Kind = { is: (value) => typeof value === 'string', words: 'text' };
export const OBJECT: Kind = { is: isObject, words: 'an object' };
export const NUMBER: Kind = { is: (value) => numberOf(value) !== undefined, words: 'a number' };
export const BOOLEAN: Kind = { is: (value) => booleanOf(value) !== undefined, words: 'true or false' };
export const ID: Kind = { is: (value) => typeof value === 'string' && value !== '', words: 'an id' };
export const MESSAGES: Kind = {
  is: (value) => Array.isArray(value) && value.length > 0 && value.every(isMessage),
  words: 'a list of messages',
};
export const ASKED: Kind = { is: (value) => TEXT.is(value) || MESSAGES.is(value), words: 'text or a list of messages' };

/** A list of such values. */
export function listOf({ is, words }: Kind, min = 0): Kind {
  const length = min === 0 ? '' : ` of at least ${min}`;
  return {
    is: (value) => Array.isArray(value) && value.length >= min && value.every(is),
    words: `a list${length}, each ${words}`,
  };
}

/** One of these values. */
export function oneOf(...values: unknown[]): Kind {
  return { is: (value) => values.includes(value), words: `one of ${values.join(', ')}` };
}

function isMessage(value: unknown): boolean {
  if (!isObject(value)) return false;
  return (typeof value.role === 'string' && 'content' in value) || (typeof value.from === 'string' && 'value' in value);
}

/** A number, also one that CSV has as text. */
export function numberOf(value: unknown): number | undefined {
  const number = typeof value === 'string' && value.trim() !== '' ? Number(value) : value;
  return Number.isFinite(number) ? (number as number) : undefined;
}

/** True or false, also where CSV or Python has it as text or as 0 and 1. */
export function booleanOf(value: unknown): boolean | undefined {
  if (typeof value === 'boolean') return value;
  if (value === 'true' || value === 'True') return true;
  return value === 'false' || value === 'False' ? false : undefined;
}

/** The value at a path such as `input.messages`; undefined where a part of it is missing or null. */
export function fieldAt(record: DataObject, path: string): unknown {
  const [first, ...rest] = path.split('.') as [string, ...string[]];
  const value = Object.hasOwn(record, first) ? record[first] : undefined;
  if (rest.length > 0) return isObject(value) ? fieldAt(value, rest.join('.')) : undefined;
  return value === null ? undefined : value;
}

/** What `record` has besides the fields named. */
export function metaOf(record: DataObject, ...used: string[]): Meta {
  return Object.fromEntries(Object.entries(record).filter(([name]) => !used.includes(name)));
}

/** `value` under `name`, or nothing if it is undefined. */
export function given<K extends string, V>(name: K, value: V | undefined): { [name in K]?: V } {
  return (value === undefined ? {} : { [name]: value }) as { [name in K]?: V };
}

const ROLES: Readonly<Record<string, Role>> = {
  system: 'system',
  developer: 'system',
  user: 'user',
  human: 'user',
  prompter: 'user',
  assistant: 'assistant',
  gpt: 'assistant',
  function_call: 'assistant',
  tool: 'tool',
  function: 'tool',
  observation: 'tool',
};

/** The same words for a role that the common forms use. @throws WrongField for any other */
export function roleOf(role: unknown): Role {
  if (typeof role === 'string' && Object.hasOwn(ROLES, role)) return ROLES[role] as Role;
  throw new WrongField(`the role ${printable(role)}`, `one of ${Object.keys(ROLES).join(', ')}`);
}

/**
 * The messages of a list for which MESSAGES holds, with either name of their fields. A `weight` of 0 marks what is not
 * to be learned. @throws WrongField for an unknown role or content that is not text
 */
export function turnsOf(messages: unknown): Turn[] {
  return (messages as DataObject[]).map((message) => {
    const [name, text] = typeof message.role === 'string' ? ['role', 'content'] : ['from', 'value'];
    const role = roleOf(message[name]);
    const said =
      typeof message.train === 'boolean' ? message.train : numberOf(message.weight) === 0 ? false : undefined;
    const meta = metaOf(message, name, text, ...(said === undefined ? [] : ['weight', 'train']));
    const special = ['developer', 'function', 'function_call', 'observation'].includes(message[name] as string);
    const kept = special ? { ...meta, from: message[name] } : meta;
    return {
      role,
      content: contentOf(message[text]),
      ...given('train', said),
      ...(Object.keys(kept).length === 0 ? {} : { meta: kept }),
    };
  });
}

/** A text, or OpenAI's list of parts that are all text. */
function contentOf(content: unknown): string {
  if (typeof content === 'string') return content;
  const parts = Array.isArray(content) ? content.map((part) => (isObject(part) ? part.text : undefined)) : [undefined];
  if (parts.every((part) => typeof part === 'string')) return parts.join('');
  throw new WrongField(`a message whose content is ${printable(content)}`, 'text');
}

/** A prompt for which ASKED holds. */
export function askedOf(value: unknown): string | Turn[] {
  return typeof value === 'string' ? value : turnsOf(value);
}

/** A question as a dialogue of one message. */
export function question(text: unknown): Turn[] {
  return [{ role: 'user', content: text as string }];
}

/** The text that answers a prompt: itself, or the only message in a list, which is the assistant's. */
export function responseOf(value: unknown): Row<string> {
  if (typeof value === 'string') return { use: value };
  const turns = turnsOf(value);
  const [answer] = turns;
  if (turns.length === 1 && answer?.role === 'assistant') return { use: answer.content };
  return { skip: 'its response is not one message of the assistant' };
}

/** The reason why a row cannot be used: an empty text that may not be, or half a character. */
export function faultIn(row: FormRow): string | undefined {
  for (const [name, text] of textsOf(row)) {
    if (!isWellFormed(text)) return `"${name}" has a lone surrogate`;
    if (text.trim() === '') return `"${name}" is empty`;
  }
  return undefined;
}

function textsOf(row: FormRow): [string, string][] {
  const asked = (prompt: string | readonly Turn[]): [string, string][] =>
    typeof prompt === 'string' ? [['prompt', prompt]] : turnTexts(prompt);
  switch (row.kind) {
    case 'text':
      return [['text', row.text]];
    case 'turns':
      return turnTexts(row.turns);
    case 'prompt':
      return asked(row.prompt);
    case 'pair':
      return [...asked(row.prompt), ['chosen', row.chosen], ['rejected', row.rejected]];
    case 'ranking':
      return [...asked(row.prompt), ...row.responses.map((text): [string, string] => ['responses', text])];
    case 'steps':
      return [...asked(row.prompt), ...row.steps.map(({ text }): [string, string] => ['steps', text])];
    default:
      return [...asked(row.prompt), ['response', row.response]];
  }
}

function turnTexts(turns: readonly Turn[]): [string, string][] {
  return turns.map(({ role, content }) => [`${role} message`, content]);
}
