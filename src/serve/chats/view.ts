/** Chats as pages get them: no answer says which model gave it before somebody has judged those of its turn. */
import type { Answer, Chat, Pick, UserMessage } from './rows.ts';
import type { ShownAnswer, ShownChat, ShownMessage, ShownTree, ShownUser } from './shown.ts';
import type { ChatTree } from './store.ts';

/** A chat in a list. */
export function chatView({ id, title, training, created_at: created }: Chat): ShownChat {
  return { id, title, training, created };
}

export function treeView(tree: ChatTree): ShownTree {
  const { chat } = tree;
  return { ...chatView(chat), parameters: chat.parameters, leaf: chat.leaf, messages: messagesView(tree) };
}

/** The messages of a chat. */
export function messagesView({ messages, votes, picks }: ChatTree): ShownMessage[] {
  const sizes = new Map<string, number>();
  for (const one of messages) if (one.role === 'assistant') sizes.set(one.turn, (sizes.get(one.turn) ?? 0) + 1);
  return messages.map((one) => {
    if (one.role === 'user') return userView(one);
    const pick = picks.get(one.turn);
    const model = isHidden(sizes.get(one.turn) as number, pick) ? null : one.model;
    const picked = pick === undefined ? null : pick.chosen === one.id;
    return { ...answerView(one), model, picked, vote: votes.get(one.id) ?? 0 };
  });
}

function userView({ id, parent, text }: UserMessage): ShownUser {
  return { id, parent, role: 'user', text };
}

function answerView({ id, parent, text, turn, place, state, finish }: Answer) {
  return { id, parent, role: 'assistant', text, turn, place, state, finish } satisfies Partial<ShownAnswer>;
}

/** Whether nobody may know yet which model gave an answer. */
export function isHidden(size: number, pick: Pick | undefined): boolean {
  return size > 1 && pick === undefined;
}
