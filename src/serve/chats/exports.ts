/** Picks and votes as the files that training reads: what is exported, and what is left out and why. */
import type { LabelRow, Meta, PairRow, Turn } from '../../data/forms/rows.ts';
import { writerOf } from '../../data/forms/write.ts';
import { ArgumentError } from '../../errors.ts';
import { type Conversation, conversationTo, messagesOf, textOf } from './conversation.ts';
import type { Answer, Pick } from './rows.ts';
import type { ChatStore, ChatTree } from './store.ts';

/** What can be exported: pairs of answers for `palm reward` and `palm dpo`, or answers that are good or bad for `palm kto`. */
export type ExportForm = 'preferences' | 'labels';
export const EXPORT_FORMS = ['preferences', 'labels'] as const satisfies readonly ExportForm[];

/** What was made of the judgements in a store. */
export interface Exported {
  /** Lines of JSON. */
  lines: string[];
  /** How many judgements are not in them, by the reason. */
  leftOut: ReadonlyMap<string, number>;
  /** Rows with an answer that had to end because it was long enough. */
  cut: number;
}

type Found = { row: PairRow | LabelRow; cut: boolean } | { reason: string };

/**
 * Exports what counts of each judgement, which is the last word, in the order of the chats.
 * @throws ArgumentError if some prompts are messages and others text, which no file of pairs may mix
 */
export function exportChats(store: ChatStore, form: ExportForm, model?: string): Exported {
  const found = [...everyTree(store)].flatMap((tree) => {
    const all = form === 'preferences' ? pairsIn(tree, model) : labelsIn(tree, model);
    return tree.chat.training ? all : all.map((): Found => ({ reason: 'the chat may not be used for training' }));
  });
  const rows = found.flatMap((one) => ('row' in one ? [one] : []));
  if (form === 'preferences') checkAlike(rows.map(({ row }) => row));
  const leftOut = new Map<string, number>();
  for (const one of found) if ('reason' in one) leftOut.set(one.reason, (leftOut.get(one.reason) ?? 0) + 1);
  const writer = writerOf(form === 'preferences' ? 'preference' : 'unpaired');
  const lines = rows.map(({ row }) => `${JSON.stringify(writer.write(row))}\n`);
  return { lines, leftOut, cut: rows.filter(({ cut }) => cut).length };
}

/** Chats at once. */
const PAGE = 100;

/** All chats, from the newest on. */
function* everyTree(store: ChatStore): Generator<ChatTree> {
  for (let before: string | undefined; ; ) {
    const chats = store.chats(PAGE, before);
    for (const { id } of chats) yield store.tree(id);
    if (chats.length < PAGE) return;
    before = chats.at(-1)?.id;
  }
}

function pairsIn(tree: ChatTree, model: string | undefined): Found[] {
  return [...tree.picks.values()].flatMap((pick) => {
    const chosen = answerOf(tree, pick.chosen);
    return pick.inferior.map((id) => pairOf(tree, pick, chosen, answerOf(tree, id), model));
  });
}

function pairOf(tree: ChatTree, { blind }: Pick, chosen: Answer, rejected: Answer, model: string | undefined): Found {
  const both = [chosen, rejected];
  const wrong = both.map((answer) => faultIn(answer, model)).find((reason) => reason !== undefined);
  if (wrong !== undefined) return { reason: wrong };
  if (!blind) return { reason: 'the models of the answers were known' };
  if (chosen.text === rejected.text) return { reason: 'the answers are equal' };
  if (chosen.request.form !== rejected.request.form)
    return { reason: 'one answer was given to messages, the other to text' };
  const prompt = promptOf(tree, chosen);
  const meta = { chosen_model: chosen.model, rejected_model: rejected.model };
  const row: PairRow = { kind: 'pair', prompt, chosen: chosen.text, rejected: rejected.text, meta };
  return { row, cut: both.some(({ finish }) => finish === 'length') };
}

function labelsIn(tree: ChatTree, model: string | undefined): Found[] {
  return [...tree.votes].flatMap(([id, value]): Found[] => {
    if (value === 0) return [];
    const answer = answerOf(tree, id);
    const wrong = faultIn(answer, model);
    if (wrong !== undefined) return [{ reason: wrong }];
    const meta: Meta = { model: answer.model };
    const row: LabelRow = {
      ...{ kind: 'label', prompt: promptOf(tree, answer), response: answer.text, good: value === 1, meta },
    };
    return [{ row, cut: answer.finish === 'length' }];
  });
}

/** Why an answer is of no use; undefined if it is. */
function faultIn({ state, text, model: own }: Answer, model: string | undefined): string | undefined {
  if (model !== undefined && own !== model) return 'an answer is of another model';
  if (state !== 'complete') return 'an answer was stopped before its end';
  return text.trim() === '' ? 'an answer is empty' : undefined;
}

function answerOf({ messages }: ChatTree, id: string): Answer {
  return messages.find((one) => one.id === id) as Answer;
}

/** What an answer was given to: messages if its model has a chat template, else text. */
function promptOf(tree: ChatTree, { parent, request: { form, system } }: Answer): string | Turn[] {
  const conversation: Conversation = conversationTo(tree, parent);
  return form === 'messages' ? (messagesOf(conversation, system) as Turn[]) : textOf(conversation, system);
}

function checkAlike(rows: readonly (PairRow | LabelRow)[]): void {
  const texts = rows.filter(({ prompt }) => typeof prompt === 'string').length;
  if (texts === 0 || texts === rows.length) return;
  throw new ArgumentError({
    argument: 'the export',
    received: `${texts} prompts that are text, and ${rows.length - texts} that are messages`,
    expected: 'prompts of one kind, as all rows of a file are',
    fix: 'Name the model whose answers to export with --model, and export the others to another file.',
  });
}
