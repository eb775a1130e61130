/** Forms of text, prompts, answers and dialogues, without judgement. */
import { askedOf, type DataObject, type FormRows, given, metaOf, numberOf, responseOf, turnsOf } from './fields.ts';
import type { FormRow, Meta, Turn } from './rows.ts';

export function text(record: DataObject): FormRows {
  return { use: [{ kind: 'text', text: record.text as string, meta: metaOf(record, 'text') }] };
}

export function prompt(record: DataObject): FormRows {
  return { use: [{ kind: 'prompt', prompt: askedOf(record.prompt), meta: metaOf(record, 'prompt') }] };
}

export function completion(record: DataObject): FormRows {
  const response = responseOf(record.completion);
  if ('skip' in response) return response;
  const [weight, reward] = [numberOf(record.weight), numberOf(record.reward)];
  const meta = metaOf(record, 'prompt', 'completion', 'weight', 'reward');
  const more = { ...given('weight', weight), ...given('reward', reward) };
  return { use: [{ kind: 'completion', prompt: askedOf(record.prompt), response: response.use, ...more, meta }] };
}

/** A dialogue; one that does not end with the assistant is a prompt. */
export function dialogue(turns: readonly Turn[], meta: Meta, tools?: unknown): FormRow {
  if (turns.at(-1)?.role === 'assistant') return { kind: 'turns', turns, ...given('tools', tools), meta };
  return { kind: 'prompt', prompt: turns, meta: tools === undefined ? meta : { ...meta, tools } };
}

export function messages(record: DataObject): FormRows {
  const tools = record.tools ?? undefined;
  return { use: [dialogue(turnsOf(record.messages), metaOf(record, 'messages', 'tools'), tools)] };
}

export function sharegpt(record: DataObject): FormRows {
  const system = typeof record.system === 'string' && record.system !== '' ? record.system : undefined;
  const before: Turn[] = system === undefined ? [] : [{ role: 'system', content: system }];
  const meta = metaOf(record, 'conversations', 'system');
  return { use: [dialogue([...before, ...turnsOf(record.conversations)], meta)] };
}

const TASK = 'Below is an instruction that describes a task';
const ANSWER = 'Write a response that appropriately completes the request.';

/** The two prompts of Stanford Alpaca, with and without input. */
export function alpaca(record: DataObject): FormRows {
  const { instruction, output: response, input } = record as Record<string, string | undefined>;
  const history = record.history;
  if (Array.isArray(history) && history.length > 0) return { skip: '"history" is not supported; write it as messages' };
  const asked = input
    ? `${TASK}, paired with an input that provides further context. ${ANSWER}\n\n### Instruction:\n${instruction}\n\n### Input:\n${input}\n\n### Response:`
    : `${TASK}. ${ANSWER}\n\n### Instruction:\n${instruction}\n\n### Response:`;
  const meta = metaOf(record, 'instruction', 'output', 'input', 'history');
  return { use: [{ kind: 'completion', prompt: asked, response: response as string, meta }] };
}
