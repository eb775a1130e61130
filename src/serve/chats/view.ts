/** Chats as pages get them: no answer says which model gave it before somebody has judged those of its turn. */
import type { Answer, Chat, Message, Pick, Vote } from './rows.ts';
import type { ChatTree } from './store.ts';

/** A chat in a list. */
export function chatView({ id, title, training, created_at: created }: Chat) {
  return { id, title, training, created };
}

export function treeView({ chat, messages, votes, picks }: ChatTree) {
  const sizes = new Map<string, number>();
  for (const one of messages) if (one.role === 'assistant') sizes.set(one.turn, (sizes.get(one.turn) ?? 0) + 1);
  const shown = messages.map((one) => {
    if (one.role === 'user') return userView(one);
    return answerView(one, { size: sizes.get(one.turn) ?? 1, pick: picks.get(one.turn), vote: votes.get(one.id) ?? 0 });
  });
  return { ...chatView(chat), parameters: chat.parameters, leaf: chat.leaf, messages: shown };
}

export function userView({ id, parent, text }: Message) {
  return { id, parent, role: 'user' as const, text };
}

interface Judged {
  /** The answers of its turn. */
  size: number;
  pick: Pick | undefined;
  vote: Vote;
}

export function answerView(answer: Answer, { size, pick, vote }: Judged) {
  const { id, parent, text, turn, place, state, finish, model } = answer;
  const picked = pick === undefined ? null : pick.chosen === id;
  const hidden = isHidden(size, pick);
  return {
    id,
    parent,
    role: 'assistant' as const,
    text,
    turn,
    place,
    state,
    finish,
    picked,
    vote,
    model: hidden ? null : model,
  };
}

/** Whether nobody may know yet which model gave an answer. */
export function isHidden(size: number, pick: Pick | undefined): boolean {
  return size > 1 && pick === undefined;
}

export type MessageView = ReturnType<typeof userView> | ReturnType<typeof answerView>;
export type TreeView = ReturnType<typeof treeView>;
